"""Limits on one subject: a percentile, or a figure that each launch has one of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgeopt_host.run import Launch
from edgeopt_host.stats import launches as units
from edgeopt_host.stats.estimate import Estimate, Mean, student
from edgeopt_host.stats.verdict import Decision, decide, guarded, inconclusive, not_measurable

_NS_PER_MS = 1e6
# Fewer segments say nothing about how a device differs from minute to minute.
_MIN_BLOCKS = 20
# Fewer do not tell how the slowest inferences of launches are distributed.
_MIN_SLOWEST = 10
# Figures that are means by definition: their logarithms would hide the tail.
_MEANS = ("mean", "throughput")


def percentile(launches: Sequence[Launch], percent: float) -> Estimate:
    """A percentile of all latencies in ms, with its 95 % interval.

    Woodruff's (1952): the interval of the share of latencies below it, whose standard error is
    taken over launches, turned back into latencies.

    Raises:
        ValueError: nothing was measured.
    """
    kept = units.counted(launches)
    everything = np.sort(np.concatenate([units.samples_ns(launch) for launch in kept])) / _NS_PER_MS
    value = float(np.percentile(everything, percent))
    share = _Share.of(kept, value)
    if share.count == 1:
        return Estimate(value, math.nan, math.nan)
    from scipy.special import stdtrit

    half = float(stdtrit(share.count - 1, 0.975)) * max(share.error, share.binomial(percent))
    low, high = (min(max(percent / 100 + x, 0.0), 1.0) for x in (-half, half))
    return Estimate(value, *(float(x) for x in np.quantile(everything, [low, high])))


@guarded
def decide_percentile(
    launches: Sequence[Launch], percent: float, limit_ms: float, alpha: float
) -> Decision:
    """Whether a percentile of the latencies keeps a limit.

    The share of latencies above the limit is compared with what the percentile allows. Latencies
    drift together and launches differ, so the standard error of that share is taken over launches.
    Where few latencies are above the limit, they also seem to vary little: so it is never less than
    that of the share above the observed percentile, nor than that of independent latencies. So
    launches that differ much would not pass a limit that none of them comes near: those pass by
    `_out_of_reach`.

    Args:
        launches: spread over minutes; of a run alone or of one subject among others.
        percent: 95 for p95.
        limit_ms: milliseconds.
        alpha: the rate at which each verdict may be wrong at the limit, of this look.
    """
    kept = units.counted(launches)
    if not kept:
        return not_measurable("no launch counts")
    estimate = percentile(kept, percent)
    share = _Share.of(kept, limit_ms)
    blocks = sum(len(launch.blocks) for launch in kept)
    fewest = units.fewest(percent)
    if share.count < units.MIN_LAUNCHES:
        return inconclusive(units.too_few(share.count), estimate)
    if blocks < _MIN_BLOCKS or share.inferences < fewest:
        reason = (
            f"{share.inferences} inferences in {blocks} blocks; at least {fewest} in {_MIN_BLOCKS}"
        )
        return inconclusive(f"{reason} are needed", estimate)
    observed = _Share.of(kept, estimate.value)
    error = max(share.error, observed.error, share.binomial(percent))
    allowed = 1 - percent / 100
    p_pass, p_fail = student(share.value - allowed, error, share.count - 1)
    if share.value == 0 and share.count >= _MIN_SLOWEST:
        p_pass = min(p_pass, _out_of_reach(kept, limit_ms, allowed))
    return decide(p_pass, p_fail, alpha, estimate)


def _out_of_reach(launches: Sequence[Launch], limit_ms: float, allowed: float) -> float:
    """How likely slowest inferences so far below a limit are, if it were reached too often.

    When at most a share of all launches has any inference above the limit, so has at most that
    share of inferences. The slowest of each launch are taken as log-normal: the p-value is that of
    their one-sided tolerance limit (non-central t).
    """
    from scipy.special import nctdtr, ndtri

    slowest = Mean.of([math.log(units.samples_ns(x).max() / _NS_PER_MS) for x in launches])
    if not slowest.error > 0:
        return 1.0
    room = (math.log(limit_ms) - slowest.value) / slowest.error
    offset = -float(ndtri(allowed)) * math.sqrt(slowest.count)
    return 1.0 - float(nctdtr(slowest.count - 1, offset, room))


@guarded
def decide_level(
    launches: Sequence[Launch],
    statistic: str,
    limit: float,
    alpha: float,
    *,
    higher_is_better: bool = False,
) -> Decision:
    """Whether a figure of which each launch has one keeps a limit: Student's t over launches.

    Of means and throughputs the mean is tested; of load and first inference, which vary by factors
    and are shown as medians, the mean of the logarithms.

    Args:
        launches: of one subject.
        statistic: "mean", "throughput", "load", "first_inference", or a percentile.
        limit: ms; of throughput inferences per second.
        alpha: the rate at which each verdict may be wrong at the limit, of this look.
        higher_is_better: of throughput.
    """
    kept = units.counted(launches)
    if not kept:
        return not_measurable("no launch counts")
    figures = [units.figure(launch, statistic) for launch in kept]
    if not (limit > 0 and min(figures) > 0):
        return not_measurable(f"{min(figures)} cannot be held against {limit}")
    linear = statistic in _MEANS
    mean = Mean.of(figures if linear else [math.log(one) for one in figures])
    estimate = mean.estimate() if linear else mean.estimate().exp()
    if mean.count < units.MIN_LAUNCHES:
        return inconclusive(units.too_few(mean.count), estimate)
    if not mean.error > 0:
        return inconclusive("all launches are the same: the clock's resolution is not known")
    below, above = mean.p_values(limit if linear else math.log(limit))
    p_pass, p_fail = (above, below) if higher_is_better else (below, above)
    return decide(p_pass, p_fail, alpha, estimate)


class _Share:
    """The share of latencies above a limit, with its standard error over launches."""

    def __init__(self, above: Sequence[int], inferences: Sequence[int]) -> None:
        self.count = len(above)
        self.inferences = sum(inferences)
        self.value = sum(above) / self.inferences
        self.error = math.nan
        if self.count > 1:
            # Of a ratio of sums (Cochran 1977, section 6.4).
            rest = [x - self.value * n for x, n in zip(above, inferences, strict=True)]
            variance = math.fsum(x * x for x in rest) * self.count / (self.count - 1)
            self.error = math.sqrt(variance) / self.inferences

    @classmethod
    def of(cls, launches: Sequence[Launch], limit_ms: float) -> _Share:
        samples = [units.samples_ns(launch) for launch in launches]
        limit = limit_ms * _NS_PER_MS
        return cls([int((one > limit).sum()) for one in samples], [one.size for one in samples])

    def binomial(self, percent: float) -> float:
        """What the standard error would be at the limit if latencies were independent."""
        return math.sqrt(percent / 100 * (1 - percent / 100) / self.inferences)
