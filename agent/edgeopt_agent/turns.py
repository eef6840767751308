"""Turns for workers that are compared: one at a time has the device, in an order of chance.

What drifts, such as a temperature or somebody else's load, then hits all of them alike. Each turn
is a byte to a worker and an event from it, about twenty of both a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from edgeopt.agent.v1 import agent_pb2, benchmark_pb2
from edgeopt_agent.errors import WorkerError
from edgeopt_agent.worker.turns import END, GO

Response = agent_pb2.WatchBenchmarkResponse
OnEvent = Callable[[Response], None]
# Given a subject's index, the descriptor that its turns come from, and who takes its events.
RunWorker = Callable[[int, int, OnEvent], Awaitable[None]]

# Every worker loads, then every one warms up.
_PREPARATIONS = 2
# No inference, with a look at the clock before and after it, is quicker.
_QUICKEST_NS = 50
_PROGRESS_S = 1.0


async def run_in_turns(
    run: RunWorker,
    plan: benchmark_pb2.Plan,
    launch: int,
    subjects: int,
    on_event: OnEvent,
    now_ns: Callable[[], int] = time.monotonic_ns,
) -> None:
    """Runs one launch of several subjects.

    The launch ends when the subjects together were timed for the plan's duration each on average,
    and each for its number of inferences. When a worker fails, the others are ended. One that ends a
    turn which it does not have fails; of one that claims more than there was time for, no more is
    believed.

    Args:
        run: stays with the worker of a subject.
        plan: of the benchmark.
        launch: its number.
        subjects: how many there are.
        on_event: takes all their events but the ends of turns.
        now_ns: the clock that turns are timed by.

    Raises:
        WorkerError: of the first worker that gave no result.
    """
    async with contextlib.AsyncExitStack() as stack:
        seats = [
            stack.enter_context(_seat(subject, on_event, now_ns)) for subject in range(subjects)
        ]
        tasks: list[asyncio.Future[None]] = [
            asyncio.ensure_future(run(s.subject, s.reading, s.take)) for s in seats
        ]
        round_ = _Round(plan, launch, seats, tasks, on_event)
        conducting = asyncio.create_task(round_.conduct())
        try:
            done, _ = await asyncio.wait([*tasks, conducting], return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in (conducting, *tasks):
                task.cancel()
            await asyncio.wait([conducting, *tasks])
        for task in (*tasks, conducting):
            if task in done:
                task.result()


class _Seat:
    """A worker, as whoever gives turns sees it."""

    def __init__(
        self,
        subject: int,
        reading: int,
        writing: int,
        on_event: OnEvent,
        now_ns: Callable[[], int],
    ) -> None:
        self.subject = subject
        self.reading = reading
        self.timed_ns = 0
        self.inferences = 0
        self._writing = writing
        self._on_event = on_event
        self._now_ns = now_ns
        # The turn that it has, and since when: done with what it says at the end, and how long it
        # really took.
        self._turn: asyncio.Future[tuple[benchmark_pb2.Turn, int]] | None = None
        self._since_ns = 0

    def take(self, response: Response) -> None:
        """Its events: ends of turns are for here.

        Raises:
            WorkerError: when it ends a turn that it does not have.
        """
        if not response.event.HasField("turn"):
            self._on_event(response)
            return
        turn, self._turn = self._turn, None
        if turn is None:
            raise WorkerError("WORKER_FAILED", "the worker ended a turn that it did not have")
        turn.set_result((response.event.turn, self._now_ns() - self._since_ns))

    async def turn(
        self, worker: asyncio.Future[None], what: bytes = GO, *, counts: bool = False
    ) -> bool:
        """Lets it work until its turn ends; False when the worker has ended instead.

        Args:
            worker: done when that has ended.
            what: to tell it.
            counts: whether what is timed in this turn is the plan's.
        """
        turn = self._turn = asyncio.get_running_loop().create_future()
        self._since_ns = self._now_ns()
        self._write(what)
        both: list[asyncio.Future[Any]] = [turn, worker]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not turn.done():
            return False
        if counts:
            said, took_ns = turn.result()
            # A worker says what it likes.
            self.timed_ns += min(max(0, said.timed_ns), took_ns)
            self.inferences += min(max(0, said.inferences), took_ns // _QUICKEST_NS)
        return True

    def _write(self, what: bytes) -> None:
        # A worker that has died tells why by itself.
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            os.write(self._writing, what)


class _Round:
    """The rounds of one launch."""

    def __init__(
        self,
        plan: benchmark_pb2.Plan,
        launch: int,
        seats: Sequence[_Seat],
        workers: Sequence[asyncio.Future[None]],
        on_event: OnEvent,
    ) -> None:
        self._plan = plan
        self._launch = launch
        self._places = list(zip(seats, workers, strict=True))
        self._on_event = on_event
        self._told = 0.0

    async def conduct(self) -> None:
        """Gives turns until the plan is met or a worker has ended early."""
        chance = random.Random(f"{self._plan.order_seed} {self._launch}")  # noqa: S311 - repeatable
        rounds = 0
        while rounds < _PREPARATIONS or not self._is_met():
            chance.shuffle(self._places)
            for seat, worker in self._places:
                if not await seat.turn(worker, counts=rounds >= _PREPARATIONS):
                    break
            else:
                rounds += 1
                self._tell()
                continue
            break
        # One after the other, too: each has a last look at the device.
        for seat, worker in self._places:
            await seat.turn(worker, END)

    def _is_met(self) -> bool:
        timed = sum(seat.timed_ns for seat, _ in self._places)
        fewest = min(seat.inferences for seat, _ in self._places)
        wanted = self._plan.duration_ns * len(self._places)
        return timed >= wanted and fewest >= self._plan.inferences

    def _tell(self) -> None:
        timed, now = sum(seat.timed_ns for seat, _ in self._places), time.monotonic()
        if not timed or now - self._told < _PROGRESS_S:
            return
        self._told = now
        wanted = max(1, self._plan.duration_ns * len(self._places))
        progress = benchmark_pb2.Progress(
            phase=benchmark_pb2.Progress.PHASE_MEASURING,
            inferences=sum(seat.inferences for seat, _ in self._places),
            fraction=min(1.0, timed / wanted),
        )
        event = benchmark_pb2.BenchmarkEvent(launch=self._launch, progress=progress)
        self._on_event(Response(event=event))


@contextlib.contextmanager
def _seat(subject: int, on_event: OnEvent, now_ns: Callable[[], int]) -> Iterator[_Seat]:
    reading, writing = os.pipe()
    # A worker that never reads must not stop the agent.
    os.set_blocking(writing, False)
    try:
        yield _Seat(subject, reading, writing, on_event, now_ns)
    finally:
        os.close(reading)
        os.close(writing)
