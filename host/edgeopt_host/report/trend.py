"""The history of a model's figure, for people and programs."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from edgeopt_host._text import plain
from edgeopt_host.metrics import Metric
from edgeopt_host.report import _cells, _units
from edgeopt_host.report._console import Cell, fitting, is_terminal, section, table, to_text
from edgeopt_host.stats.changes import FEWEST_RUNS, Change
from edgeopt_host.trend import Point, Series, Trend

SCHEMA = "edgeopt.trend/1"
_BARS = "▁▂▃▄▅▆▇█"
# Runs side by side in the plot, and lines of the table.
_WIDTH = 60
_LINES = 30


def render_json(trend: Trend) -> str:
    """The document `edgeopt.trend/1`."""
    metric = trend.metric
    document = {
        "schema": SCHEMA,
        "model": trend.model,
        "metric": metric.name,
        "unit": metric.unit or None,
        "higher_is_better": metric.higher_is_better,
        "series": [_series_entry(series, metric) for series in trend.series],
        "left_out": [
            {"run": x.run.id, "time": x.run.time, "device": x.run.device.name, "reason": x.reason}
            for x in trend.left_out
        ],
    }
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def render(trend: Trend) -> str:
    """Of each series what changed in words, a plot, and a line per run."""
    parts: list[RenderableType] = []
    before: dict[str, Series] = {}
    # Runs that each stand alone fill the screen with blocks that tell nothing.
    alone = [series for series in trend.series if len(series.points) == 1]
    alone = alone if len(alone) > 1 else []
    for series in trend.series:
        if series not in alone:
            parts += [_section(series, before.get(series.device), trend), Text("")]
        before[series.device] = series
    for device in dict.fromkeys(series.device for series in alone):
        parts += [_alone([s for s in alone if s.device == device], trend), Text("")]
    if left_out := list(_left_out(trend)):
        parts.append(Text("\n".join(left_out), style="dim"))
    else:
        del parts[-1:]
    return to_text(*parts)


def words(change: Change, series: Series, metric: Metric) -> str:
    """A change in a sentence part: "slower by 6.2 % (5.1 to 7.3 %) since 2026-11-03 (run …)"."""
    first = series.points[change.start].run
    if change.ratio is None:
        size = f"from {_units.number(change.before)} to {_units.number(change.after)}"
    else:
        # As it reads in words: "faster by 6 % (5 to 7 %)".
        sign = 1 if change.ratio.value >= 1 else -1
        size = f"by {_percent(sign * (change.ratio.value - 1))}"
        low, high = sorted(sign * (end - 1) for end in (change.ratio.low, change.ratio.high))
        size += f" ({100 * low:.1f} to {100 * high:.1f} %)"
    same = series.same_build(change)
    verb = f"{_direction(change, metric)} {size}"
    when = f"{first.time[:10]} (run {first.id})"
    p_value = f"p {change.p_value:.2g}"
    if change.drift:
        count, last = change.stop - change.start, series.points[change.stop - 1].run
        until = f"over {count} runs from {when} to {last.time[:10]}"
        builds = "all of the same file" if same else "of several builds"
        return f"drifts: {verb} {until}, {p_value}; {builds}"
    return f"{verb} since {when}, {p_value}; {'the same file' if same else 'another build'}"


def worse(change: Change, metric: Metric) -> bool:
    """Whether a change is to the worse."""
    return (change.after < change.before) == metric.higher_is_better


def _direction(change: Change, metric: Metric) -> str:
    up = change.after > change.before
    if metric.unit == "ms":
        return "slower" if up else "faster"
    return "higher" if up else "lower"


def _alone(series: Sequence[Series], trend: Trend) -> RenderableType:
    """Of runs of one device that nothing is comparable with, a figure each."""
    points = [one.points[0] for one in series]
    keys = [dict(one.fingerprint.key) for one in series]
    apart = [name for name in keys[0] if len({key.get(name) for key in keys}) > 1]
    each = ", ".join(
        f"{plain(str(point.run.id))} {_figure(point.value, trend.metric)}" for point in points
    )
    where = f"{trend.metric.name} of {plain(trend.model)} on {plain(series[0].device)}"
    differ = f"; they differ in {', '.join(apart)}" if apart else ""
    count = f"{len(points)} run{'s' if len(points) > 1 else ''}"
    return Text(f"{where}: {count} comparable to no other: {each}{differ}")


def _section(series: Series, before: Series | None, trend: Trend) -> RenderableType:
    metric = trend.metric
    points = series.points
    title = f"{metric.name} of {plain(trend.model)} on {plain(series.device)}"
    body: list[RenderableType] = []
    if series.since:
        ratio = series.level_ratio
        level = (
            "" if ratio is None else f"; the median changed by {_percent(ratio - 1, signed=True)}"
        )
        beside = before is not None and series.began_within(before)
        own = "beside the series before, which went on" if beside else "a series of its own"
        body.append(Text(f"  {own}: {plain(', '.join(series.since))}{level}"))
    for change in series.changes:
        style = "red" if worse(change, metric) else "green"
        body.append(Text(f"  {words(change, series, metric)}", style=style))
    if not series.changes:
        body.append(Text(f"  {_nothing(series)}"))
    shown = points[-_WIDTH:]
    values = [point.value for point in shown]
    body.append(
        Text(f"  {_plot(values)}  {_figure(min(values), metric)} to {_figure(max(values), metric)}")
    )
    body += [Text(""), _table(series, metric)]
    return section(title, f"{len(points)} runs" if len(points) > 1 else "1 run", *body)


def _nothing(series: Series) -> str:
    if series.missing:
        return (
            f"{series.missing} more comparable run{'s' if series.missing > 1 else ''} needed to tell a "
            f"change from noise ({FEWEST_RUNS} in all)"
        )
    return "no change beyond noise"


def _plot(values: list[float]) -> str:
    """One bar per run, from the smallest figure to the largest; outliers do not set the scale."""
    lower, _, upper = statistics.quantiles(values) if len(values) > 1 else values * 3
    fence = 3 * (upper - lower) or math.inf
    kept = [value for value in values if lower - fence <= value <= upper + fence]
    low, high = min(kept), max(kept)
    if low == high:
        return _BARS[0] * len(values)
    steps = len(_BARS) - 1
    shares = (min(max((value - low) / (high - low), 0.0), 1.0) for value in values)
    return "".join(_BARS[round(steps * share)] for share in shares)


def _table(series: Series, metric: Metric) -> RenderableType:
    first = max(0, len(series.points) - _LINES)
    marks = {change.start: change for change in series.changes}
    columns = [("UTC", "whole"), ("Run", "whole"), (metric.name, "right"), ("95 %", "right")]
    columns += [("Build", "whole"), ("Change", "wrap")]
    rows: list[list[Cell]] = [
        [
            _cells.time(point.run),
            plain(point.run.id or ""),
            _figure(point.value, metric),
            _ends(point, metric),
            point.run.model.sha256[:8],
            _mark(marks.get(first + index), metric),
        ]
        for index, point in enumerate(series.points[first:])
    ]
    important = ("UTC", metric.name, "Change", "Run", "95 %", "Build")
    kept = fitting(columns, rows, important, boxed=is_terminal())
    columns, rows = [columns[i] for i in kept], [[row[i] for i in kept] for row in rows]
    return table(columns, rows, boxed=is_terminal())


def _mark(change: Change | None, metric: Metric) -> Cell:
    if change is None:
        return ""
    sign = "▲" if change.after > change.before else "▼"
    size = "" if change.ratio is None else f" {_percent(change.ratio.value - 1, signed=True)}"
    text = f"{sign}{size}{' drift begins' if change.drift else ''}"
    return Text.assemble((text, "red" if worse(change, metric) else "green"))


def _figure(value: float, metric: Metric) -> str:
    return _units.figure(value, metric.unit)


def _ends(point: Point, metric: Metric) -> str:
    if point.interval is None:
        return ""
    if metric.unit == "ms":
        return f"[{_units.duration(*point.interval)}]"
    return f"[{', '.join(map(_units.number, point.interval))}]"


def _percent(share: float, *, signed: bool = False) -> str:
    return f"{100 * share:{'+' if signed else ''}.1f} %"


def _left_out(trend: Trend) -> Iterator[str]:
    """A line per reason, with the runs that it holds for."""
    by_reason: dict[str, list[str]] = {}
    for one in trend.left_out:
        by_reason.setdefault(one.reason, []).append(str(one.run.id))
    for reason, ids in by_reason.items():
        more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""  # noqa: PLR2004 - enough to look at
        yield f"left out, {plain(reason)}: {', '.join(ids[-3:])}{more}"


def _series_entry(series: Series, metric: Metric) -> dict[str, Any]:
    return {
        "device": series.device,
        "fingerprint": dict(series.fingerprint.key),
        "differs_from_previous": series.since,
        "median_over_previous": series.level_ratio,
        "older_runs": series.older,
        "runs_needed": series.missing,
        "runs": [
            {
                "run": point.run.id,
                "time": point.run.time,
                "model_sha256": point.run.model.sha256,
                "value": point.value,
                "ci95": None if point.interval is None else list(point.interval),
            }
            for point in series.points
        ],
        "changes": [_change_entry(change, series, metric) for change in series.changes],
    }


def _change_entry(change: Change, series: Series, metric: Metric) -> dict[str, Any]:
    first, last = series.points[change.start].run, series.points[change.stop - 1].run
    ratio = change.ratio
    return {
        "kind": "drift" if change.drift else "step",
        "run": first.id,
        "time": first.time,
        "last_run": last.id,
        "before": change.before,
        "after": change.after,
        "ratio": None if ratio is None else ratio.value,
        "ratio_ci95": None if ratio is None else [ratio.low, ratio.high],
        "p_value": change.p_value,
        "worse": worse(change, metric),
        "same_build": series.same_build(change),
        "message": words(change, series, metric),
    }
