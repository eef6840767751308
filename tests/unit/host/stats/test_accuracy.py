"""Accuracy, against published figures and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from edgeopt_host.stats import accuracy
from edgeopt_host.stats.verdict import Verdict


def table(both: int, gained: int, lost: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Candidate and baseline: both right, only one, neither."""
    counts = (both, gained, lost, neither)
    return (
        np.repeat([True, True, False, False], counts),
        np.repeat([True, False, True, False], counts),
    )


def test_the_class_with_the_largest_score_counts() -> None:
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [np.nan, 1.0]])
    assert accuracy.correct(scores, np.array([1, 1, 1])).tolist() == [True, False, False]


def test_class_numbers_and_probabilities() -> None:
    assert accuracy.correct(np.array([3, 4]), np.array([3, 5])).tolist() == [True, False]
    probabilities = np.array([0.2, 0.5, np.nan])
    assert accuracy.correct(probabilities, np.array([0, 1, 0])).tolist() == [True, True, False]


def test_labels_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="3 predictions for 2 labels"):
        accuracy.correct(np.ones((3, 2)), np.ones(2))


@pytest.mark.parametrize("hits", [0, 1, 25, 45, 50])
def test_the_interval_is_clopper_and_pearsons(hits: int) -> None:
    estimate = accuracy.accuracy(np.arange(50) < hits)
    expected = binomtest(hits, 50).proportion_ci(0.95, "exact")
    assert estimate.value == hits / 50
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(
    ("minimum", "verdict"),
    [(0.7, Verdict.PASS), (0.9, Verdict.INCONCLUSIVE), (0.98, Verdict.FAIL)],
)
def test_a_minimum_is_tested_exactly(minimum: float, verdict: Verdict) -> None:
    decision = accuracy.decide_accuracy(np.arange(50) < 45, minimum, 0.05)
    assert decision.verdict is verdict


def test_the_exact_test_is_scipys() -> None:
    decision = accuracy.decide_accuracy(np.arange(50) < 45, 0.85, 0.05)
    assert decision.p_pass == pytest.approx(binomtest(45, 50, 0.85, "greater").pvalue)
    assert decision.p_fail == pytest.approx(binomtest(45, 50, 0.85, "less").pvalue)


def test_the_paired_interval_is_tangos() -> None:
    """His example of 44 pairs, of which one differs (Tango 1998, table II): -0.118 to 0.059."""
    estimate = accuracy.difference(*table(43, 0, 1, 0))
    assert (estimate.low, estimate.high) == pytest.approx((-11.8, 5.9), abs=0.1)


def test_the_paired_interval_mirrors() -> None:
    one = accuracy.difference(*table(80, 12, 5, 3))
    other = accuracy.difference(*table(80, 5, 12, 3))
    assert one.value == pytest.approx(7.0)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert one.low < 7 < one.high


def test_the_paired_interval_covers() -> None:
    generator = np.random.default_rng(30)
    for n, p_gain, p_lose in ((60, 0.1, 0.02), (300, 0.02, 0.02), (1000, 0.01, 0.03)):
        truth = 100 * (p_gain - p_lose)
        held = 0
        for _ in range(400):
            cells = generator.multinomial(n, [0.9 - p_gain - p_lose, p_gain, p_lose, 0.1])
            estimate = accuracy.difference(*table(*cells))
            held += estimate.low <= truth <= estimate.high
        assert 0.92 <= held / 400 <= 0.985


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        ((900, 10, 7, 83), Verdict.PASS),
        ((900, 10, 16, 74), Verdict.INCONCLUSIVE),
        ((860, 10, 60, 70), Verdict.FAIL),
        ((900, 0, 0, 100), Verdict.PASS),
    ],
)
def test_a_drop_is_decided_on_the_examples_that_differ(
    cells: tuple[int, int, int, int], verdict: Verdict
) -> None:
    decision = accuracy.decide_accuracy_drop(*table(*cells), 1.0, 0.05)
    assert decision.verdict is verdict, decision


def test_at_the_margin_neither_verdict_is_given_too_often() -> None:
    generator = np.random.default_rng(31)
    verdicts = []
    for _ in range(600):
        cells = generator.multinomial(800, [0.85, 0.01, 0.03, 0.11])
        verdicts.append(accuracy.decide_accuracy_drop(*table(*cells), 2.0, 0.05).verdict)
    # .05 and three standard errors.
    assert verdicts.count(Verdict.PASS) <= 600 * 0.05 + 16
    assert verdicts.count(Verdict.FAIL) <= 600 * 0.05 + 16


def test_models_that_agree_on_everything_are_not_decided_without_a_margin() -> None:
    decision = accuracy.decide_accuracy_drop(*table(90, 0, 0, 10), 0.0, 0.05)
    assert decision.verdict is Verdict.INCONCLUSIVE


def test_no_examples_and_other_examples_are_not_measurable() -> None:
    none = np.empty(0, np.bool_)
    assert accuracy.decide_accuracy(none, 0.9, 0.05).verdict is Verdict.NOT_MEASURABLE
    assert accuracy.decide_accuracy_drop(none, none, 1, 0.05).verdict is Verdict.NOT_MEASURABLE
    some, more = np.ones(5, np.bool_), np.ones(6, np.bool_)
    assert accuracy.decide_accuracy_drop(some, more, 1, 0.05).verdict is Verdict.NOT_MEASURABLE


def test_extreme_tables_have_intervals() -> None:
    for cells in ((1, 0, 0, 0), (0, 1, 0, 0), (0, 5, 0, 0), (0, 0, 5, 0), (0, 0, 0, 7)):
        estimate = accuracy.difference(*table(*cells))
        assert -100 <= estimate.low <= estimate.value <= estimate.high <= 100
