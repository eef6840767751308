"""A benchmark in the agent, and how it changes."""

from __future__ import annotations

import asyncio

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent.errors import AgentError
from edgeopt_agent.journal import ENDED, Entry, Response

State = benchmark_pb2.Benchmark.State


class Job:
    """A benchmark and whoever waits for more of it."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        # What was told last and is not kept: progress.
        self.passing: Response | None = None
        self._news = asyncio.Event()

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
        self._news.set()
        self._news = asyncio.Event()

    async def news(self) -> None:
        await self._news.wait()


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


def state_event(benchmark: benchmark_pb2.Benchmark) -> Response:
    """The event that tells of a benchmark's state."""
    response = Response()
    response.event.benchmark.CopyFrom(benchmark)
    return response
