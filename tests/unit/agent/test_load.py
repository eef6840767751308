"""The shapes of a load: back to back, paced, several streams."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent.runtimes import Session
from edgeopt_agent.worker.load import Load

MS = 1_000_000


class Busy(Session):
    """A session whose inferences take at least so long, and that notes when they begin."""

    inputs = ()

    def __init__(self, seconds: float = 0.0) -> None:
        self.begun: list[int] = []
        self.threads_entered = 0
        self._seconds = seconds
        self.infer = self._infer

    def _infer(self) -> None:
        self.begun.append(time.perf_counter_ns())
        time.sleep(self._seconds)

    def enter_thread(self) -> None:
        self.threads_entered += 1

    def prepare(self, feeds: Any) -> None:
        raise NotImplementedError

    def outputs(self) -> Any:
        raise NotImplementedError

    def placement(self) -> Any:
        raise NotImplementedError


def a_plan(**settings: Any) -> benchmark_pb2.Plan:
    return benchmark_pb2.Plan(**{"block_inferences": 1, **settings})


def test_one_stream_back_to_back() -> None:
    session, samples = Busy(), array("q")
    load = Load([session], a_plan(block_duration_ns=5 * MS, block_inferences=20))
    block = load.block(samples)
    assert block.wall_ns >= 5 * MS
    assert block.stream_samples == ()
    assert len(samples) == len(session.begun) >= 20


def test_a_paced_inference_never_begins_before_it_is_due() -> None:
    session, samples = Busy(), array("q")
    load = Load([session], a_plan(rate_hz=100, block_inferences=10))
    start = time.perf_counter_ns()
    block = load.block(samples)
    assert [begun - start >= (n + 1) * 10 * MS for n, begun in enumerate(session.begun)] == [
        True
    ] * 10
    assert block.wall_ns >= 100 * MS


def test_waiting_for_earlier_inferences_counts() -> None:
    samples = array("q")
    Load([Busy(0.02)], a_plan(rate_hz=100, block_inferences=10)).block(samples)
    # Due every 10 ms, done every 20 ms or more.
    assert all(latency >= 20 * MS + n * 10 * MS for n, latency in enumerate(samples))


def test_a_queue_lasts_over_blocks_but_the_time_between_them_does_not_count() -> None:
    samples = array("q")
    load = Load([Busy(0.02)], a_plan(rate_hz=100, block_inferences=5))
    load.block(samples)
    time.sleep(0.5)
    before = samples[-1]
    load.block(samples)
    assert samples[5] >= before
    unhurried = array("q")
    load = Load([Busy()], a_plan(rate_hz=20, block_inferences=2))
    load.run(0, 2)
    time.sleep(0.5)
    load.block(unhurried)
    assert unhurried[0] < 400 * MS


def test_a_warm_up_is_paced_too() -> None:
    session = Busy()
    wall_ns, count = Load([session], a_plan(rate_hz=100)).run(0, 5)
    assert count == len(session.begun) == 5
    assert wall_ns >= 50 * MS


def test_a_limit_ends_a_paced_block() -> None:
    samples = array("q")
    plan = a_plan(rate_hz=50, block_inferences=1000, block_limit_ns=100 * MS)
    block = Load([Busy()], plan).block(samples)
    assert block.wall_ns >= 100 * MS
    assert len(samples) <= 6


def test_samples_of_streams_stand_one_after_the_other() -> None:
    sessions = [Busy(seconds) for seconds in (0.002, 0.02, 0.002)]
    samples = array("q")
    block = Load(sessions, a_plan(block_duration_ns=50 * MS, block_inferences=9)).block(samples)
    first, second, third = block.stream_samples
    assert min(block.stream_samples) >= 3
    assert first + second + third == len(samples)
    assert min(samples[first : first + second]) >= 20 * MS
    assert block.wall_ns >= 50 * MS


def test_every_stream_works_until_the_last_has_its_samples() -> None:
    quick, slow = Busy(0.001), Busy(0.05)
    samples = array("q")
    block = Load([quick, slow], a_plan(block_inferences=4)).block(samples)
    assert block.stream_samples == (2, 2)
    # While the slow one was at its second inference, the quick one went on unheard.
    assert quick.begun[-1] > slow.begun[-1]
    assert len(quick.begun) > 10


def test_the_rates_of_streams_add_up() -> None:
    samples = array("q")
    block = Load([Busy(0.01), Busy(0.03)], a_plan(block_inferences=12)).block(samples)
    first = sum(samples[: block.stream_samples[0]]) / block.stream_samples[0]
    second = sum(samples[block.stream_samples[0] :]) / block.stream_samples[1]
    assert len(samples) / block.wall_ns == pytest.approx(1 / first + 1 / second, rel=0.1)


def test_a_warm_up_of_streams_counts_for_each() -> None:
    sessions = [Busy(), Busy(), Busy()]
    _, count = Load(sessions, a_plan()).run(0, 20)
    assert count == 60
    assert [len(session.begun) for session in sessions] == [20] * 3


def test_each_stream_but_the_first_has_a_thread_of_its_own() -> None:
    sessions = [Busy(), Busy(), Busy()]
    load = Load(sessions, a_plan())
    for _ in range(3):
        load.block(array("q"))
    assert [session.threads_entered for session in sessions] == [0, 1, 1]


def test_paced_streams_take_turns() -> None:
    sessions = [Busy(), Busy(), Busy()]
    start = time.perf_counter_ns()
    Load(sessions, a_plan(rate_hz=10, block_inferences=6)).block(array("q"))
    period = 100 * MS
    for index, session in enumerate(sessions):
        assert len(session.begun) == 2
        assert session.begun[0] - start >= period + index * period // 3
        assert session.begun[1] - start >= 2 * period + index * period // 3


@pytest.mark.parametrize("broken", [0, 2])
@pytest.mark.parametrize("rate_hz", [0, 100])
def test_a_stream_that_fails_ends_the_block(broken: int, rate_hz: float) -> None:
    sessions = [Busy(0.001), Busy(0.001), Busy(0.001)]
    sessions[broken].infer = failing(3)
    load = Load(sessions, a_plan(rate_hz=rate_hz, block_inferences=30))
    with pytest.raises(RuntimeError, match="no more"):
        load.block(array("q"))


def failing(after: int) -> Callable[[], None]:
    left = iter(range(after))

    def infer() -> None:
        if next(left, None) is None:
            raise RuntimeError("no more")

    return infer


def test_a_steady_pace_is_kept_on_average() -> None:
    session = Busy()
    load = Load([session], a_plan(rate_hz=200, block_inferences=10))
    walls = [load.block(array("q")).wall_ns for _ in range(5)]
    assert sum(walls) >= 49 * 5 * MS
    gaps = [after - before for before, after in pairwise(session.begun)]
    # Late beginnings do not move those after them.
    assert sorted(gaps)[len(gaps) // 2] == pytest.approx(5 * MS, rel=0.2)
