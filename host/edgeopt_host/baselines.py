"""Named baselines: runs that others are compared with, one per name and device.

A name moves by `set_` alone. Gates read it and never write it, so that one lucky run does not become
what all later ones are held against.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from edgeopt_host.errors import UsageError
from edgeopt_host.fingerprint import Fingerprint
from edgeopt_host.metrics import METRICS, Kind
from edgeopt_host.report import _units
from edgeopt_host.run import Run
from edgeopt_host.stats import launches
from edgeopt_host.stats.estimate import Mean
from edgeopt_host.stats.launches import counted
from edgeopt_host.store import Baseline, RunStore
from edgeopt_host.validity import is_invalid

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# One launch cannot tell how much the next would differ.
_FEWEST_LAUNCHES = 2
# What a replacement is described by.
_TOLD = ("p50_latency_ms", "p95_latency_ms", "throughput_per_s", "peak_memory_mb", "size_mb")

_Ends = tuple[float, float]


@dataclass(frozen=True)
class Replacement:
    """A name that now stands for a run.

    Args:
        baseline: as it is kept.
        run: what it stands for now.
        old: what it stood for before on this device; None: nothing, or the same run.
        differences: sentences on what the new run differs in from the old.
        warnings: sentences on why it may be a mistake.
    """

    baseline: Baseline
    run: Run
    old: Run | None = None
    differences: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def set_(
    store: RunStore, name: str, run: str, *, note: str | None = None, replace: bool = False
) -> Replacement:
    """Lets a name stand for a run, on the device that it was measured on.

    Args:
        store: where the run is.
        name: letters, digits and `._-`.
        run: its id, or the id's beginning.
        note: kept beside it; None: the one that this run has under this name, if any.
        replace: whether the name may stand for another run of this device so far.

    Raises:
        UsageError: when the name is none, the run is unknown or can be no baseline, or the name
            stands for another one.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name of a baseline: write letters, digits and ._- , at most 64"
        )
    new = store.get(run, samples=True)
    if reason := unfit(new):
        raise UsageError(f"run {new.id} can be no baseline: {reason}")
    before = store.baselines(name, new.device.name)
    old = next((store.get(b.run_id) for b in before if b.run_id != new.id), None)
    if old is not None and not replace:
        raise UsageError(
            f"the baseline {name!r} of {new.device.name} is run {old.id} of {old.model.name} "
            f"({old.time[:10]}): --replace puts run {new.id} in its place"
        )
    if note is None:
        note = next((b.note for b in before if b.run_id == new.id), "")
    baseline = store.set_baseline(name, new, note)
    if old is None:
        return Replacement(baseline, new)
    return Replacement(baseline, new, old, list(_differences(old, new)), list(_doubts(old, new)))


def unfit(run: Run) -> str | None:
    """Why nothing can be compared with a run; None: it can.

    Args:
        run: with its launches.
    """
    if run.error is not None:
        return f"it failed ({run.error.reason})"
    counting = counted(run.launches)
    if run.launches and not counting:
        reasons = sorted({launch.tainted for launch in run.launches if launch.tainted})
        return f"none of its launches counts ({'; '.join(reasons) or 'they have no samples'})"
    if invalid := is_invalid(run):
        return invalid
    if len(counting) < _FEWEST_LAUNCHES:
        return (
            "only one launch of it counts, which tells nothing about how much the next would differ; "
            "measure it without --quick, or with --launches 3"
        )
    return None


def resolve(store: RunStore, text: str, device: str) -> Run:
    """The run that a baseline's name or a run's id stands for on a device, with its launches.

    Raises:
        UsageError: when it is neither, or of another device, or failed; names candidates.
    """
    named = store.baselines(text)
    if named:
        here = next((b for b in named if b.device == device), None)
        if here is None:
            others = ", ".join(f"{b.device} (run {b.run_id})" for b in named)
            raise UsageError(
                f"the baseline {text!r} has no run on {device}, only on {others}: "
                f"edgeopt-host baseline set {text} RUN, with a run of {device}"
            )
        return store.get(here.run_id, samples=True)
    try:
        run = store.get(text, samples=True)
    except UsageError as error:
        names = sorted({b.name for b in store.baselines()})
        near = difflib.get_close_matches(text, names, n=3) or names[:5]
        known = f"; baselines: {', '.join(near)}" if near else ""
        raise UsageError(f"{text!r} is no baseline, and {error.message}{known}") from None
    if run.device.name != device:
        raise UsageError(f"run {run.id} was measured on {run.device.name}, not on {device}")
    if run.error is not None:
        raise UsageError(f"run {run.id} failed ({run.error.reason}): name one that went well")
    return run


def find(store: RunStore, name: str, device: str | None = None) -> list[Baseline]:
    """What a name stands for, by device.

    Raises:
        UsageError: when it stands for nothing, or nothing on this device; names candidates.
    """
    found = store.baselines(name, device)
    if found:
        return found
    elsewhere = [b.device for b in store.baselines(name)]
    if elsewhere:
        raise UsageError(
            f"the baseline {name!r} has no run on {device}, only on {', '.join(elsewhere)}"
        )
    names = sorted({b.name for b in store.baselines()})
    near = difflib.get_close_matches(name, names, n=3)
    hint = f"did you mean {' or '.join(near)}" if near else "edgeopt-host baseline list shows them"
    raise UsageError(f"there is no baseline {name!r}: {hint}")


def _differences(old: Run, new: Run) -> Iterator[str]:
    for name, metric in METRICS.items():
        before, now = metric.value(old), metric.value(new)
        if before is None or now is None or before == now:
            continue
        ends = _interval(old, name), _interval(new, name)
        beyond = _beyond(*ends)
        # The rest only where it is beyond what a single run leaves open.
        if name not in _TOLD and not beyond:
            continue
        change = f"{_units.change(now / before)}" if before > 0 else ""
        within = "within the intervals" if beyond is False else ""
        aside = ", ".join(part for part in (change, within) if part)
        figures = f"{_units.figure(before, metric.unit)} → {_units.figure(now, metric.unit)}"
        yield f"{name} {figures}" + (f" ({aside})" if aside else "")
    if old.model.sha256 != new.model.sha256:
        yield f"model {old.model.name} {old.model.sha256[:8]} → {new.model.name} {new.model.sha256[:8]}"


def _doubts(old: Run, new: Run) -> Iterator[str]:
    if apart := Fingerprint.of(old).differences(Fingerprint.of(new)):
        yield f"the two are not comparable: {'; '.join(apart)}"
    ends = old.latency_ms.p50_ci95, new.latency_ms.p50_ci95
    same = old.model.sha256 == new.model.sha256 and not apart
    if same and ends[0] and ends[1] and ends[1][1] < ends[0][0]:
        yield (
            "the same model on the same device was slower before, beyond both intervals: if this run was "
            "a lucky one, later ones will fail against it; measure it again before you rely on it"
        )


def _beyond(one: _Ends | None, other: _Ends | None) -> bool | None:
    """Whether two intervals have nothing in common; None: one is not known."""
    if one is None or other is None:
        return None
    return one[1] < other[0] or other[1] < one[0]


def _interval(run: Run, metric: str) -> _Ends | None:
    """The 95 % interval of a figure, in the metric's unit."""
    known = {
        "p50_latency_ms": run.latency_ms.p50_ci95,
        "throughput_per_s": run.throughput_ci95,
        "energy_per_inference_mj": run.energy.ci95,
        "accuracy": (run.accuracy or {}).get("ci95"),
        "sustained_ratio": (run.sustained or {}).get("ci95"),
    }.get(metric)
    if known:
        return float(known[0]), float(known[1])
    if METRICS[metric].kind is not Kind.LAUNCHES or len(counting := counted(run.launches)) < 2:  # noqa: PLR2004 - one tells no interval
        return None
    level = Mean.of([launches.figure(one, METRICS[metric].statistic) for one in counting])
    estimate = level.estimate()
    return (estimate.low, estimate.high) if estimate.bounded else None
