"""Verdicts: what makes one, what several make together, and what never does."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest

from edgeopt_host.stats.estimate import Estimate, Mean, student
from edgeopt_host.stats.verdict import (
    Decision,
    Verdict,
    decide,
    exact,
    guarded,
    holm,
)

ONE = Estimate(1.0, 0.9, 1.1)


def test_each_verdict_needs_its_own_test_to_be_sure() -> None:
    assert decide(0.01, 0.99, 0.05, ONE).verdict is Verdict.PASS
    assert decide(0.99, 0.01, 0.05, ONE).verdict is Verdict.FAIL
    unsure = decide(0.05, 0.95, 0.05, ONE)
    assert (unsure.verdict, unsure.estimate) == (Verdict.INCONCLUSIVE, ONE)
    assert "more launches" in unsure.reason


@pytest.mark.parametrize("p_pass", [math.nan, -0.1, 1.1])
def test_what_is_no_p_value_decides_nothing(p_pass: float) -> None:
    with pytest.raises(ValueError, match="no p-values"):
        decide(p_pass, 0.5, 0.05, ONE)


def _raise() -> Decision:
    raise RuntimeError("no such luck")


def _zero_division() -> Decision:
    return exact(1 / 0, kept=True)


def _nan() -> Decision:
    return exact(math.nan, kept=True)


def _infinite() -> Decision:
    return exact(math.inf, kept=False)


def _numpy_invalid() -> Decision:
    return exact(float(np.log(np.array([-1.0]))[0]), kept=False)


def _numpy_divide() -> Decision:
    return exact(float((np.ones(1) / np.zeros(1))[0]), kept=False)


def _nothing() -> Decision:
    return Decision(Verdict.PASS, None)


def _index() -> Decision:
    return exact(float(np.empty(0)[0]), kept=True)


def _warning() -> Decision:
    warnings.warn("the result may be wrong", RuntimeWarning, stacklevel=1)
    return exact(1.0, kept=True)


def _memory() -> Decision:
    raise MemoryError


@pytest.mark.parametrize(
    "failing",
    [
        _raise,
        _zero_division,
        _nan,
        _infinite,
        _numpy_invalid,
        _numpy_divide,
        _nothing,
        _index,
        _warning,
        _memory,
    ],
)
def test_a_comparison_that_fails_is_no_verdict(failing: Callable[[], Decision]) -> None:
    decision = guarded(failing)()
    assert decision.verdict is Verdict.NOT_MEASURABLE
    assert decision.estimate is None
    assert decision.reason.startswith("the comparison failed")


def test_a_comparison_that_works_is_left_alone() -> None:
    assert guarded(lambda: exact(2.0, kept=False))().verdict is Verdict.FAIL


def test_a_verdict_without_a_figure_says_why() -> None:
    said = Decision(Verdict.PASS, None, "the baseline's is 0")
    assert guarded(lambda: said)() == said


def test_holm_takes_back_what_many_tests_find_by_chance() -> None:
    """By hand: .001 < .05/4, .01 < .05/3, but .03 > .05/2, and .04 comes after it."""
    decisions = [
        Decision(Verdict.FAIL, ONE, p_pass=1 - p, p_fail=p) for p in (0.03, 0.001, 0.04, 0.01)
    ]
    kept = holm(decisions, [0.05] * 4)
    assert [d.verdict.value for d in kept] == ["inconclusive", "fail", "inconclusive", "fail"]
    assert "among 4 rules" in kept[0].reason


def test_holm_leaves_the_others_alone() -> None:
    decisions = [exact(1.0, kept=False), Decision(Verdict.PASS, ONE, p_pass=0.01, p_fail=0.99)]
    assert holm(decisions, [0.05, 0.05]) == decisions


def test_holm_ranks_each_by_its_own_error_rate() -> None:
    """.004 at a look that spends .01 is less sure than .015 of what is decided once at .05."""
    decisions = [Decision(Verdict.FAIL, ONE, p_fail=p) for p in (0.004, 0.015)]
    kept = holm(decisions, [0.01, 0.05])
    assert [d.verdict.value for d in kept] == ["fail", "fail"]
    kept = holm([decisions[0], Decision(Verdict.FAIL, ONE, p_fail=0.03)], [0.01, 0.05])
    assert [d.verdict.value for d in kept] == ["fail", "fail"]
    kept = holm([Decision(Verdict.FAIL, ONE, p_fail=0.006), decisions[1]], [0.01, 0.05])
    assert [d.verdict.value for d in kept] == ["fail", "fail"]
    kept = holm([decisions[0], decisions[1]], [0.006, 0.028])
    assert [d.verdict.value for d in kept] == ["inconclusive", "inconclusive"]


def test_over_forty_rules_holm_holds_the_rate() -> None:
    generator = np.random.default_rng(3)
    alarms = {"raw": 0, "holm": 0}
    for _ in range(500):
        p = generator.random(40)
        decisions = [decide(1 - x, x, 0.05, ONE) for x in p]
        alarms["raw"] += any(d.verdict is Verdict.FAIL for d in decisions)
        alarms["holm"] += any(d.verdict is Verdict.FAIL for d in holm(decisions, [0.05] * 40))
    assert alarms["raw"] > 400
    assert alarms["holm"] < 45


def test_the_interval_of_a_mean_is_students() -> None:
    """Values 1, 2, 3: mean 2, standard error 1/√3, t(2) at .975 is 4.303."""
    estimate = Mean.of([1.0, 2.0, 3.0]).estimate()
    assert estimate.value == 2.0
    assert estimate.high - 2.0 == pytest.approx(4.30265 / math.sqrt(3), rel=1e-5)
    assert 2.0 - estimate.low == pytest.approx(estimate.high - 2.0)


def test_one_value_has_no_interval() -> None:
    estimate = Mean.of([1.0]).estimate()
    assert not estimate.bounded
    assert estimate.value == 1.0


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_no_mean_of_what_is_not_finite(values: list[float]) -> None:
    with pytest.raises(ValueError, match="not finite"):
        Mean.of(values)


def test_p_values_are_students() -> None:
    """t(10) at 1.812 is .95."""
    below, above = student(1.812461, 1.0, 10)
    assert (below, above) == (pytest.approx(0.95, abs=1e-5), pytest.approx(0.05, abs=1e-5))


@pytest.mark.parametrize(("difference", "error"), [(1.0, 0.0), (math.nan, 1.0), (1.0, math.nan)])
def test_there_is_no_test_without_an_error(difference: float, error: float) -> None:
    with pytest.raises(ValueError, match="no test"):
        student(difference, error, 3)
