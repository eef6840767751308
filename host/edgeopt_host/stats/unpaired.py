"""Two subjects that were not measured in turns: whether one is worse by more than a margin."""

from __future__ import annotations

import math

from edgeopt_host.stats.estimate import Estimate, Mean, student
from edgeopt_host.stats.verdict import Decision, decide, inconclusive, not_measurable


def decide_means(
    candidate: Mean,
    baseline: Mean,
    margin: float,
    alpha: float,
    *,
    higher_is_better: bool = False,
) -> Decision:
    """Welch's t over two independent means of logarithms.

    Args:
        candidate: of the logarithm of its figure.
        baseline: the same.
        margin: 0.03: a latency may be 1.03 times, a throughput 0.97 times the baseline's.
        alpha: the rate at which each verdict may be wrong at the margin.
        higher_is_better: of throughput.
    """
    if higher_is_better and margin >= 1:
        return not_measurable(f"a margin of {margin:.0%} leaves nothing to compare")
    value = candidate.value - baseline.value
    error = math.hypot(candidate.error, baseline.error)
    if not error > 0:
        return inconclusive("all launches are the same: the clock's resolution is not known")
    freedom = error**4 / sum(x.error**4 / (x.count - 1) for x in (candidate, baseline))
    from scipy.special import stdtrit

    half = float(stdtrit(freedom, 0.975)) * error
    limit = math.log1p(-margin if higher_is_better else margin)
    below, above = student(value - limit, error, freedom)
    p_pass, p_fail = (above, below) if higher_is_better else (below, above)
    return decide(p_pass, p_fail, alpha, Estimate(value, value - half, value + half).exp())
