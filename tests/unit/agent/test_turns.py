"""Turns: who works when, in a launch of several subjects."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from edgeopt.agent.v1 import agent_pb2, benchmark_pb2
from edgeopt_agent.errors import WorkerError
from edgeopt_agent.turns import run_in_turns
from edgeopt_agent.worker.turns import END

MS = 1_000_000


class Workers:
    """Stand in for processes: they take turns, of a length of their own, and note who had one.

    Args:
        block_ms: of each.
        ends_after: turns after which one has ended.
        fails: the one that fails in its third turn.
        claims: those that claim a lot of everything, from their first turn on.
        steals: the one that in its third turn ends another turn as well.
    """

    def __init__(
        self,
        *block_ms: int,
        ends_after: int | None = None,
        fails: int | None = None,
        claims: tuple[int, ...] = (),
        steals: int | None = None,
    ) -> None:
        self.block_ms = block_ms
        self.ends_after = ends_after
        self.fails = fails
        self.claims = claims
        self.steals = steals
        self.clock_ns = 0
        self.order: list[int] = []
        self.ended: list[int] = []
        self.cancelled: list[int] = []

    async def __call__(self, subject: int, turns: int, on_event: Any) -> None:
        try:
            count = 0
            while await asyncio.to_thread(os.read, turns, 1) != END:
                self.order.append(subject)
                count += 1
                if subject == self.fails and count == 3:
                    raise WorkerError("WORKER_CRASHED", "it crashed")
                self.clock_ns += self.block_ms[subject] * MS
                timed = self.block_ms[subject] * MS if count > 2 else 0
                turn = benchmark_pb2.Turn(timed_ns=timed, inferences=20 if timed else 0)
                if subject in self.claims:
                    turn = benchmark_pb2.Turn(timed_ns=10**15, inferences=2**31 - 1)
                event = benchmark_pb2.BenchmarkEvent(turn=turn)
                for _ in range(2 if subject == self.steals and count == 3 else 1):
                    on_event(agent_pb2.WatchBenchmarkResponse(event=event))
                if count == self.ends_after:
                    return
            self.ended.append(subject)
            await asyncio.sleep(0.01)
            assert self.ended[-1] == subject, "another had its last turn meanwhile"
            event = benchmark_pb2.BenchmarkEvent(turn=benchmark_pb2.Turn())
            on_event(agent_pb2.WatchBenchmarkResponse(event=event))
        except asyncio.CancelledError:
            self.cancelled.append(subject)
            raise


def run(workers: Workers, **plan: int) -> list[Any]:
    events: list[Any] = []
    settings = {"duration_ns": 1000 * MS, "inferences": 1, "order_seed": 7, **plan}
    subjects = len(workers.block_ms)
    made = benchmark_pb2.Plan(**settings)
    asyncio.run(run_in_turns(workers, made, 0, subjects, events.append, lambda: workers.clock_ns))
    return events


def rounds(workers: Workers) -> list[tuple[int, ...]]:
    count = len(workers.block_ms)
    return [tuple(workers.order[i : i + count]) for i in range(0, len(workers.order), count)]


def test_each_round_has_every_subject_once_in_an_order_of_chance() -> None:
    workers = Workers(10, 10, 10)
    run(workers)
    assert all(sorted(one) == [0, 1, 2] for one in rounds(workers))
    # Two to prepare, then 100 blocks of 10 ms each.
    assert len(rounds(workers)) == 102
    assert len(set(rounds(workers))) == 6
    assert sorted(workers.ended) == [0, 1, 2]


def test_another_seed_gives_another_order_and_the_same_the_same() -> None:
    orders = []
    for seed in (7, 7, 8):
        workers = Workers(10, 10)
        run(workers, order_seed=seed)
        orders.append(workers.order)
    assert orders[0] == orders[1] != orders[2]


def test_time_is_counted_for_all_together() -> None:
    workers = Workers(50, 150)
    run(workers)
    # 10 rounds of 200 ms make two seconds for two subjects.
    assert len(rounds(workers)) == 12


def test_every_subject_gets_its_number_of_inferences() -> None:
    workers = Workers(1000, 1000)
    run(workers, inferences=100)
    assert len(rounds(workers)) == 2 + 5


def test_a_worker_that_fails_ends_the_others() -> None:
    workers = Workers(10, 10, fails=1)
    with pytest.raises(WorkerError, match="it crashed"):
        run(workers)
    assert workers.order.count(1) == 3


def test_a_worker_that_ends_early_ends_the_launch_in_good_order() -> None:
    workers = Workers(10, 10, ends_after=5)
    run(workers)
    assert len(workers.order) <= 10


def test_ends_of_turns_are_not_told_and_progress_is() -> None:
    events = run(Workers(10, 10))
    assert {e.event.WhichOneof("event") for e in events} == {"progress"}


def test_a_worker_that_claims_more_than_there_was_time_for_ends_nothing_early() -> None:
    honest, lying = Workers(10, 10), Workers(10, 10, claims=(1,))
    run(honest)
    run(lying)
    assert len(rounds(lying)) == len(rounds(honest))


def test_inferences_that_there_was_no_time_for_do_not_count() -> None:
    workers = Workers(1, 1, claims=(0, 1))
    # In a millisecond there is time for 20,000 of the quickest.
    run(workers, duration_ns=1, inferences=60_000)
    assert len(rounds(workers)) == 2 + 3


def test_a_worker_that_ends_a_turn_which_it_does_not_have_fails() -> None:
    workers = Workers(10, 10, steals=1)
    with pytest.raises(WorkerError, match="ended a turn that it did not have") as caught:
        run(workers)
    assert caught.value.reason == "WORKER_FAILED"
    assert workers.order.count(1) == 3
    assert workers.cancelled == [0]
