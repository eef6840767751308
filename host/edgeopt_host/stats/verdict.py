"""What a rule ends with, and what several rules end with together."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ParamSpec

import numpy as np

from edgeopt_host.stats.estimate import Estimate

_P = ParamSpec("_P")


class Verdict(str, Enum):
    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_MEASURABLE = "not_measurable"


@dataclass(frozen=True)
class Decision:
    """One rule's verdict on one device.

    Args:
        verdict: PASS and FAIL are each wrong with at most the promised rate.
        estimate: the figure (absolute rules) or the ratio (relative ones; of accuracy: the
            difference in points) with its 95 % interval; None where there is none.
        reason: in words, why it is neither PASS nor FAIL, or has no estimate; else empty, or what
            to know besides.
        p_pass: how likely data like these are if the limit is just not kept; None: no test.
        p_fail: how likely data like these are if the limit is just kept; None: no test.
    """

    verdict: Verdict
    estimate: Estimate | None
    reason: str = ""
    p_pass: float | None = None
    p_fail: float | None = None


def decide(p_pass: float, p_fail: float, alpha: float, estimate: Estimate) -> Decision:
    """The verdict of two one-sided tests at the same level.

    Raises:
        ValueError: a p-value is none.
    """
    if not (0 <= p_pass <= 1 and 0 <= p_fail <= 1):
        raise ValueError(f"{p_pass} and {p_fail} are no p-values")
    if p_pass < alpha:
        return Decision(Verdict.PASS, estimate, "", p_pass, p_fail)
    if p_fail < alpha:
        return Decision(Verdict.FAIL, estimate, "", p_pass, p_fail)
    reason = "the interval holds the limit: more launches would tell"
    return Decision(Verdict.INCONCLUSIVE, estimate, reason, p_pass, p_fail)


def exact(value: float, *, kept: bool) -> Decision:
    """The verdict on a figure that does not vary."""
    return Decision(Verdict.PASS if kept else Verdict.FAIL, Estimate.exact(value))


def inconclusive(reason: str, estimate: Estimate | None = None) -> Decision:
    return Decision(Verdict.INCONCLUSIVE, estimate, reason)


def not_measurable(reason: str) -> Decision:
    return Decision(Verdict.NOT_MEASURABLE, None, reason)


def guarded(function: Callable[_P, Decision]) -> Callable[_P, Decision]:
    """Makes a comparison that fails end in "could not measure", never in a verdict.

    An exception, an invalid floating-point operation and a verdict on a figure that is not finite,
    or on none without a reason, are all failures.
    """

    @functools.wraps(function)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> Decision:
        try:
            with np.errstate(invalid="raise", divide="raise"):
                decision = function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it was, it is no verdict
            return not_measurable(f"the comparison failed: {type(error).__name__}: {error}")
        if decision.verdict in {Verdict.PASS, Verdict.FAIL} and not _sound(decision):
            return not_measurable(f"the comparison failed: it ended with {decision.estimate}")
        return decision

    return wrapper


def _sound(decision: Decision) -> bool:
    if decision.estimate is None:
        return bool(decision.reason)
    return math.isfinite(decision.estimate.value)


def holm(decisions: Sequence[Decision], alphas: Sequence[float]) -> list[Decision]:
    """Takes back FAILs that many tests without a margin bring about by chance.

    A margin protects by itself; rules of "no worse at all" (`max_regression = "0%"`) over many
    metrics and devices do not: of 40 with nothing changed, .89 had a FAIL, after Holm's step-down
    (1979) .04. A FAIL that does not survive becomes INCONCLUSIVE.

    Args:
        decisions: of all rules without a margin, over all devices.
        alphas: the error rate of each decision, of its look.
    """
    # In units of its own error rate, so that looks and what is decided once can be ranked.
    shares = {
        i: decision.p_fail / alpha
        for i, (decision, alpha) in enumerate(zip(decisions, alphas, strict=True))
        if decision.p_fail is not None
    }
    tested = sorted(shares, key=shares.__getitem__)
    kept = list(decisions)
    survives = True
    for rank, index in enumerate(tested):
        decision = decisions[index]
        survives = survives and shares[index] < 1 / (len(tested) - rank)
        if decision.verdict is Verdict.FAIL and not survives:
            reason = f"worse, but among {len(tested)} rules without a margin that can be chance"
            kept[index] = dataclasses.replace(decision, verdict=Verdict.INCONCLUSIVE, reason=reason)
    return kept
