"""Two subjects that were measured in turns: how they differ, and whether by more than a margin."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from edgeopt_host.run import Launch
from edgeopt_host.stats import launches as units
from edgeopt_host.stats.estimate import Estimate, Mean
from edgeopt_host.stats.verdict import (
    Decision,
    Verdict,
    decide,
    guarded,
    inconclusive,
    not_measurable,
)

# What pre-emption cannot reach: it lengthens inferences, rarely more than half of a block.
_LOWER_QUARTILE = 25.0
_MEDIAN = 50.0
# Below this the clock's resolution may be what keeps launches from differing.
_SUSPICIOUSLY_ALIKE = 1e-3

Pair = tuple[Launch, Launch]


def pairs(candidate: Sequence[Launch], baseline: Sequence[Launch]) -> list[Pair]:
    """Launches of the same number that count for both."""
    others = {launch.number: launch for launch in units.counted(baseline)}
    return [
        (mine, others[mine.number]) for mine in units.counted(candidate) if mine.number in others
    ]


def ratio(candidate: Sequence[Launch], baseline: Sequence[Launch], statistic: str) -> Estimate:
    """Candidate over baseline, with its 95 % interval: Student's t over launches' log ratios.

    Args:
        candidate: launches of one subject.
        baseline: of the other, from the same benchmark.
        statistic: "p50", "p90", "p95", "p99", "mean", "throughput", "load", "first_inference".
            p50 is compared by the lower quartiles of blocks that were measured next to each
            other, the others by their value over a launch.

    Raises:
        ValueError: nothing was measured for both.
    """
    return _mean(pairs(candidate, baseline), statistic, _LOWER_QUARTILE).estimate().exp()


@guarded
def decide_ratio(
    candidate: Sequence[Launch],
    baseline: Sequence[Launch],
    statistic: str,
    margin: float,
    alpha: float,
    *,
    higher_is_better: bool = False,
) -> Decision:
    """Whether the candidate is worse than the baseline by more than a margin.

    Args:
        candidate: launches of one subject.
        baseline: of the other, from the same benchmark.
        statistic: as of `ratio`.
        margin: 0.03: a latency may be 1.03 times, a throughput 0.97 times the baseline's.
        alpha: the rate at which each verdict may be wrong at the margin, of this look.
        higher_is_better: of throughput.
    """
    both = pairs(candidate, baseline)
    if not both:
        return not_measurable("no launch counts for both")
    if higher_is_better and margin >= 1:
        return not_measurable(f"a margin of {margin:.0%} leaves nothing to compare")
    limit = math.log1p(-margin if higher_is_better else margin)
    decision = _decide(both, statistic, _LOWER_QUARTILE, limit, alpha, higher_is_better)
    if statistic != "p50" or decision.verdict not in {Verdict.PASS, Verdict.FAIL}:
        return decision
    # The quarter that is quickest may not speak for the half.
    check = _decide(both, statistic, _MEDIAN, limit, alpha, higher_is_better)
    if check.verdict in {decision.verdict, Verdict.INCONCLUSIVE}:
        return decision
    return inconclusive(
        "the lower quartiles of the blocks and their medians contradict each other: look at the "
        "distributions",
        decision.estimate,
    )


def _decide(
    both: Sequence[Pair],
    statistic: str,
    percentile: float,
    limit: float,
    alpha: float,
    higher_is_better: bool,
) -> Decision:
    mean = _mean(both, statistic, percentile)
    estimate = mean.estimate().exp()
    if mean.count < units.MIN_LAUNCHES:
        return inconclusive(units.too_few(mean.count), estimate)
    if not mean.error > 0:
        return inconclusive("all latencies are the same: the clock's resolution is not known")
    fewest = units.fewest(units.PERCENTILES[statistic]) if statistic in units.PERCENTILES else 1
    inferences = min(sum(units.samples_ns(pair[i]).size for pair in both) for i in (0, 1))
    if inferences < fewest:
        return inconclusive(f"{inferences} inferences; {statistic} needs {fewest}", estimate)
    below, above = mean.p_values(limit)
    p_pass, p_fail = (above, below) if higher_is_better else (below, above)
    return decide(p_pass, p_fail, alpha, estimate)


def _mean(both: Sequence[Pair], statistic: str, percentile: float) -> Mean:
    """Of one log ratio per launch."""
    if statistic == "p50":
        values = [_block_ratio(mine, other, percentile) for mine, other in both]
    else:
        values = [
            math.log(units.figure(mine, statistic) / units.figure(other, statistic))
            for mine, other in both
        ]
    mean = Mean.of(values)
    if mean.count == 1 or mean.error * math.sqrt(mean.count) > _SUSPICIOUSLY_ALIKE:
        return mean
    return Mean.of(values, _rounding(both))


def _rounding(both: Sequence[Pair]) -> float:
    """Standard deviation of a log ratio of two figures that a coarse clock has rounded."""
    tick = units.clock_tick_ns([launch for pair in both for launch in pair])
    if tick is None:
        return 0.0
    smallest = min(
        units.duration_ns(block) / block.latency_ns.size
        for pair in both
        for launch in pair
        for block in launch.blocks
    )
    return tick / smallest / math.sqrt(6)


def _block_ratio(mine: Launch, other: Launch, percentile: float) -> float:
    """The median over one launch's pairs of neighbouring blocks, as a logarithm.

    Somebody else's work hits one block of a pair and not the other: replayed, the median varied
    half as much from launch to launch as a mean trimmed by a fifth.
    """
    others = {block.round: block for block in other.blocks}
    logs = [
        math.log(
            units.quantile(block.latency_ns, percentile)
            / units.quantile(others[block.round].latency_ns, percentile)
        )
        for block in mine.blocks
        if block.round in others
    ]
    if not logs:
        raise ValueError(f"launch {mine.number} has no pair of blocks")
    return statistics.median(logs)
