"""Accuracy on labelled examples: a share, and how two models differ example by example."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from edgeopt_host.stats.estimate import Estimate
from edgeopt_host.stats.verdict import (
    Decision,
    Verdict,
    decide,
    guarded,
    inconclusive,
    not_measurable,
)

Bools = np.ndarray[Any, np.dtype[np.bool_]]

_COVERAGE = 0.95
_POINTS = 100.0
_HALF = 0.5


def correct(predictions: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> Bools:
    """Whether the model was right, per example: bool (n,).

    Args:
        predictions: scores (n, classes), of which the largest counts; class numbers (n,) of an
            integer type; or probabilities (n,) of the second of two classes. What a model gives is
            made one of these by `edgeopt_host.data.correct`.
        labels: class numbers (n,).

    A prediction that holds NaN is wrong.

    Raises:
        ValueError: not as many predictions as labels.
    """
    if len(predictions) != len(labels):
        raise ValueError(f"{len(predictions)} predictions for {len(labels)} labels")
    if predictions.ndim > 1:
        usable = ~np.isnan(predictions.astype(np.float64)).any(axis=1)
        return np.asarray(usable & (predictions.argmax(axis=1) == labels), np.bool_)
    if predictions.dtype.kind in "iub":
        return np.asarray(predictions == labels, np.bool_)
    known = ~np.isnan(predictions)
    return np.asarray(known & ((predictions >= _HALF) == (labels > 0)), np.bool_)


def accuracy(right: Bools) -> Estimate:
    """The share of right predictions with its 95 % interval: Clopper and Pearson's (1934).

    Raises:
        ValueError: there are no examples.
    """
    from scipy.special import betaincinv

    count, hits = _counts(right)
    tail = (1 - _COVERAGE) / 2
    low = float(betaincinv(hits, count - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, count - hits, 1 - tail)) if hits < count else 1.0
    return Estimate(hits / count, low, high)


@guarded
def decide_accuracy(right: Bools, minimum: float, alpha: float) -> Decision:
    """Whether the accuracy is at least a minimum: the exact binomial test.

    Args:
        right: per example, bool (n,).
        minimum: 0 to 1.
        alpha: the rate at which each verdict may be wrong at the minimum.
    """
    from scipy.special import bdtr, bdtrc

    if not right.size:
        return not_measurable("there are no labelled examples")
    count, hits = _counts(right)
    p_pass = float(bdtrc(hits - 1, count, minimum)) if hits else 1.0
    p_fail = float(bdtr(hits, count, minimum))
    return _more_examples(decide(p_pass, p_fail, alpha, accuracy(right)))


def difference(candidate: Bools, baseline: Bools) -> Estimate:
    """Candidate minus baseline in percentage points, with the 95 % interval of Tango's score.

    Both were fed the same examples, so only those count that one gets right and the other wrong
    (Tango, Statistics in Medicine 1998).

    Raises:
        ValueError: not the same number of examples, or none.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri

    gained, lost, count = _discordant(candidate, baseline)
    z = float(ndtri((1 + _COVERAGE) / 2))
    value = (gained - lost) / count
    edge = 1 - 1e-9

    def bound(sign: float) -> float:
        """Where the score is z away from what was seen."""
        wanted = sign * z
        if _score(gained, lost, count, -sign * edge) * sign < z:
            return -sign
        return float(brentq(lambda x: _score(gained, lost, count, x) - wanted, -edge, edge))

    return Estimate(_POINTS * value, _POINTS * bound(1.0), _POINTS * bound(-1.0))


@guarded
def decide_accuracy_drop(
    candidate: Bools, baseline: Bools, margin_pt: float, alpha: float
) -> Decision:
    """Whether the candidate's accuracy is lower by more than a margin: Tango's score test.

    Args:
        candidate: per example, whether it was right, bool (n,).
        baseline: of the same examples in the same order.
        margin_pt: percentage points; 0.5 allows 91.0 % after 91.5 %.
        alpha: the rate at which each verdict may be wrong at the margin.
    """
    from scipy.special import ndtr

    if not candidate.size:
        return not_measurable("there are no labelled examples")
    gained, lost, count = _discordant(candidate, baseline)
    estimate = difference(candidate, baseline)
    if gained == lost == 0 and margin_pt == 0:
        return inconclusive("no example tells the two apart", estimate)
    score = _score(gained, lost, count, -margin_pt / _POINTS)
    return _more_examples(decide(float(ndtr(-score)), float(ndtr(score)), alpha, estimate))


def _more_examples(decision: Decision) -> Decision:
    if decision.verdict is not Verdict.INCONCLUSIVE:
        return decision
    reason = "the interval holds the limit: more labelled examples would tell"
    return dataclasses.replace(decision, reason=reason)


def _counts(right: Bools) -> tuple[int, int]:
    if not right.size:
        raise ValueError("no accuracy of no examples")
    return int(right.size), int(right.sum())


def _discordant(candidate: Bools, baseline: Bools) -> tuple[int, int, int]:
    """How many only the candidate gets right, how many only the baseline, and of how many."""
    if candidate.shape != baseline.shape or not candidate.size:
        raise ValueError(f"{candidate.size} examples of one model, {baseline.size} of the other")
    gained = int((candidate & ~baseline).sum())
    return gained, int((baseline & ~candidate).sum()), int(candidate.size)


def _score(gained: int, lost: int, count: int, delta: float) -> float:
    """Tango's z of the hypothesis that the difference is `delta`."""
    b = -gained - lost + (2 * count - gained + lost) * delta
    c = -lost * delta * (1 - delta)
    share = (math.sqrt(max(b * b - 8 * count * c, 0.0)) - b) / (4 * count)
    variance = count * (2 * share + delta * (1 - delta))
    off = gained - lost - count * delta
    if variance <= 0:
        return math.copysign(math.inf, off) if off else 0.0
    return off / math.sqrt(variance)
