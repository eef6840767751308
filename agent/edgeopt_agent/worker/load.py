"""The load's shape: how inferences follow each other."""

from __future__ import annotations

import ctypes
import sys
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Barrier
from typing import TypeVar

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent.runtimes import Session
from edgeopt_agent.worker import timing
from edgeopt_agent.worker.timing import Pace

_PR_SET_TIMERSLACK = 29
_T = TypeVar("_T")


@dataclass(frozen=True)
class BlockTimes:
    """A block besides its samples.

    Args:
        wall_ns: from its start to its end; with several streams, what all samples took at the
            streams' rates added up.
        stream_samples: how many samples each stream gave, in order; empty with one stream.
    """

    wall_ns: int
    stream_samples: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Length:
    """When a stream has worked enough: as `timing.time_block` has it."""

    duration_ns: int
    inferences: int
    limit_ns: int = 0


@dataclass(frozen=True)
class _Stream:
    """One session, and when its inferences are due."""

    infer: Callable[[], object]
    pace: Pace | None

    def time(self, samples: array[int], length: _Length) -> int:
        limits = length.duration_ns, length.inferences, length.limit_ns
        if self.pace is None:
            return timing.time_block(self.infer, samples, *limits)
        return timing.time_paced(self.infer, samples, self.pace, *limits)

    def run(self, length: _Length) -> tuple[int, int]:
        if self.pace is None:
            return timing.run_for(self.infer, length.duration_ns, length.inferences)
        unkept = array("q")
        return self.time(unkept, length), len(unkept)


class Load:
    """Calls a model's sessions as the plan's load shape says.

    The first stream works in this thread, the one whose waiting for a CPU is read; each further one
    has a thread of its own.

    Args:
        sessions: prepared, one per stream.
        plan: with the shape: rate, and how long a block is.
    """

    def __init__(self, sessions: Sequence[Session], plan: benchmark_pb2.Plan) -> None:
        count = len(sessions)
        if plan.rate_hz:
            _wake_in_time()
        self._streams = [
            _Stream(session.infer, Pace(plan.rate_hz, index / count) if plan.rate_hz else None)
            for index, session in enumerate(sessions)
        ]
        # The plan counts all streams' inferences: a block of many is no longer than one of one.
        self._block = _Length(
            plan.block_duration_ns, -(-plan.block_inferences // count), plan.block_limit_ns
        )
        self._threads = _Threads(sessions)

    @property
    def streams(self) -> int:
        return len(self._streams)

    def run(self, duration_ns: int, inferences: int) -> tuple[int, int]:
        """Every stream works until it has reached the duration and the count; nothing is kept.

        Returns:
            The wall time in nanoseconds, and how many inferences there were, of all streams.
        """
        length = _Length(duration_ns, inferences)
        if self.streams == 1:
            return self._streams[0].run(length)
        ended = self._threads.run([partial(stream.run, length) for stream in self._streams])
        return max(wall for wall, _ in ended), sum(count for _, count in ended)

    def block(self, samples: array[int]) -> BlockTimes:
        """One timed block of the plan's length; appends every latency in nanoseconds.

        Of several streams each has a share of the count, and all work until the last has its own.
        """
        if self.streams == 1:
            return BlockTimes(self._streams[0].time(samples, self._block))
        kept = [array("q") for _ in self._streams]
        finished: list[_Stream] = []
        work = [
            partial(self._work, stream, into, finished)
            for stream, into in zip(self._streams, kept, strict=True)
        ]
        walls = self._threads.run(work)
        for into in kept:
            samples.extend(into)
        per_ns = sum(len(into) / wall for into, wall in zip(kept, walls, strict=True))
        counts = tuple(map(len, kept))
        return BlockTimes(round(sum(counts) / per_ns), counts)

    def _work(self, stream: _Stream, samples: array[int], finished: list[_Stream]) -> int:
        try:
            wall_ns = stream.time(samples, self._block)
        finally:
            finished.append(stream)
        # One that stopped would leave the others more of the device than they have under load.
        while stream.pace is None and len(finished) < self.streams:
            stream.infer()
        return wall_ns


class _Threads:
    """A thread for each session but the first, which has this one."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        self._pools = [
            ThreadPoolExecutor(1, initializer=session.enter_thread) for session in sessions[1:]
        ]
        self._start = Barrier(len(sessions))

    def run(self, work: Sequence[Callable[[], _T]]) -> list[_T]:
        """Begins all at once, and returns when all have ended, with what they returned.

        Raises:
            Exception: the first stream's that failed.
        """
        others = [
            pool.submit(self._begin, one) for pool, one in zip(self._pools, work[1:], strict=True)
        ]
        try:
            first = self._begin(work[0])
        finally:
            ended = [other.exception() for other in others]
        if failed := [error for error in ended if error is not None]:
            raise failed[0]
        return [first, *(other.result() for other in others)]

    def _begin(self, work: Callable[[], _T]) -> _T:
        self._start.wait()
        return work()


def _wake_in_time() -> None:
    """Linux wakes a sleeping thread up to 50 µs late, on purpose; later threads inherit this."""
    if sys.platform in {"linux", "android"}:
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
