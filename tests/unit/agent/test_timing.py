from __future__ import annotations

import time
from array import array

from edgeopt_agent.worker import timing


def test_a_block_ends_when_both_duration_and_count_are_reached() -> None:
    samples = array("q")
    wall = timing.time_block(lambda: time.sleep(0.002), samples, 10_000_000, 2)
    assert wall >= 10_000_000
    assert len(samples) >= 2
    samples = array("q")
    timing.time_block(lambda: None, samples, 0, 50)
    assert len(samples) == 50


def test_a_limit_ends_a_block_whatever_its_count() -> None:
    samples = array("q")
    wall = timing.time_block(lambda: time.sleep(0.002), samples, 0, 10_000, 20_000_000)
    assert wall >= 20_000_000
    assert len(samples) <= 10


def test_a_pace_keeps_what_is_left_until_the_next_is_due() -> None:
    pace = timing.Pace(50)
    timing.time_paced(lambda: None, array("q"), pace, 0, 3)
    assert pace.period_ns == 20_000_000
    assert pace.slack_ns < pace.period_ns
    # Behind: the queue goes on with the next block.
    slow = timing.Pace(50)
    timing.time_paced(lambda: time.sleep(0.03), array("q"), slow, 0, 3)
    assert slow.slack_ns <= -30_000_000 + 20_000_000


def test_a_warm_up_ends_when_both_duration_and_count_are_reached() -> None:
    wall, count = timing.run_for(lambda: time.sleep(0.002), 10_000_000, 2)
    assert wall >= 10_000_000
    assert count >= 2
    assert timing.run_for(lambda: None, 0, 50)[1] == 50


def test_latencies_add_up_to_no_more_than_the_wall_time() -> None:
    samples = array("q")
    wall = timing.time_block(lambda: time.sleep(0.001), samples, 20_000_000, 5)
    assert sum(samples) <= wall
    assert min(samples) >= 1_000_000


def test_the_harness_overhead_is_measured_and_small() -> None:
    overhead = timing.harness_overhead_ns()
    assert 0 < overhead < 100_000
