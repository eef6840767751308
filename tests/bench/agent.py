"""What the agent itself costs: memory when idle, time to its first answer, CPU while a worker measures."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import grpc
import models
import psutil
from bench.common import running_agent
from grpc_health.v1 import health_pb2, health_pb2_grpc

from edgeopt.agent.v1 import benchmark_pb2, blob_pb2
from edgeopt_host.client import Agent
from edgeopt_host.modelfile import Digest
from edgeopt_host.plan import Plan

PLAN = Plan(launches=3, warmup_s=1.0, duration_s=5.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    starts, idle_mib, shares = [], [], []
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
                process = psutil.Process(agent.pid)
                client = Agent("bench", channel)
                client.device()
                idle_mib.append(process.memory_info().rss / 2**20)
                # The fastest model sends the most samples: the worst case for the agent.
                model = models.fetch("pymicro-wakeword", "okay_nabu.tflite")
                shares.append(cpu_share(client, process, model))
    report("time to the first answer", starts, "s", 1.5)
    report("idle RSS after GetDevice", idle_mib, "MiB", 45)
    report("CPU while a worker measures", [100 * share for share in shares], "% of a core", 0.5)
    worst = max(starts) < 1.5 and max(idle_mib) < 45 and statistics.median(shares) < 0.005
    sys.exit(not worst)


def cpu_share(client: Agent, process: psutil.Process, model: Path) -> float:
    """CPU time of the agent process over the wall time of a whole benchmark, launches and all."""
    digest = Digest.of(model)
    client.upload(model, digest)
    subject = benchmark_pb2.Subject(runtime="tflite", threads=1)
    subject.files.add(
        name=model.name, digest=blob_pb2.Digest(sha256=digest.sha256, size_bytes=digest.size_bytes)
    )
    benchmark = benchmark_pb2.Benchmark(subjects=[subject], plan=PLAN.message())
    before, started = process.cpu_times(), time.perf_counter()
    events = list(client.run(benchmark))
    after, took = process.cpu_times(), time.perf_counter() - started
    assert events[-1].benchmark.state == benchmark_pb2.Benchmark.STATE_SUCCEEDED
    return (after.user + after.system - before.user - before.system) / took


def report(what: str, values: list[float], unit: str, limit: float) -> None:
    print(
        f"{what:28} median {statistics.median(values):.2f} {unit}, highest {max(values):.2f} "
        f"(limit {limit:g} {unit})"
    )


if __name__ == "__main__":
    main()
