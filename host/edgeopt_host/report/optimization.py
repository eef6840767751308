"""The history of an optimization for a person at a terminal: a line per model, and what it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from edgeopt_host._text import plain
from edgeopt_host.report import _history, _history_warnings, _history_words, _units
from edgeopt_host.report._console import Cell, fitting, is_terminal, section, table, to_text
from edgeopt_host.report._history import Made

# Of a step that failed, and of the original's difference from itself.
_NONE = "-"


def render(history: Mapping[str, Any]) -> str:
    """Warnings, a table with a row per model, then a sentence about each.

    Args:
        history: the document `edgeopt.history/1`.
    """
    made = _history.models(history)
    head = section(
        plain(str(_history.at(history, "model", "name") or "unnamed model")), _aside(history, made)
    )
    parts: list[RenderableType] = [head]
    parts += [Text(f"! {one}", "yellow") for one in _history_warnings.warnings(history)]
    parts += [Text(""), _table(history, made), Text("")]
    parts += [Padding(sentence, (0, 0, 0, 2)) for sentence in _sentences(history, made)]
    parts += [Text(note, "dim") for note in notes(history)]
    return to_text(*parts)


def notes(history: Mapping[str, Any]) -> Iterator[str]:
    """What figures are relative to: the float conversion on devices, the original on this host."""
    for device in _history.devices(history):
        reference = device.models.get(_history.REFERENCE)
        if reference:
            figure = _history.latency(reference)
            told = f"{figure.text} ({figure.behind})" if figure.behind else figure.text
            yield f"first float conversion on {device.label}: {told}"
    yield f"the original in its own framework on this host: {_on_host(history)}"


def _on_host(history: Mapping[str, Any]) -> str:
    host = _history.at(history, _history.ORIGINAL, "host")
    median, mean = (_history.number(host, key) for key in ("median_ms", "mean_ms"))
    figure, kind = (mean, "mean") if median is None else (median, "median")
    if figure is None:
        return _history.NOT_MEASURED
    runs = _history.number(host, "runs")
    told = [f"{kind} of {runs:.0f} runs" if runs else kind]
    told += [f"timed {_history.clock(host)}"] if _history.clock(host) else []
    # Of the figure beside it: what a history calls `fps` is of the mean.
    told += [f"{_units.number(1000 / figure)} FPS"] if figure > 0 else []
    framework = _history.at(host, "framework")
    told += [plain(str(framework))] if framework else []
    return f"{_units.duration(figure)} ({', '.join(told)})"


def _aside(history: Mapping[str, Any], made: Sequence[Made]) -> str:
    steps = made[1:]
    failed = sum(not one.done for one in steps)
    unknown = sum(one.done and bool(one.error) for one in steps)
    told = f"{len(steps)} step{'' if len(steps) == 1 else 's'}"
    told += f", {failed} without a result" if failed else ""
    told += f", {unknown} not evaluated" if unknown else ""
    source = _history.at(history, "data", "source")
    return told + (f", data {plain(str(source))}" if source else ", without data")


def _sentences(history: Mapping[str, Any], made: Sequence[Made]) -> Iterator[Text]:
    for one in made[1:]:
        style = "red" if one.error or not one.done else ""
        yield Text.assemble((one.title, "bold"), ": ", (_history_words.words(history, one), style))


def _table(history: Mapping[str, Any], made: Sequence[Made]) -> RenderableType:
    score = _history.metric(history)
    names = [device.label for device in _history.devices(history)]
    columns = [("Step", "whole"), ("From", "left"), ("Format", "left"), ("Size", "right")]
    columns += [("÷", "right"), ("gzip", "right"), (score, "right"), (f"{score} 95 %", "right")]
    columns += [("Drop", "right"), ("Drop 95 %", "right"), ("Agreement", "right")]
    important = ["Step", "Drop", "Drop 95 %", "÷", "Size"]
    for name in names:
        ratio = f"{name} ×"  # noqa: RUF001 - times
        columns += [(title, "right") for title in (f"{name} p50", ratio, f"{ratio} 95 %")]
        important += [ratio, f"{ratio} 95 %", f"{name} p50"]
    columns.append(("Result", "left"))
    important += [score, "Result", f"{score} 95 %", "Agreement", "gzip", "Format", "From"]
    rows = [_row(history, one) for one in made]
    if _history.chained(list(made)):
        for row in rows:
            row[1] = ""
    kept = fitting(columns, rows, important, boxed=is_terminal())
    columns = [columns[i] for i in kept]
    return table(columns, [[row[i] for i in kept] for row in rows], boxed=is_terminal())


def _row(history: Mapping[str, Any], made: Made) -> list[Cell]:
    devices = _history.devices(history)
    format_ = plain(str(made.model.get("format") or ""))
    row: list[Cell] = [made.title, plain(made.source), format_]
    if not made.done:
        status = plain(str(made.step.get("status") or "unknown status"))
        return [*row, *[_NONE] * (8 + 3 * len(devices)), Text.assemble((status, "red"))]
    found = made.evaluation
    score = _history.score(
        _history.at(found, "scores", "test"), points=_history.in_points(history)
    )  # fmt: skip
    row += [_history.size(found), _history.times_smaller(found), _history.gzip(found)]
    row += [score.text, score.interval]
    if made.step:
        drop = _history.drop(found.get("drop"))
        style = _style(found.get("drop"))
        row += [
            Text(drop.text, style),
            drop.interval,
            _history.agreement(found.get("agreement")).text,
        ]
    else:
        row += [_NONE] * 3
    for device in devices:
        measured = device.models.get(made.id)
        speedup = _history.speedup(_history.at(measured, "speedup"))
        if measured is not None and made.id == device.reference:
            speedup = _history.Figure("reference")
        row += [_history.latency(measured).text, speedup.text, speedup.interval]
    if made.error:
        return [*row, Text("not evaluated", "red")]
    return [*row, "cached" if made.step.get("cached") else ""]


def _style(drop: Any) -> str:
    """Red for a drop that is certain, green for a gain that is."""
    between = _history.ends(drop)
    if between is None or between[0] <= 0 <= between[1]:
        return ""
    return "red" if between[0] > 0 else "green"
