"""Does confinement change a latency? The p50 of launches with and without it, in alternating pairs.

Prints, per model, the geometric mean of the ratios confined/unconfined with its 95 % interval
(Student's t over the logarithms), and what confinement adds to the start of a launch: the time to the
worker's first event. Fails when an interval leaves 0.95 to 1.05 or an estimate 0.98 to 1.02.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from bench.fidelity import Case, cases
from edgeopt.agent.v1 import agent_pb2, benchmark_pb2
from edgeopt_agent import confine
from edgeopt_agent.launcher import run_worker
from edgeopt_host.plan import Inputs, InputShape, Plan

PLAN = Plan(launches=1, warmup_s=0.5, duration_s=1.0)
RUNTIMES = ("tflite", "onnx")


@dataclass(frozen=True)
class Launched:
    """One launch's p50 in ns, and the ns from its request to its first event."""

    p50: float
    start: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--only", default="", help="runtime or part of a model's name")
    arguments = parser.parse_args()
    found = confine.found()
    print(f"in force: {', '.join(found.mechanisms)}; missing: {'; '.join(found.missing) or 'none'}")
    everything = found.mechanisms
    without_bubblewrap = tuple(name for name in everything if name != "bubblewrap")
    failed = False
    for case in cases():
        if case.runtime in RUNTIMES and arguments.only in f"{case.runtime} {case.name}":
            for mechanisms in dict.fromkeys((everything, without_bubblewrap)):
                failed |= not compare(case, mechanisms, arguments.pairs)
    sys.exit(failed)


def compare(case: Case, mechanisms: Collection[str], pairs: int) -> bool:
    confined: list[Launched] = []
    free: list[Launched] = []
    for pair in range(pairs):
        turns = [(confined, mechanisms), (free, ())]
        for launches, chosen in turns if pair % 2 else reversed(turns):
            launches.append(launched(case, chosen))
    ratios = [math.log(a.p50 / b.p50) for a, b in zip(confined, free, strict=True)]
    mean = statistics.mean(ratios)
    half = float(stdtrit(pairs - 1, 0.975)) * statistics.stdev(ratios) / math.sqrt(pairs)
    low, estimate, high = (math.exp(value) for value in (mean - half, mean, mean + half))
    ok = low >= 0.95 and high <= 1.05 and 0.98 <= estimate <= 1.02
    added = statistics.median(a.start - b.start for a, b in zip(confined, free, strict=True))
    print(
        f"{case.runtime:6} {case.name:20} p50 {statistics.median(x.p50 for x in free) / 1e6:8.4f} ms"
        f"   confined/unconfined {estimate:.3f} ({low:.3f} to {high:.3f}), {pairs} pairs   "
        f"start {added / 1e6:+.0f} ms   {'ok' if ok else 'OUTSIDE'}   {'+'.join(mechanisms)}",
        flush=True,
    )
    return ok


def launched(case: Case, mechanisms: Collection[str]) -> Launched:
    """One launch as the agent makes it."""
    shapes = [InputShape(n, s) for n, s in zip(case.names, case.shapes, strict=True)]
    subject = benchmark_pb2.Subject(
        runtime=case.runtime, threads=1, inputs=Inputs(shapes=shapes).message()
    )
    subject.files.add(name=case.path.name)
    latencies: list[int] = []
    first = 0

    def collect(response: agent_pb2.WatchBenchmarkResponse) -> None:
        nonlocal first
        first = first or time.perf_counter_ns()
        for block in response.event.samples.blocks:
            latencies.extend(block.latency_ns)

    with tempfile.TemporaryDirectory() as name:
        state = Path(name)
        folder = state / "scratch" / "job"
        place = folder / "subjects" / "0" / "model"
        place.mkdir(parents=True)
        shutil.copyfile(case.path, place / case.path.name)
        task = benchmark_pb2.Benchmark(subjects=[subject], plan=PLAN.message())
        begun = time.perf_counter_ns()
        asyncio.run(run_worker(task, folder, 0, collect, state_dir=state, mechanisms=mechanisms))
    return Launched(float(np.median(latencies)), first - begun)


if __name__ == "__main__":
    main()
