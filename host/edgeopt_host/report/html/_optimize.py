"""What the report of an optimization shows, as text, from its history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from edgeopt_host._text import plain
from edgeopt_host.report import _history, _history_warnings, _history_words, _units, optimization
from edgeopt_host.report._history import NOT_MEASURED, ORIGINAL, REFERENCE, Figure, Made, at
from edgeopt_host.report.html import _optimize_plots as plots
from edgeopt_host.report.html import _optimize_steps as steps
from edgeopt_host.report.html._optimize_steps import minus, signed

_SPLITS = ("train", "validation", "test")
_MB = 2**20
_POINTS = "pt"
_SIZES = "Size of each model's files. The thin bars are the sizes after gzip."
_DROPS = (
    "Drop of the {score} against the original with its 95 % interval: right of 0 is worse. Green and "
    "red: certain not to be 0. An open dot has no interval."
)
_LOG = " Beyond 1 the axis is logarithmic."
_LATENCIES = (
    "Median latency on {device} with its 95 % interval: further left is faster. An open dot has no "
    "interval."
)


def view(history: Mapping[str, Any]) -> dict[str, Any]:
    """All that the template asks for.

    Args:
        history: the document `edgeopt.history/1`; what is null in it is shown as not measured.
    """
    made = _history.models(history)
    name = str(at(history, "model", "name") or "an unnamed model")
    return {
        "title": f"Optimization of {name}",
        "command": at(history, "command") or "",
        "time": _history.clock(history),
        "seed": at(history, "seed"),
        "warnings": _history_warnings.warnings(history),
        "failed": any(one.error or not one.done for one in made),
        "findings": [(one, signed(_history_words.words(history, one))) for one in made[1:]],
        "notes": list(optimization.notes(history)),
        "score": _history.metric(history),
        "models": [_row(history, one, chained=_history.chained(made)) for one in made],
        "figures": _figures(history, made),
        "devices": [_device(history, one, made) for one in _history.devices(history)],
        "generalization": _generalization(history, made),
        "robustness": _robustness(history, made),
        "steps": [steps.detail(history, one, made[0]) for one in made],
        "data": steps.data(history),
        "similarity": _history.similarity(history),
        "recipe": str(at(history, "recipe") or "").splitlines(),
    }


def _row(history: Mapping[str, Any], made: Made, *, chained: bool) -> dict[str, Any]:
    points = _history.in_points(history)
    found = made.evaluation
    packed = _history.gzip(found)
    size = Figure(_history.size(found))
    if size.text != NOT_MEASURED:
        size = Figure(size.text, f"÷ {_history.times_smaller(found)}", f"gzip {packed}")
    score = _history.score(at(found, "scores", "test"), points=points)
    cells = [("Size", size), (_title(_history.metric(history)), score)]
    if made.step:
        cells.append(("Drop", minus(_history.drop(found.get("drop")))))
        cells.append(("Agreement", _history.agreement(found.get("agreement"))))
    else:
        cells += [("Drop", Figure("")), ("Agreement", Figure(""))]
    return {
        "title": made.title,
        "format": plain(str(at(made.model, "format") or "")),
        "source": "" if chained or not made.step else plain(made.source),
        "failure": made.failure,
        "cells": cells,
    }


def _figures(history: Mapping[str, Any], made: Sequence[Made]) -> list[tuple[str, Markup]]:
    sizes = [
        (_label(one), size, _history.number(one.evaluation, "size", "gzip_bytes"))
        for one in made
        if (size := _history.number(one.evaluation, "size", "bytes")) is not None
    ]
    drawn = [(_SIZES, plots.sizes(sizes))]
    unit = next((str(u) for one in made if (u := at(one.evaluation, "drop", "unit"))), "")
    drops = [
        plots.Span(_label(one), value, ends, _colour(ends))
        for one in made
        if (value := _history.number(one.evaluation, "drop", "value")) is not None
        for ends in [_history.ends(one.evaluation, "drop")]
    ]
    score = _history.metric(history)
    # It is the page's, and may be anything; in a figure it would have no room.
    caption = _DROPS.format(score=score) + (_LOG if unit == _POINTS and plots.wide(drops) else "")
    label = f"drop ({unit})" if unit == _POINTS else "drop"
    drawn.append((caption, plots.spans(drops, "Drop against the original", label, unit=unit)))
    for device in _history.devices(history):
        rows, unit = _latencies(device, made)
        caption = _LATENCIES.format(device=device.label)
        svg = plots.spans(rows, "Latency of each model", f"p50 latency ({unit})", unit=unit)
        drawn.append((caption, svg))
    return [(caption, Markup(svg)) for caption, svg in drawn if svg]  # noqa: S704 - escaped there


def _latencies(device: _history.Device, made: Sequence[Made]) -> tuple[list[plots.Span], str]:
    """Latencies in the unit in which the longest is short."""
    measured = {"first float": device.models.get(REFERENCE)}
    measured |= {_label(one): device.models.get(one.id) for one in made}
    known = {
        label: p50
        for label, one in measured.items()
        if (p50 := _history.number(one, "p50_latency_ms")) is not None
    }
    factor, unit = _units.time_unit(max(known.values(), default=1.0))
    rows = []
    for label, p50 in known.items():
        ends = _history.ends(measured[label], "p50_ci95")
        scaled = None if ends is None else (ends[0] / factor, ends[1] / factor)
        kind = "muted" if label == "first float" else "a"
        rows.append(plots.Span(label, p50 / factor, scaled, kind))
    return rows, unit


def _device(
    history: Mapping[str, Any], device: _history.Device, made: Sequence[Made]
) -> dict[str, Any]:
    rows = []
    for title, id_ in [
        ("first float conversion", REFERENCE),
        *((one.title, one.id) for one in made),
    ]:
        measured = device.models.get(id_)
        # Of other formats, and of steps that failed, a device has measured nothing.
        if measured is None:
            continue
        fps = _history.number(measured, "fps")
        memory = _history.number(measured, "model_memory_mb")
        cells = [
            ("p50 latency", _history.latency(measured)),
            ("Speed-up", _history.speedup(measured.get("speedup"))),
        ]
        if id_ == device.reference:
            cells[1] = ("Speed-up", Figure("reference"))
        if device.local:
            cells.append(("Against original", _history.against_original(history, measured)))
        cells += [
            ("FPS (mean)", Figure(NOT_MEASURED if fps is None else _units.number(fps))),
            ("Model's memory", Figure(_memory(memory))),
            ("Accuracy there", _history.score(measured.get("accuracy"), points=True)),
        ]
        rows.append((title, cells))
    titles = [title for title, _ in rows[0][1]] if rows else []
    return {
        "name": device.label,
        "board": device.board,
        "titles": titles,
        "rows": rows,
        "reference": _history.reference_name(device, made),
        "warnings": _history_warnings.of_device(device, {one.id: one.title for one in made}),
    }


def _generalization(
    history: Mapping[str, Any], made: Iterable[Made]
) -> list[tuple[str, list[tuple[str, Figure]]]]:
    """Scores on data that the original was trained on, and on data that it never saw."""
    points = _history.in_points(history)
    return [
        (one.title, [
            (_title(split), _history.score(at(one.evaluation, "scores", split), points=points))
            for split in _SPLITS
        ])
        for one in made
        if at(one.evaluation, "scores")
    ]  # fmt: skip


def _robustness(history: Mapping[str, Any], made: Sequence[Made]) -> dict[str, Any] | None:
    """Of each corruption and severity, the score of each model and how far it fell."""
    points = _history.in_points(history)
    unit = _history.unit(history)
    tables = {
        one.id: {
            _corruption(entry): entry for entry in _history.items(one.evaluation, "robustness")
        }
        for one in made
    }
    tested = [one for one in made[1:] if tables[one.id]]
    keys = list(dict.fromkeys(key for table in tables.values() for key in table))
    if not keys:
        return None

    def cell(entry: Any, value: str, drop: str) -> Figure:
        score, fell = _history.number(entry, value), _history.number(entry, drop)
        if score is None:
            return Figure(NOT_MEASURED)
        aside = "" if fell is None else f"drop {_history.difference(fell, unit)}"
        return minus(Figure(_history.value(score, points=points), aside))

    rows = []
    for key in keys:
        entries = [tables[one.id].get(key) for one in tested]
        own = tables[ORIGINAL].get(key)
        first = (
            cell(own, "value", "drop")
            if own
            else cell(next(filter(None, entries), None), "original_value", "drop_original")
        )
        rows.append((key, [first, *(cell(entry, "value", "drop") for entry in entries)]))
    counts = [
        _history.number(entry, "examples") for table in tables.values() for entry in table.values()
    ]
    return {
        "titles": [ORIGINAL, *(one.title for one in tested)],
        "rows": rows,
        "examples": f"{counts[0]:,.0f} corrupted" if counts[0] is not None else "corrupted",
    }


def _corruption(entry: Any) -> str:
    """As rows are called: "noise, severity 1"."""
    severity = at(entry, "severity")
    name = str(at(entry, "corruption") or "unknown")
    return name if severity is None else f"{name}, severity {_history.flat(severity)}"


def _colour(ends: tuple[float, float] | None) -> str:
    if ends is None or ends[0] <= 0 <= ends[1]:
        return "a"
    return "fail" if ends[0] > 0 else "pass"


def _label(made: Made) -> str:
    """As a plot has room for: "3 mixed"."""
    if not made.step:
        return ORIGINAL
    return f"{made.index} {made.technique.rpartition(':')[2] or made.technique}"


def _memory(mb: float | None) -> str:
    return NOT_MEASURED if mb is None else _units.size(mb * _MB)


def _title(text: str) -> str:
    return text[:1].upper() + text[1:]
