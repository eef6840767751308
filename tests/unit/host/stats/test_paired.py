"""Ratios of subjects measured in turns."""

from __future__ import annotations

import math

import numpy as np
import pytest

import traces
from edgeopt_host.stats import paired
from edgeopt_host.stats.verdict import Verdict

STATISTICS = ("p50", "p90", "p95", "mean", "throughput")


@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_interval_holds_the_true_ratio(statistic: str) -> None:
    generator = np.random.default_rng(5)
    truth = 1 / 1.07 if statistic == "throughput" else 1.07
    held = 0
    for _ in range(100):
        estimate = paired.ratio(*traces.pair(generator, 1.07), statistic)
        held += estimate.low <= truth <= estimate.high
    assert 89 <= held <= 100


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize(("worse", "verdict"), [(1.0, Verdict.PASS), (1.1, Verdict.FAIL)])
def test_clear_cases_are_decided(statistic: str, worse: float, verdict: Verdict) -> None:
    both = traces.pair(np.random.default_rng(6), worse, launches=10)
    decision = paired.decide_ratio(
        *both, statistic, 0.03, 0.0125, higher_is_better=statistic == "throughput"
    )
    assert decision.verdict is verdict, decision
    assert decision.estimate is not None


def test_at_the_margin_neither_verdict_is_given_too_often() -> None:
    """Processes differ by 2 %, which many blocks of few launches would hide."""
    generator = np.random.default_rng(7)
    seen = [
        paired.decide_ratio(*traces.pair(generator, 1.03, bias=0.02), "p50", 0.03, 0.05).verdict
        for _ in range(200)
    ]
    # .05 and three standard errors of 200 rounds.
    assert seen.count(Verdict.FAIL) <= 0.05 * 200 + 10
    assert seen.count(Verdict.PASS) <= 0.05 * 200 + 10


def test_load_and_first_inference_are_one_figure_per_launch() -> None:
    generator = np.random.default_rng(8)
    mine, other = traces.pair(generator, 1.0, launches=8)
    for one in mine:
        one.load_ns = round(1.5 * one.load_ns * math.exp(0.05 * generator.standard_normal()))
    assert paired.ratio(mine, other, "load").value == pytest.approx(1.5, rel=0.05)
    assert paired.decide_ratio(mine, other, "load", 0.2, 0.05).verdict is Verdict.FAIL
    first = paired.decide_ratio(mine, other, "first_inference", 0.2, 0.05)
    # All launches told the same figure, but the clock is seen to resolve nanoseconds.
    assert first.verdict is Verdict.PASS


def test_tainted_launches_are_left_out_of_both() -> None:
    mine, other = traces.pair(np.random.default_rng(9), 1.0, launches=8)
    for one in mine[:4]:
        one.blocks = traces.launch(np.full(200, 9.0)).blocks
        one.tainted = "the canary was 30 % slower"
    assert paired.ratio(mine, other, "p50").value == pytest.approx(1.0, abs=0.05)
    assert [one.number for one, _ in paired.pairs(mine, other)] == [4, 5, 6, 7]


def test_what_the_lower_quartile_hides_is_not_passed() -> None:
    """Two of three inferences take 30 % longer, the quickest third does not."""
    generator = np.random.default_rng(10)
    mine, other = traces.pair(generator, 1.0, launches=8, noise=0.01, bias=0.002)
    for one in mine:
        for block in one.blocks:
            slow = np.arange(block.latency_ns.size) % 3 > 0
            block.latency_ns = np.where(slow, block.latency_ns * 13 // 10, block.latency_ns)
    decision = paired.decide_ratio(mine, other, "p50", 0.03, 0.05)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "contradict" in decision.reason


def test_launches_without_a_partner_are_left_out() -> None:
    mine, other = traces.pair(np.random.default_rng(11), 1.0)
    assert len(paired.pairs(mine[1:], other[:-1])) == 4


def test_blocks_of_a_round_without_a_partner_are_left_out() -> None:
    mine, other = traces.pair(np.random.default_rng(12), 1.0)
    whole = paired.ratio(mine, other, "p50").value
    for one in mine:
        del one.blocks[::2]
    assert paired.ratio(mine, other, "p50").value == pytest.approx(whole, abs=0.02)


@pytest.mark.parametrize("count", [1, 2])
def test_few_launches_decide_nothing(count: int) -> None:
    both = traces.pair(np.random.default_rng(13), 2.0, launches=count)
    decision = paired.decide_ratio(*both, "p50", 0.03, 0.05)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert f"{count} launch" in decision.reason


def test_one_pair_of_blocks_is_one_pair() -> None:
    mine, other = traces.pair(np.random.default_rng(13), 2.0, launches=1)
    del mine[0].blocks[1:]
    assert paired.decide_ratio(mine, other, "p50", 0.03, 0.05).verdict is Verdict.INCONCLUSIVE


def test_nothing_is_not_measurable() -> None:
    assert paired.decide_ratio([], [], "p50", 0.03, 0.05).verdict is Verdict.NOT_MEASURABLE


def test_latencies_that_never_differ_decide_nothing() -> None:
    """A clock that ticks every millisecond shows 0.6 and 1.4 ms alike."""
    alike = [traces.launch(np.ones(100), number) for number in range(8)]
    decision = paired.decide_ratio(alike, alike, "p50", 0.03, 0.05)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "clock" in decision.reason


def test_a_coarse_clock_makes_no_verdict_of_its_rounding() -> None:
    """Ticks of 1 ms over latencies of 1 to 3 ms: all lower quartiles are the same."""
    values = np.tile([1.0, 1.0, 2.0, 3.0], 50)
    alike = [traces.launch(values, number) for number in range(8)]
    decision = paired.decide_ratio(alike, alike, "p50", 0.03, 0.05)
    assert decision.verdict is Verdict.INCONCLUSIVE


def test_a_cycle_exact_device_gets_its_verdict() -> None:
    """The same in every launch, and the clock is seen to be fine: there is nothing to doubt."""
    values = 1.0 + np.tile([0.0, 1e-6, 2e-6, 3e-6], 50)
    other = [traces.launch(values, number) for number in range(8)]
    worse = [traces.launch(values * 1.04, number) for number in range(8)]
    assert paired.decide_ratio(other, other, "p50", 0.03, 0.05).verdict is Verdict.PASS
    assert paired.decide_ratio(worse, other, "p50", 0.03, 0.05).verdict is Verdict.FAIL


@pytest.mark.parametrize("bad", [0, -5])
@pytest.mark.parametrize("statistic", [*STATISTICS, "load", "no such statistic"])
def test_impossible_figures_are_not_measurable(bad: int, statistic: str) -> None:
    mine, other = traces.pair(np.random.default_rng(14), 1.0)
    for one in mine:
        one.load_ns = bad
        for block in one.blocks:
            block.latency_ns = np.full_like(block.latency_ns, bad)
            block.duration_ns = 0
    decision = paired.decide_ratio(mine, other, statistic, 0.03, 0.05)
    assert decision.verdict is Verdict.NOT_MEASURABLE, decision


@pytest.mark.parametrize("scale", [4e-6, 4e-3, 1000.0])
def test_very_fast_and_very_slow_models_are_decided(scale: float) -> None:
    """From 4 ns, where a tick is a quarter, to a second with two inferences a block."""
    generator = np.random.default_rng(15)
    for truth, verdict in ((1.0, Verdict.PASS), (1.3, Verdict.FAIL)):
        mine, other = traces.pair(generator, truth, launches=12, inferences=20, noise=0.02)
        for one in (*mine, *other):
            for block in one.blocks:
                block.latency_ns = np.round(block.latency_ns * scale).astype(np.int64)
        decision = paired.decide_ratio(mine, other, "p50", 0.15, 0.05)
        if scale < 1e-3 and decision.verdict is Verdict.INCONCLUSIVE:
            continue  # four ticks tell no 15 %
        assert decision.verdict is verdict


def test_p99_needs_inferences() -> None:
    decision = paired.decide_ratio(
        *traces.pair(np.random.default_rng(16), 2.0, inferences=50), "p99", 0.03, 0.05
    )
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "473" in decision.reason
