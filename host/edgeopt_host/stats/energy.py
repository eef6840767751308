"""Energy per inference: the integral over windows of work, less what the idle device draws.

Each window has its own idle: the nearest third of the idle times before and after it, joined by a
straight line. No reading serves two windows, so their results are independent, and Student's t over
them is a fair interval. Which other ways were tried: docs/adr/0023.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from edgeopt_host.run import Energy, Run
from edgeopt_host.stats.estimate import Estimate, Mean, student
from edgeopt_host.stats.power import Integral, Unmeasurable
from edgeopt_host.stats.verdict import (
    Decision,
    Verdict,
    decide,
    guarded,
    inconclusive,
    not_measurable,
)

_NS = 1e9
# An interval takes two windows, and one that is of use takes five.
_LEAST_WINDOWS = 2
# Of a sensor, within a window, and within the idle time on each side of it.
_LEAST_VALUES = 10
_LEAST_IDLE_VALUES = 3
# Of the samples in a window. Of idle time a part speaks for the whole.
_MOST_LOST = 0.2
_MOST_IDLE_LOST = 0.5
# Clocks and fans take a moment to calm down.
_CALM_S = 1.0
# A gauge of about 1 Hz that tells the power of a moment misses so much between two readings that
# nothing below this is decided by it: docs/concepts/energy.md.
_COARSE_HZ = 2.0
_COARSE_ERROR = 0.05
_ALIKE = "all windows are the same: the sensor's resolution is not known"
_MORE = "the interval holds the limit: more or longer windows would tell"


@dataclass(frozen=True)
class Figures:
    """Per inference, over all windows.

    Args:
        net_mj: without what the idle device draws; with its 95 % interval.
        total_mj: with it.
        idle_mw: that.
        rate_hz: new values per second of the slowest channel.
        window_s: of the shortest window.
    """

    net_mj: Estimate
    total_mj: float
    idle_mw: float
    rate_hz: float
    window_s: float


def figures(channels: Sequence[Integral], windows: Sequence[Sequence[int]]) -> Figures:
    """Energy per inference of the channels' sum.

    Args:
        channels: that add up to what the device draws.
        windows: [start, end, inferences] of each, in order; between them the device was idle.

    Raises:
        Unmeasurable: too little is known, with the reason.
    """
    if len(windows) < _LEAST_WINDOWS:
        raise Unmeasurable(f"{len(windows)} windows: an interval takes at least {_LEAST_WINDOWS}")
    if any(inferences < 1 for _, _, inferences in windows):
        raise Unmeasurable("a window without an inference")
    reach_ns = min(after[0] - before[1] for before, after in pairwise(windows)) / 3
    # A value may be an interval old, and be the mean of another one.
    interval_ns = max(
        min(channel.held_ns for channel in channels), *(channel.read_ns for channel in channels)
    )
    margin_ns = 2 * interval_ns
    calm_ns = max(margin_ns, min(_CALM_S * _NS, reach_ns / 4))
    net, total, idle = [], [], []
    for start, end, inferences in windows:
        _check_work(channels, start, end)
        before = (start - reach_ns, start - margin_ns)
        after = (end + calm_ns, end + reach_ns)
        for period in (before, after):
            _check_idle(channels, *period)
        # A straight line between the middles of the two, in the middle of the window.
        share = ((start + end) / 2 - sum(before) / 2) / (sum(after) / 2 - sum(before) / 2)
        base_mw = (1 - share) * _mean_mw(channels, before) + share * _mean_mw(channels, after)
        whole_mj = sum(channel.over(start - margin_ns, end + margin_ns) for channel in channels)
        net_mj = whole_mj - base_mw * (end - start + 2 * margin_ns) / _NS
        net.append(net_mj / inferences)
        total.append((net_mj + base_mw * (end - start) / _NS) / inferences)
        idle.append(base_mw)
    return Figures(
        net_mj=Mean.of(net).estimate(),
        total_mj=float(np.mean(total)),
        idle_mw=float(np.mean(idle)),
        rate_hz=_NS / interval_ns,
        window_s=min(end - start for start, end, _ in windows) / _NS,
    )


@guarded
def decide_energy(run: Run, limit: float, alpha: float) -> Decision:
    """Whether the net energy per inference keeps a limit, by one-sided t-tests over windows.

    The sensor's gain error is no matter of chance: a limit that lies within it is inconclusive.

    Args:
        run: with its energy.
        limit: mJ.
        alpha: the rate at which each verdict may be wrong at the limit.
    """
    energy = run.energy
    if missing := _missing(energy):
        return not_measurable(missing)
    if energy.gain_error is None:
        return not_measurable(
            f"the systematic error of {energy.source} is not known, so it can tell differences but "
            "decide no limit; use max_regression, or an external meter"
        )
    mean, coarse = _mean(energy), _coarse(energy)
    if not mean.error > 0:
        return inconclusive(_ALIKE)
    slack = energy.gain_error + (_COARSE_ERROR if coarse else 0.0)
    estimate = mean.estimate()
    p_pass, _ = student(mean.value - limit * (1 - slack), mean.error, mean.count - 1)
    _, p_fail = student(mean.value - limit * (1 + slack), mean.error, mean.count - 1)
    decision = decide(p_pass, p_fail, alpha, estimate)
    if decision.verdict is Verdict.INCONCLUSIVE and not estimate.low <= limit <= estimate.high:
        why = f"gain error of {energy.gain_error:.1%}"
        if coarse:
            why += f" and the {_COARSE_ERROR:.0%} that {_gauge(energy)} may miss"
        return replace(decision, reason=f"the limit is within the sensor's {why}")
    if decision.verdict is Verdict.INCONCLUSIVE:
        return replace(decision, reason=_MORE)
    return decision


def energy_ratio(candidate: Run, baseline: Run) -> Estimate:
    """Net energy per inference, candidate over baseline, with its 95 % interval.

    Welch's t over the windows' means, on logarithms; a gain error cancels.

    Raises:
        ValueError: one of them has none, or another source.
    """
    if missing := _incomparable(candidate.energy, baseline.energy):
        raise ValueError(missing)
    value, error, freedom = _log_ratio(candidate.energy, baseline.energy)
    from scipy.special import stdtrit

    half = float(stdtrit(freedom, 0.975)) * error
    return Estimate(value, value - half, value + half).exp()


@guarded
def decide_energy_ratio(candidate: Run, baseline: Run, margin: float, alpha: float) -> Decision:
    """Whether the candidate takes more energy than the baseline by more than a margin.

    Args:
        candidate: with its energy.
        baseline: with its own, of the same device and source.
        margin: 0.05 for 5 %.
        alpha: the rate at which each verdict may be wrong at the margin.
    """
    if missing := _incomparable(candidate.energy, baseline.energy):
        return not_measurable(missing)
    value, error, freedom = _log_ratio(candidate.energy, baseline.energy)
    if not error > 0:
        return inconclusive(_ALIKE)
    estimate = energy_ratio(candidate, baseline)
    p_pass, p_fail = student(value - math.log1p(margin), error, freedom)
    decision = decide(p_pass, p_fail, alpha, estimate)
    if decision.verdict is Verdict.PASS and margin < _COARSE_ERROR and _coarse(candidate.energy):
        return inconclusive(
            f"{_gauge(candidate.energy)} cannot tell less than {_COARSE_ERROR:.0%}: no margin below "
            "it is passed",
            estimate,
        )
    if decision.verdict is Verdict.INCONCLUSIVE:
        return replace(decision, reason=_MORE)
    return decision


def _check_work(channels: Sequence[Integral], start_ns: int, end_ns: int) -> None:
    seconds = (end_ns - start_ns) / _NS
    _check_lost(channels, start_ns, end_ns, _MOST_LOST)
    parts = [(channel, channel.between(start_ns, end_ns)) for channel in channels]
    names = " + ".join(channel.name for channel in channels)
    samples = min(part.stop - part.start for _, part in parts)
    if samples < _LEAST_VALUES:
        raise Unmeasurable(
            f"{names}: {samples} samples in a window of {seconds:.0f} s; {_LEAST_VALUES} are needed, "
            "use longer windows"
        )
    # Of several rails some may stand still, and work moves one of them at least.
    news = max(int(channel.new[part].sum()) for channel, part in parts)
    if news < _LEAST_VALUES:
        raise Unmeasurable(
            f"{names}: the sensor repeats its values: {news} new ones in a window of {seconds:.0f} s; "
            f"{_LEAST_VALUES} are needed, use longer windows"
        )


def _check_idle(channels: Sequence[Integral], start_ns: float, end_ns: float) -> None:
    for channel in channels:
        part = channel.between(start_ns, end_ns)
        if end_ns <= start_ns or part.stop - part.start < _LEAST_IDLE_VALUES:
            raise Unmeasurable(
                f"{channel.name}: fewer than {_LEAST_IDLE_VALUES} samples beside a window while the "
                "device was idle; use longer idle times"
            )
    _check_lost(channels, start_ns, end_ns, _MOST_IDLE_LOST)


def _check_lost(channels: Sequence[Integral], start_ns: float, end_ns: float, most: float) -> None:
    for channel in channels:
        lost = channel.lost(start_ns, end_ns)
        if lost > most:
            where = f"{(end_ns - start_ns) / _NS:.0f} s"
            raise Unmeasurable(
                f"{channel.name}: {lost:.0%} of the samples of {where} are missing; {most:.0%} may be"
            )


def _mean_mw(channels: Sequence[Integral], period: tuple[float, float]) -> float:
    return sum(channel.mean_mw(*period) for channel in channels)


def _missing(energy: Energy) -> str:
    """Why there is no energy; empty when there is."""
    if energy.status != "measured" or energy.per_inference_mj is None or not energy.ci95:
        return energy.reason or "energy was not asked for"
    return ""


def _incomparable(candidate: Energy, baseline: Energy) -> str:
    missing = _missing(candidate)
    if not missing and _missing(baseline):
        missing = f"the baseline: {_missing(baseline)}"
    if not missing and candidate.source != baseline.source:
        return f"one was measured from {candidate.source}, the other from {baseline.source}"
    return missing


def _mean(energy: Energy) -> Mean:
    """The windows' mean, back from its interval."""
    from scipy.special import stdtrit

    low, high = energy.ci95 or (math.nan, math.nan)
    count = energy.windows or 0
    half = (high - low) / 2
    return Mean(energy.per_inference_mj or math.nan, half / float(stdtrit(count - 1, 0.975)), count)


def _log_ratio(candidate: Energy, baseline: Energy) -> tuple[float, float, float]:
    """The logarithm of the ratio, its standard error, and Welch's degrees of freedom."""
    means = [_mean(candidate), _mean(baseline)]
    parts = [(mean.error / mean.value) ** 2 for mean in means]
    spread = sum(part**2 / (mean.count - 1) for part, mean in zip(parts, means, strict=True))
    freedom = sum(parts) ** 2 / spread if spread > 0 else math.inf
    return math.log(means[0].value / means[1].value), math.sqrt(sum(parts)), freedom


def _coarse(energy: Energy) -> bool:
    return not energy.averaged and (energy.rate_hz or 0.0) <= _COARSE_HZ


def _gauge(energy: Energy) -> str:
    return f"a gauge that tells the power of a moment {energy.rate_hz or 0.0:.2g} times a second"
