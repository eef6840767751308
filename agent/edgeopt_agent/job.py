"""A benchmark in the agent, and how it changes."""

from __future__ import annotations

import asyncio

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent.errors import AgentError, WorkerError
from edgeopt_agent.journal import ENDED, Entry, Response

State = benchmark_pb2.Benchmark.State


class Job:
    """A benchmark and whoever waits for more of it."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        # What was told last and is not kept: progress.
        self.passing: Response | None = None
        # Set with the next thing worth knowing, and then replaced: take it before looking.
        self.news = asyncio.Event()

    @property
    def benchmark(self) -> benchmark_pb2.Benchmark:
        return self.entry.benchmark

    @property
    def name(self) -> str:
        return self.entry.benchmark.name

    @property
    def ended(self) -> bool:
        return self.benchmark.state in ENDED

    @property
    def queued(self) -> bool:
        return self.benchmark.state == benchmark_pb2.Benchmark.STATE_QUEUED

    def tell(self, response: Response | None = None) -> None:
        """Wakes the watchers, also with an event that is not kept."""
        self.passing = response
        self.news.set()
        self.news = asyncio.Event()


def in_state(
    benchmark: benchmark_pb2.Benchmark, state: State, failure: AgentError | None = None
) -> benchmark_pb2.Benchmark:
    """A copy of a benchmark as it is in this state from now on."""
    changed = benchmark_pb2.Benchmark()
    changed.CopyFrom(benchmark)
    changed.state = state
    if state == benchmark_pb2.Benchmark.STATE_RUNNING:
        changed.start_time.GetCurrentTime()
    if state in ENDED:
        changed.end_time.GetCurrentTime()
    if failure is not None:
        changed.failure.reason = failure.reason
        changed.failure.message = failure.message
        changed.failure.metadata.update(failure.metadata)
    return changed


def again(entry: Entry, why: str, *, crashed: bool) -> benchmark_pb2.Benchmark:
    """What a benchmark becomes in whose middle the agent died (`crashed`) or was stopped."""
    before = entry.benchmark
    if before.plan.rerun and not (crashed and entry.crashes > 1):
        changed = in_state(before, benchmark_pb2.Benchmark.STATE_QUEUED)
        changed.attempt += 1
        changed.ClearField("start_time")
        return changed
    again_ = " again" if entry.crashes > 1 else ""
    return in_state(
        before,
        benchmark_pb2.Benchmark.STATE_FAILED,
        WorkerError(
            "AGENT_RESTARTED", f"{why}{again_}, and the benchmark was not run once more; push it"
        ),
    )


def outline(benchmark: benchmark_pb2.Benchmark) -> benchmark_pb2.Benchmark:
    """A benchmark without what is long: its subjects and plan."""
    short = benchmark_pb2.Benchmark()
    short.CopyFrom(benchmark)
    short.ClearField("subjects")
    short.ClearField("plan")
    return short


def state_event(benchmark: benchmark_pb2.Benchmark) -> Response:
    """The event that tells of a benchmark's state."""
    return Response(event=benchmark_pb2.BenchmarkEvent(benchmark=outline(benchmark)))
