"""Every metric of gates, comparisons and trends: its unit, its direction, and how it is decided."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from edgeopt_host.run import Run
from edgeopt_host.stats import accuracy, paired
from edgeopt_host.stats import launches as units
from edgeopt_host.stats.absolute import decide_level, decide_percentile
from edgeopt_host.stats.estimate import Estimate, Mean
from edgeopt_host.stats.unpaired import decide_means
from edgeopt_host.stats.verdict import (
    Decision,
    Verdict,
    exact,
    guarded,
    inconclusive,
    not_measurable,
)

MB = 2**20
# Memory hardly varies: the largest of three processes is the peak.
_MEMORY_LAUNCHES = 3
# Fewer do not reach it: a detector held 82 MB after one inference and 138 MB after twenty.
_MEMORY_INFERENCES = 20
# As shown of a digest.
_DIGITS = 12


class Kind(Enum):
    """What a metric's decision counts."""

    PERCENTILE = "latencies of all launches"
    LAUNCHES = "one figure per launch"
    MAXIMUM = "the largest over launches"
    EXACT = "one figure that does not vary"
    EXAMPLES = "labelled examples"
    ENERGY = "windows of an energy pass"
    SUSTAINED = "a sustained run"


@dataclass(frozen=True)
class Metric:
    """A figure of a run.

    Args:
        name: docs/reference/metrics.md has them all.
        unit: as shown; empty for a ratio or share.
        higher_is_better: else lower is.
        kind: what its decision counts.
        value: the figure of a run; None: not measured.
        statistic: its name in edgeopt_host.stats.
    """

    name: str
    unit: str
    higher_is_better: bool
    kind: Kind
    value: Callable[[Run], float | None]
    statistic: str = ""

    @property
    def sequential(self) -> bool:
        """Whether more launches tell more, so that looks share the error rate.

        The others are decided once, with the whole error rate.
        """
        return self.kind in {Kind.PERCENTILE, Kind.LAUNCHES}

    def __str__(self) -> str:
        return self.name


def _mb(size: int | None) -> float | None:
    return None if size is None else size / MB


def _accuracy(run: Run) -> float | None:
    if run.correct is not None and run.correct.size:
        return float(run.correct.mean())
    value = (run.accuracy or {}).get("value")
    return None if value is None else float(value)


def _sustained(run: Run) -> float | None:
    value = (run.sustained or {}).get("ratio")
    return None if value is None else float(value)


_ALL = (
    Metric("p50_latency_ms", "ms", False, Kind.PERCENTILE, lambda r: r.latency_ms.p50, "p50"),
    Metric("p90_latency_ms", "ms", False, Kind.PERCENTILE, lambda r: r.latency_ms.p90, "p90"),
    Metric("p95_latency_ms", "ms", False, Kind.PERCENTILE, lambda r: r.latency_ms.p95, "p95"),
    Metric("p99_latency_ms", "ms", False, Kind.PERCENTILE, lambda r: r.latency_ms.p99, "p99"),
    Metric("mean_latency_ms", "ms", False, Kind.LAUNCHES, lambda r: r.latency_ms.mean, "mean"),
    Metric("load_ms", "ms", False, Kind.LAUNCHES, lambda r: r.load_ms, "load"),
    Metric(
        "first_inference_ms",
        "ms",
        False,
        Kind.LAUNCHES,
        lambda r: r.first_inference_ms,
        "first_inference",
    ),
    Metric(
        "throughput_per_s",
        "samples/s",
        True,
        Kind.LAUNCHES,
        lambda r: r.throughput_per_s,
        "throughput",
    ),
    Metric(
        "peak_memory_mb",
        "MB",
        False,
        Kind.MAXIMUM,
        lambda r: _mb(r.memory.peak_rss_bytes),
        "peak_rss_bytes",
    ),
    Metric(
        "model_memory_mb",
        "MB",
        False,
        Kind.MAXIMUM,
        lambda r: _mb(r.memory.model_rss_bytes),
        "model_rss_bytes",
    ),
    Metric("size_mb", "MB", False, Kind.EXACT, lambda r: _mb(r.model.size_bytes)),
    Metric(
        "energy_per_inference_mj", "mJ", False, Kind.ENERGY, lambda r: r.energy.per_inference_mj
    ),
    Metric("accuracy", "", True, Kind.EXAMPLES, _accuracy),
    Metric("delegated_share", "", True, Kind.EXACT, lambda r: r.runtime.delegated_share),
    Metric("sustained_ratio", "", False, Kind.SUSTAINED, _sustained),
)
METRICS = {metric.name: metric for metric in _ALL}


@guarded
def decide_absolute(metric: str, run: Run, limit: float, alpha: float) -> Decision:
    """Whether a run keeps a limit: at most it, or at least it where higher is better.

    Args:
        metric: one of `METRICS`.
        run: with its launches.
        limit: in the metric's unit.
        alpha: the rate at which each verdict may be wrong at the limit; of this look, where the
            metric is `sequential`.
    """
    of = METRICS[metric]
    missing = _missing(of, run)
    if missing:
        return not_measurable(missing)
    if of.kind is Kind.PERCENTILE:
        return decide_percentile(run.launches, units.PERCENTILES[of.statistic], limit, alpha)
    if of.kind is Kind.LAUNCHES:
        scale = _scale(of, run)
        decision = decide_level(
            run.launches,
            of.statistic,
            limit / scale,
            alpha,
            higher_is_better=of.higher_is_better,
        )
        estimate = decision.estimate and decision.estimate.times(scale)
        return dataclasses.replace(decision, estimate=estimate)
    if of.kind is Kind.EXAMPLES:
        return accuracy.decide_accuracy(_correct(run), limit, alpha)
    if of.kind is Kind.ENERGY:
        from edgeopt_host.stats import energy

        return energy.decide_energy(run, limit, alpha)
    if of.kind is Kind.SUSTAINED:
        from edgeopt_host.stats import sustained

        return sustained.decide_sustained(run, limit, alpha)
    if of.kind is Kind.MAXIMUM:
        sizes = _memory(of, run)
        return _decide_extremes(Estimate(max(sizes), min(sizes), max(sizes)), limit, _used(run))
    value = _known(of, run)
    return exact(value, kept=value >= limit if of.higher_is_better else value <= limit)


@guarded
def decide_relative(
    metric: str, candidate: Run, baseline: Run, margin: float, alpha: float
) -> Decision:
    """Whether a candidate is worse than a baseline of the same benchmark by more than a margin.

    Args:
        metric: one of `METRICS`.
        candidate: with its launches.
        baseline: measured in turns with the candidate, with its launches.
        margin: 0.03 for "3%"; of accuracy in percentage points, 0.5 for "0.5pt".
        alpha: as of `decide_absolute`.
    """
    of = METRICS[metric]
    missing = _missing(of, candidate) or _missing(of, baseline, "the baseline: ")
    if missing:
        return not_measurable(missing)
    if not of.sequential:
        return _decide_unsequential(of, candidate, baseline, margin, alpha)
    one, other = candidate.paired, baseline.paired
    if one is None or other is None or one.benchmark != other.benchmark:
        return not_measurable("the two were not measured in turns, in one benchmark")
    return paired.decide_ratio(
        candidate.launches,
        baseline.launches,
        of.statistic,
        margin,
        alpha,
        higher_is_better=of.higher_is_better,
    )


@guarded
def decide_versus_stored(
    metric: str, candidate: Run, stored: Run, margin: float, alpha: float
) -> Decision:
    """Whether a candidate is worse by more than a margin than a run of another time.

    Welch's t over the logarithms of the launches' figures: what differs from launch to launch
    counts in full. What differs between the two times (another kernel, a warmer room) cannot be
    told from what the candidate changed; measuring both in turns can.
    """
    of = METRICS[metric]
    missing = _missing(of, candidate) or _missing(of, stored, "the baseline: ")
    if missing:
        return not_measurable(missing)
    if not of.sequential:
        return _decide_unsequential(of, candidate, stored, margin, alpha)
    mine, theirs = (
        Mean.of([math.log(units.figure(x, of.statistic)) for x in units.counted(run.launches)])
        for run in (candidate, stored)
    )
    fewest = min(mine.count, theirs.count)
    if fewest < units.MIN_LAUNCHES:
        return inconclusive(
            f"{fewest} launches count; a decision needs at least {units.MIN_LAUNCHES} of each run"
        )
    return decide_means(mine, theirs, margin, alpha, higher_is_better=of.higher_is_better)


def _decide_unsequential(
    of: Metric, candidate: Run, baseline: Run, margin: float, alpha: float
) -> Decision:
    if of.kind is Kind.EXAMPLES:
        return _decide_examples(candidate, baseline, margin, alpha)
    if of.kind is Kind.ENERGY:
        from edgeopt_host.stats import energy

        return energy.decide_energy_ratio(candidate, baseline, margin, alpha)
    if of.kind is Kind.SUSTAINED:
        from edgeopt_host.stats import sustained

        return sustained.decide_sustained_ratio(candidate, baseline, margin, alpha)
    if of.kind is Kind.MAXIMUM:
        mine, theirs = _memory(of, candidate), _memory(of, baseline)
        ratio = Estimate(max(mine) / max(theirs), min(mine) / max(theirs), max(mine) / min(theirs))
        used = min(_used(candidate), _used(baseline))
        decision = _decide_extremes(ratio, 1 + margin, used)
        # A baseline that has not reached its peak makes any candidate look large.
        short = decision.verdict is Verdict.FAIL and used < _MEMORY_LAUNCHES
        return inconclusive(_no_peak(used), ratio) if short else decision
    return _decide_exact(of, _known(of, candidate), _known(of, baseline), margin)


def _decide_examples(candidate: Run, baseline: Run, margin_pt: float, alpha: float) -> Decision:
    mine, theirs = (
        str((run.accuracy or {}).get("data_sha256", "unknown")) for run in (candidate, baseline)
    )
    if mine != theirs:
        return not_measurable(
            f"the candidate was evaluated on the data {mine[:_DIGITS]}, the baseline on "
            f"{theirs[:_DIGITS]}"
        )
    right = _correct(candidate), _correct(baseline)
    if right[0].shape != right[1].shape:
        return not_measurable("the two were not evaluated on the same examples")
    return accuracy.decide_accuracy_drop(*right, margin_pt, alpha)


def _decide_exact(of: Metric, value: float, base: float, margin: float) -> Decision:
    allowed = base * (1 - margin if of.higher_is_better else 1 + margin)
    kept = value >= allowed if of.higher_is_better else value <= allowed
    verdict = Verdict.PASS if kept else Verdict.FAIL
    if base == 0 and value != 0:
        return Decision(verdict, None, f"the baseline's {of.name} is 0: there is no ratio to it")
    return Decision(verdict, Estimate.exact(value / base if base else 1.0))


def _missing(of: Metric, run: Run, whose: str = "") -> str:
    """Why a run has no such figure, in words; empty when it has one."""
    if run.error is not None:
        return f"{whose}{run.error.message}"
    if of.sequential and not units.counted(run.launches):
        tainted = {launch.tainted for launch in run.launches if launch.tainted}
        return f"{whose}no launch counts: {', '.join(sorted(tainted)) or 'there is none'}"
    if of.kind is Kind.ENERGY and run.energy.status != "measured":
        return f"{whose}{run.energy.reason or 'energy was not asked for'}"
    if of.kind is Kind.EXAMPLES and run.correct is None:
        return f"{whose}no labelled data was given, see --data"
    if of.kind is Kind.SUSTAINED and run.sustained is None:
        return f"{whose}no sustained run was made, see --sustained"
    if of.kind is Kind.MAXIMUM and not _memory(of, run):
        return f"{whose}this device does not tell memory"
    if of.kind is Kind.EXACT and of.value(run) is None:
        return f"{whose}the runtime does not tell {of.name}"
    return ""


def _known(of: Metric, run: Run) -> float:
    value = of.value(run)
    if value is None:
        raise ValueError(f"the run has no {of.name}")
    return value


def _correct(run: Run) -> accuracy.Bools:
    if run.correct is None:
        raise ValueError("the run was not evaluated on examples")
    return run.correct


def _scale(of: Metric, run: Run) -> float:
    """An inference of a batch finishes as many samples."""
    return float(run.shape.batch) if of.statistic == "throughput" else 1.0


def _memory(of: Metric, run: Run) -> list[float]:
    """Of each launch, in MB. Heat does not change it: tainted launches count."""
    sizes = [getattr(launch, of.statistic) for launch in run.launches]
    return [size / MB for size in sizes if size is not None]


def _used(run: Run) -> int:
    """Launches with inferences enough to have reached their peak."""
    counts = [
        launch.warmup_inferences + sum(block.latency_ns.size for block in launch.blocks)
        for launch in run.launches
    ]
    return sum(count >= _MEMORY_INFERENCES for count in counts)


def _decide_extremes(extremes: Estimate, limit: float, count: int) -> Decision:
    """PASS when even the largest is within the limit, FAIL when even the smallest is beyond.

    More launches can take a verdict back and never turn it around.
    """
    if extremes.low > limit:
        return Decision(Verdict.FAIL, extremes)
    if extremes.high > limit:
        return inconclusive("some launches are within the limit and some beyond", extremes)
    if count < _MEMORY_LAUNCHES:
        return inconclusive(_no_peak(count), extremes)
    return Decision(Verdict.PASS, extremes)


def _no_peak(count: int) -> str:
    return (
        f"{count} launches of at least {_MEMORY_INFERENCES} inferences; the peak is the largest of "
        f"{_MEMORY_LAUNCHES}"
    )
