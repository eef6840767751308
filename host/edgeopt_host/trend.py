"""The history of a model's figure: comparable runs in the order of time, and where it changed.

A name stands for a model in all its builds, so that a trend shows what building it anew did.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from edgeopt_host.errors import UsageError
from edgeopt_host.fingerprint import TEMPERATURE_BAND, Fingerprint
from edgeopt_host.metrics import METRICS, Metric
from edgeopt_host.run import Run
from edgeopt_host.stats import changes
from edgeopt_host.stats.changes import FEWEST_RUNS, Change
from edgeopt_host.store import RunStore
from edgeopt_host.validity import is_invalid

# Of each series; older runs are counted and left out.
MOST_RUNS = 200
_NAMED = 5


@dataclass(frozen=True)
class Point:
    """One run's figure, in the metric's unit, and its 95 % interval where the run has one."""

    run: Run
    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class LeftOut:
    """A run that is in no series, and why."""

    run: Run
    reason: str


@dataclass(frozen=True)
class Series:
    """Comparable runs of one device, the oldest first.

    Args:
        device: its name.
        fingerprint: what they have in common.
        points: the newest `MOST_RUNS` of them.
        changes: of the points; indices are of this list.
        since: what differs from this device's series that began before it, short.
        level_ratio: its median over the median of the series before; None: there is none.
        older: how many runs came before the points.
    """

    device: str
    fingerprint: Fingerprint
    points: list[Point]
    changes: list[Change]
    since: list[str] = field(default_factory=list)
    level_ratio: float | None = None
    older: int = 0

    def began_within(self, other: Series) -> bool:
        """Whether the other series went on after this one began."""
        return _time(other.points[-1].run) > _time(self.points[0].run)

    @property
    def missing(self) -> int:
        """So many more runs are needed before a change can be told from noise."""
        return max(0, FEWEST_RUNS - len(self.points))

    def same_build(self, change: Change) -> bool:
        """Whether the runs on both sides of a change are of the same file; of a drift, all."""
        first = change.start if change.drift else max(change.start - 1, 0)
        last = change.stop if change.drift else change.start + 1
        return len({p.run.model.sha256 for p in self.points[first:last]}) == 1


@dataclass(frozen=True)
class Trend:
    """The history of a model's figure, series by series."""

    model: str
    metric: Metric
    series: list[Series]
    left_out: list[LeftOut]


def trend(
    store: RunStore,
    model: str,
    *,
    devices: Collection[str] = (),
    metric: str = "p50_latency_ms",
    since: datetime | None = None,
) -> Trend:
    """The history of a model on devices.

    Args:
        store: where the runs are.
        model: its name, or the beginning of its sha256 (8 digits or more).
        devices: their names; none: every device that has runs of it.
        metric: one of `METRICS`.
        since: only runs that began then or later.

    Raises:
        UsageError: when there is no such metric, or no run of the model; names candidates.
    """
    if metric not in METRICS:
        raise UsageError(f"there is no metric {metric!r}: there are {', '.join(METRICS)}")
    of = METRICS[metric]
    runs = _runs(store, model, devices, since)
    left_out: list[LeftOut] = []
    series: list[Series] = []
    for device in dict.fromkeys(run.device.name for run in runs):
        mine = [run for run in runs if run.device.name == device]
        points = list(_points(mine, of, left_out))
        series += _series(device, points, left_out)
    return Trend(model, of, series, left_out)


def _runs(
    store: RunStore, model: str, devices: Collection[str], since: datetime | None
) -> list[Run]:
    """By device in the order given, then by time, the oldest first; none may be new enough."""
    found: list[Run] = []
    for device in dict.fromkeys(devices) or [None]:
        found += reversed(store.list(device=device, model=model, limit=None))
    if not found:
        raise UsageError(_none(store, model, devices))
    if since is not None:
        found = [run for run in found if _time(run) >= since]
    return found


def _none(store: RunStore, model: str, devices: Collection[str]) -> str:
    where = f" on {', '.join(devices)}" if devices else ""
    known = dict.fromkeys(run.device.name for run in store.list(model=model, limit=None))
    if known:
        return f"no run of {model!r}{where}: there are some on {', '.join(known)}"
    models = list(dict.fromkeys(run.model.name for run in store.list(limit=200)))
    some = f"; the newest are of {', '.join(models[:_NAMED])}" if models else ""
    return f"no run of a model {model!r} is stored{some}"


def _points(runs: Sequence[Run], metric: Metric, left_out: list[LeftOut]) -> Iterator[Point]:
    for run in runs:
        value = None if run.error else metric.value(run)
        reason = _unfit(run, metric, value)
        if reason is None and value is not None:
            yield Point(run, value, _interval(run, metric.name))
        elif reason is not None:
            left_out.append(LeftOut(run, reason))


def _unfit(run: Run, metric: Metric, value: float | None) -> str | None:
    if run.error is not None:
        return f"it failed ({run.error.reason})"
    if invalid := is_invalid(run):
        return invalid
    return f"it has no {metric.name}" if value is None else None


def _series(device: str, points: Sequence[Point], left_out: list[LeftOut]) -> list[Series]:
    """One series per fingerprint, in the order in which they began."""
    by_key: dict[tuple[tuple[str, str], ...], list[Point]] = {}
    for point in points:
        by_key.setdefault(Fingerprint.of(point.run).key, []).append(point)
    found: list[Series] = []
    for group in sorted(by_key.values(), key=lambda group: _time(group[0].run)):
        alike = _equally_warm(group, left_out)
        newest = alike[-MOST_RUNS:]
        values = [point.value for point in newest]
        fingerprint = Fingerprint.of(newest[-1].run)
        before = found[-1] if found else None
        found.append(
            Series(
                device=device,
                fingerprint=fingerprint,
                points=newest,
                changes=changes.find(values),
                since=before.fingerprint.changes(fingerprint) if before else [],
                level_ratio=_level_ratio(before, values),
                older=len(alike) - len(newest),
            )
        )
    return found


def _equally_warm(points: Sequence[Point], left_out: list[LeftOut]) -> list[Point]:
    """Those that began about as warm as most; without a sensor all."""
    starts = {id(p): p.run.state.temperature_c.start for p in points}
    told = [start for start in starts.values() if start is not None]
    if not told:
        return list(points)
    usual = statistics.median_low(told)
    kept = []
    for point in points:
        start = starts[id(point)]
        if start is not None and abs(start - usual) > TEMPERATURE_BAND:
            reason = f"it began at {start:.0f} °C, most others at about {usual:.0f} °C"
            left_out.append(LeftOut(point.run, reason))
        else:
            kept.append(point)
    return kept


def _level_ratio(before: Series | None, values: Sequence[float]) -> float | None:
    if before is None:
        return None
    level = statistics.median(point.value for point in before.points)
    return statistics.median(values) / level if level else None


def _interval(run: Run, metric: str) -> tuple[float, float] | None:
    ends = {
        "p50_latency_ms": run.latency_ms.p50_ci95,
        "throughput_per_s": run.throughput_ci95,
        "energy_per_inference_mj": run.energy.ci95,
        "sustained_ratio": (run.sustained or {}).get("ci95"),
    }.get(metric)
    return (float(ends[0]), float(ends[1])) if ends else None


def _time(run: Run) -> datetime:
    # Python 3.10 does not read the Z.
    time = datetime.fromisoformat(run.time.replace("Z", "+00:00"))
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)
