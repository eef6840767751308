"""Load that lasts: the ratio of its ends, how well it is known, and the curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.special import stdtrit

from edgeopt_host.run import Block, Device, Launch, Model, Reading, Run, RuntimeUsed
from edgeopt_host.stats import sustained
from edgeopt_host.stats.verdict import Verdict

SECOND = 1_000_000_000
START = 1_700 * SECOND
Floats = np.ndarray[Any, np.dtype[np.float64]]
# A Raspberry Pi 4B without a heat sink: throttles from 80 °C, from 1800 to 1500 MHz.
PI = {
    "cpu0": "clock_hz",
    "cpu-thermal": "temperature_celsius",
    "throttled": "throttle_flags",
    "throttled-sticky": "throttle_flags",
}


def correlated(generator: np.random.Generator, count: int, rho: float) -> Floats:
    values = np.empty(count)
    values[0] = generator.normal()
    for place in range(1, count):
        step = math.sqrt(1 - rho * rho) * generator.normal()
        values[place] = rho * values[place - 1] + step
    return values


def launch(levels_ms: Sequence[float] | Floats, seed: int = 0, count: int = 20) -> Launch:
    """A block of 50 ms each second, around the level of that second."""
    generator = np.random.default_rng(seed)
    blocks = [
        Block(
            START + place * SECOND,
            np.round(1e6 * level * (1 + 0.01 * generator.exponential(size=count))).astype(np.int64),
            SECOND // 20,
        )
        for place, level in enumerate(levels_ms)
    ]
    return Launch(0, 0, 0, 0, 0, None, None, None, None, None, blocks, [])


def run(made: Launch) -> Run:
    of = Run("id", "t", "c", Model("m", "0", 1, "onnx"), Device("d"), RuntimeUsed("onnx"))
    of.launches = [made]
    of.sustained = sustained.sustained(made, {})
    return of


def test_a_board_that_slows_down_tells_its_last_minute_over_its_first() -> None:
    levels = np.where(np.arange(600) < 200, 12.0, 15.0)
    document = sustained.sustained(launch(levels), {})
    assert document["seconds"] == pytest.approx(599.05)
    assert document["window_s"] == 60
    assert document["first_p50_ms"] == pytest.approx(12.08, rel=0.01)
    assert document["last_p50_ms"] == pytest.approx(15.1, rel=0.01)
    assert document["ratio"] == pytest.approx(1.25, rel=0.005)
    low, high = document["ci95"]
    assert low < 1.25 < high
    assert high / low < 1.02


def test_only_the_two_minutes_count() -> None:
    levels = np.full(600, 12.0)
    levels[60:540] = 40.0
    assert sustained.sustained(launch(levels), {})["ratio"] == pytest.approx(1, rel=0.005)


def test_a_shorter_run_has_a_tenth_of_it_and_says_so() -> None:
    levels = np.where(np.arange(100) < 50, 10.0, 11.0)
    document = sustained.sustained(launch(levels), {})
    assert document["window_s"] == pytest.approx(9.905)
    assert document["ratio"] == pytest.approx(1.1, rel=0.01)


def test_too_few_blocks_have_a_ratio_and_no_interval() -> None:
    document = sustained.sustained(launch([10.0] * 30), {})
    assert document["ratio"] == pytest.approx(1, rel=0.01)
    assert document["ci95"] is None
    assert sustained.decide_sustained(run(launch([10.0] * 30)), 1.2, 0.05).verdict is (
        Verdict.INCONCLUSIVE
    )


@pytest.mark.parametrize("rho", [0.0, 0.8, 0.9])
def test_the_interval_holds_the_truth_although_blocks_are_alike(rho: float) -> None:
    """Seconds that are like the ones before, as a device's are: 95 % promised, 88 % asked for."""
    generator = np.random.default_rng(1)
    held = 0
    for seed in range(100):
        noise = 0.02 * correlated(generator, 240, rho)
        level = np.log(np.where(np.arange(240) < 120, 10.0, 11.0))
        low, high = sustained.sustained(launch(np.exp(level + noise), seed), {})["ci95"]
        held += low < 1.1 < high
    assert held >= 88


def test_a_trend_within_the_first_minute_is_no_uncertainty() -> None:
    levels = np.concatenate([np.linspace(10, 12, 60), np.full(180, 12.0)])
    low, high = sustained.sustained(launch(levels), {})["ci95"]
    assert high / low < 1.02


def test_verdicts() -> None:
    slower = run(launch(np.where(np.arange(600) < 200, 12.0, 15.0)))
    assert sustained.decide_sustained(slower, 1.5, 0.05).verdict is Verdict.PASS
    failed = sustained.decide_sustained(slower, 1.1, 0.05)
    assert failed.verdict is Verdict.FAIL
    assert failed.estimate is not None
    assert failed.estimate.low < failed.estimate.value < failed.estimate.high
    assert sustained.decide_sustained(slower, 1.25, 0.0001).verdict is Verdict.INCONCLUSIVE


def test_a_stored_run_is_decided_as_when_it_was_measured() -> None:
    """By Student's t with the run's own degrees of freedom: its launches are not needed."""
    made = launch(np.where(np.arange(600) < 200, 12.0, 15.0))
    stored = run(made)
    stored.launches = []
    ends = sustained._Ends.of(made).log_ratio()
    assert ends is not None
    assert stored.sustained is not None
    assert stored.sustained["df"] == ends.count - 1
    decision = sustained.decide_sustained(stored, 1.249, 0.05)
    expected = ends.p_values(math.log(1.249))
    assert (decision.p_pass, decision.p_fail) == pytest.approx(expected)


def test_few_blocks_are_not_sure_at_a_tiny_error_rate() -> None:
    """Three standard errors of a normal are .001, of a t of two degrees of freedom .05."""
    few, many = run(launch([10.0] * 600)), run(launch([10.0] * 600))
    for of, freedom in ((few, 2), (many, 2000)):
        half = 0.01 * float(stdtrit(freedom, 0.975))
        interval = [math.exp(-half), math.exp(half)]
        of.sustained = {"ratio": 1.0, "ci95": interval, "df": freedom, "window_s": 60.0}
    limit = math.exp(0.04)
    assert sustained.decide_sustained(many, limit, 0.001).verdict is Verdict.PASS
    assert sustained.decide_sustained(few, limit, 0.001).verdict is Verdict.INCONCLUSIVE
    assert sustained.decide_sustained(few, limit, 0.05).verdict is Verdict.PASS
    margin = limit - 1
    assert sustained.decide_sustained_ratio(many, many, 2 * margin, 0.001).verdict is Verdict.PASS
    unsure = sustained.decide_sustained_ratio(few, many, margin, 0.001)
    assert unsure.verdict is Verdict.INCONCLUSIVE
    slower = sustained.decide_sustained_ratio(few, many, 0.1, 0.05)
    assert slower.verdict is Verdict.PASS


def test_what_was_not_sustained_is_not_measurable() -> None:
    ordinary = run(launch([10.0] * 100))
    ordinary.sustained = None
    decision = sustained.decide_sustained(ordinary, 1.2, 0.05)
    assert decision.verdict is Verdict.NOT_MEASURABLE
    assert "--sustained" in decision.reason


def test_a_limit_that_is_none_ends_in_no_verdict() -> None:
    decision = sustained.decide_sustained(run(launch([10.0] * 600)), 0.0, 0.05)
    assert decision.verdict is Verdict.NOT_MEASURABLE


def test_the_curve_has_what_the_device_told_at_each_time() -> None:
    made = launch(np.where(np.arange(600) < 300, 12.0, 14.4))
    made.readings = [Reading("start", START - SECOND, {"cpu-thermal": 99.0})]
    for place in range(600):
        hot = place >= 300
        values = {
            "cpu0": 1500e6 if hot else 1800e6,
            "cpu-thermal": 81.0 if hot else 50.0 + place / 10,
            "throttled": 4.0 if 300 <= place < 330 else 0.0,
        }
        at = START + place * SECOND + SECOND // 2
        made.readings.append(Reading("between_blocks", at, values))
    curve = sustained.sustained(made, PI)["curve"]
    assert len(curve) == 120
    first, last = curve[0], curve[-1]
    assert first["t_s"] == pytest.approx(2.5, abs=0.1)
    assert last["t_s"] == pytest.approx(596.5, abs=0.1)
    assert (first["temperature_c"], last["temperature_c"]) == (50.4, 81.0)
    assert (first["clock_mhz"], last["clock_mhz"]) == (1800, 1500)
    assert first["p50_ms"] < first["p95_ms"] < last["p50_ms"]
    throttled = [point["t_s"] for point in curve if point["throttled"]]
    assert 295 < min(throttled) < max(throttled) < 335
    assert {point["throttled"] for point in curve} == {True, False}


def test_a_sticky_flag_belongs_to_the_time_in_which_it_appeared() -> None:
    made = launch([10.0] * 240)
    made.readings = [
        Reading(
            "between_blocks", START + place * SECOND, {"throttled-sticky": 4.0 * (place >= 120)}
        )
        for place in range(240)
    ]
    curve = sustained.sustained(made, PI)["curve"]
    # The last reading before it is that of another point.
    (throttled,) = (point["t_s"] for point in curve if point["throttled"])
    assert throttled == pytest.approx(120.5, abs=0.1)


def test_of_several_clusters_the_quickest_is_shown() -> None:
    channels = {"cpu0": "clock_hz", "cpu4": "clock_hz"}
    made = launch([10.0] * 10)
    values = {"cpu0": 1800e6, "cpu4": 2400e6}
    made.readings = [Reading("between_blocks", START + SECOND, values)]
    assert sustained.sustained(made, channels)["curve"][1]["clock_mhz"] == 2400


def test_a_device_that_tells_nothing_has_a_curve_of_latency_alone() -> None:
    curve = sustained.sustained(launch([10.0] * 50), {})["curve"]
    assert len(curve) == 50
    for point in curve:
        assert (point["temperature_c"], point["clock_mhz"], point["throttled"]) == (None,) * 3
