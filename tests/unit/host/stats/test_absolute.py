"""Limits on one subject."""

from __future__ import annotations

import numpy as np
import pytest

import traces
from edgeopt_host.run import Launch
from edgeopt_host.stats import absolute
from edgeopt_host.stats.launches import fewest
from edgeopt_host.stats.verdict import Verdict

# Of a standard normal value.
_Z95 = 1.6449


def drifting(
    generator: np.random.Generator, launches: int = 12, inferences: int = 1500
) -> list[Launch]:
    """Log-normal latencies around 1 ms that drift over 200 inferences; true p95 exp(.3 · 1.645)."""
    made = []
    for number in range(launches):
        # Half of the variance drifts.
        values = traces.drift(generator, inferences, 0.995) + generator.standard_normal(inferences)
        made.append(traces.launch(np.exp(0.3 * values / np.sqrt(2)), number))
    return made


TRUE_P95 = float(np.exp(0.3 * _Z95))


def test_fewest_inferences_are_those_of_the_exact_binomial() -> None:
    """As measurement.md's sources have them, with one exceedance at 95 %."""
    assert [fewest(p) for p in (90, 95, 99)] == [46, 93, 473]


@pytest.mark.parametrize(("percent", "truth"), [(50, 1.0), (95, TRUE_P95)])
def test_the_interval_holds_the_truth(percent: float, truth: float) -> None:
    generator = np.random.default_rng(20)
    held = 0
    for _ in range(100):
        estimate = absolute.percentile(drifting(generator), percent)
        assert estimate.low <= estimate.value <= estimate.high
        held += estimate.low <= truth <= estimate.high
    assert 88 <= held <= 100


def test_at_the_limit_neither_verdict_is_given_too_often() -> None:
    generator = np.random.default_rng(21)
    seen = [
        absolute.decide_percentile(drifting(generator), 95, TRUE_P95, 0.05).verdict
        for _ in range(200)
    ]
    assert seen.count(Verdict.FAIL) <= 0.05 * 200 + 10
    assert seen.count(Verdict.PASS) <= 0.05 * 200 + 10


@pytest.mark.parametrize(("room", "verdict"), [(1.25, Verdict.PASS), (0.8, Verdict.FAIL)])
def test_clear_cases_are_decided(room: float, verdict: Verdict) -> None:
    decision = absolute.decide_percentile(
        drifting(np.random.default_rng(22)), 95, room * TRUE_P95, 0.05 / 3
    )
    assert decision.verdict is verdict


def test_no_exceedance_passes_from_93_inferences_on() -> None:
    few = [traces.launch(np.full(n, 1.0), i, blocks=8) for i, n in enumerate((30, 30, 32))]
    decision = absolute.decide_percentile(few, 95, 2.0, 0.05)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "93" in decision.reason
    many = [traces.launch(np.full(200, 1.0), i, blocks=8) for i in range(6)]
    assert absolute.decide_percentile(many, 95, 2.0, 0.05).verdict is Verdict.PASS


def test_few_blocks_or_launches_decide_nothing() -> None:
    blocks = [traces.launch(np.full(200, 1.0), i, blocks=2) for i in range(6)]
    assert absolute.decide_percentile(blocks, 95, 2.0, 0.05).verdict is Verdict.INCONCLUSIVE
    launches = [traces.launch(np.full(200, 1.0), i, blocks=20) for i in range(2)]
    assert absolute.decide_percentile(launches, 95, 2.0, 0.05).verdict is Verdict.INCONCLUSIVE


def test_tainted_launches_do_not_count() -> None:
    launches = drifting(np.random.default_rng(23))
    for one in launches:
        one.tainted = "throttled"
    decision = absolute.decide_percentile(launches, 95, 9.0, 0.05)
    assert decision.verdict is Verdict.NOT_MEASURABLE


@pytest.mark.parametrize("statistic", ["mean", "throughput", "load", "first_inference"])
def test_levels_are_decided_over_launches(statistic: str) -> None:
    generator = np.random.default_rng(24)
    launches = []
    factors = generator.standard_normal(8)
    for number, off in enumerate(factors - factors.mean()):
        factor = float(np.exp(0.03 * off))
        values = factor * (1 + 0.1 * generator.random(200))
        figures = {"load_ns": round(10**7 * factor), "first_inference_ns": round(2e6 * factor)}
        launches.append(traces.launch(values, number, **figures))
    truth = {"mean": 1.05, "throughput": 1000 / 1.05, "load": 10.0, "first_inference": 2.0}
    limit, up = truth[statistic], statistic == "throughput"

    def verdict(limit: float) -> Verdict:
        decided = absolute.decide_level(launches, statistic, limit, 0.05, higher_is_better=up)
        return decided.verdict

    assert verdict(limit * 1.1) is (Verdict.FAIL if up else Verdict.PASS)
    assert verdict(limit * 0.9) is (Verdict.PASS if up else Verdict.FAIL)
    assert verdict(limit) is Verdict.INCONCLUSIVE


def test_degenerate_levels_decide_nothing() -> None:
    alike = [traces.launch(np.ones(100), number) for number in range(8)]
    assert absolute.decide_level(alike, "mean", 2.0, 0.05).verdict is Verdict.INCONCLUSIVE
    assert absolute.decide_level(alike[:1], "mean", 2.0, 0.05).verdict is Verdict.INCONCLUSIVE
    assert absolute.decide_level([], "mean", 2.0, 0.05).verdict is Verdict.NOT_MEASURABLE
    for impossible in (0.0, -1.0, float("nan")):
        decision = absolute.decide_level(alike, "load", impossible, 0.05)
        assert decision.verdict in {Verdict.NOT_MEASURABLE, Verdict.INCONCLUSIVE}


def _uneven(launches: int = 12) -> list[Launch]:
    """Every third takes three times as long as the others."""
    generator = np.random.default_rng(22)
    return [
        traces.launch(
            (3.0 if n % 3 == 0 else 1.0) * np.exp(0.1 * generator.standard_normal(200)), n
        )
        for n in range(launches)
    ]


def test_launches_that_differ_pass_a_limit_that_none_comes_near() -> None:
    """By the share alone they would not, however high the limit."""
    made = _uneven()
    slowest = max(float(launch.blocks[0].latency_ns.max()) for launch in made) / 1e6
    assert absolute.decide_percentile(made, 95, 50.0, 0.01).verdict is Verdict.PASS
    near = absolute.decide_percentile(made, 95, 1.5 * slowest, 0.01)
    assert near.verdict is Verdict.INCONCLUSIVE
    few = absolute.decide_percentile(_uneven(9), 95, 50.0, 0.01)
    assert few.verdict is Verdict.INCONCLUSIVE


def test_out_of_reach_is_the_tolerance_limit_of_normal_figures() -> None:
    """Hahn & Meeker's table: of ten, 2.911 standard deviations hold 95 % at 95 %."""
    logs = np.linspace(-1, 1, 10)
    made = [traces.launch(np.full(10, np.exp(x)), n) for n, x in enumerate(logs)]
    limit = float(np.exp(2.911 * logs.std(ddof=1)))
    assert absolute._out_of_reach(made, limit, 0.05) == pytest.approx(0.05, abs=0.0005)
