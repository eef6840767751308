"""Compared models for a person at a terminal: a sentence about each, and a table with a plot."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from edgeopt_host._text import plain
from edgeopt_host.blame import blame, letter
from edgeopt_host.compare import Compared, Comparison, Difference, OnDevice
from edgeopt_host.metrics import METRICS
from edgeopt_host.report import _cells, _turns, _units
from edgeopt_host.report._console import Cell, fitting, is_terminal, section, table, to_text
from edgeopt_host.run import Run
from edgeopt_host.stats.estimate import Estimate
from edgeopt_host.stats.launches import counted

# Characters of the plot: at most, and what is too narrow to see anything.
_WIDEST = 45
_NARROWEST = 15
# What a pipe is taken for, where nothing tells.
_PIPE = 110
# Once per launch, they vary more than the rest, which would not be told apart beside them.
_COARSE = ("load_ms", "first_inference_ms")
# Nothing smaller than this fills the plot: noise would look like a mountain.
_LEAST_RANGE = math.log(1.02)


def render(comparison: Comparison) -> str:
    """Each device with what is to be said of each model, then its figures."""
    parts: list[RenderableType] = []
    for device in comparison.devices:
        parts += [_device(device), Text("")]
    return to_text(*parts[:-1])


def render_json(comparison: Comparison) -> str:
    """The document `edgeopt.compare/1`."""
    text = json.dumps(comparison.document(), indent=2, allow_nan=False, ensure_ascii=False)
    return text + "\n"


def _device(device: OnDevice) -> RenderableType:
    reference = device.reference
    body: list[RenderableType] = [Text(f"  A  {plain(reference.model.name)}")]
    if (why := blame(device.runs, 0)) is not None:
        body.append(Text(f"     {why.words}", "red" if why.own else ""))
    body += [Padding(Text(plain(other.words)), (0, 0, 0, 2)) for other in device.others]
    body += [Padding(Text(note), (0, 0, 0, 2)) for note in notes(device)]
    reach = _reach([d for other in device.others for d in other.differences])
    for other in device.others:
        if other.differences:
            body += [Text(""), _table(other, reach)]
            if puzzling := [d.metric for d in other.differences if d.puzzling]:
                body.append(Text(f"{', '.join(puzzling)}: {_turns.IN_TURNS}", style="dim"))
    return section(_cells.device(reference), _launches(reference), *body)


def notes(device: OnDevice) -> Iterator[str]:
    """What else is to be known before the figures are read."""
    if device.single:
        yield "one launch cannot tell a difference: measure longer, without --quick"
    missed = [
        f"{letter(i)} {_units.percent(run.shape.missed_deadlines)}"
        for i, run in enumerate(device.runs)
        if run.shape.missed_deadlines is not None
    ]
    if missed:
        rate = _units.number(device.reference.shape.rate_hz or 0.0)
        yield f"deadlines missed at {rate} Hz: {', '.join(missed)}"


def _launches(run: Run) -> str:
    used = len(counted(run.launches))
    if not used:
        return ""
    tainted = len(run.launches) - used
    several = f"{used} launches of each count" if used > 1 else "1 launch of each counts"
    return several + (f", {tainted} do{'' if tainted > 1 else 'es'} not" if tainted else "")


def _table(other: Compared, reach: float) -> RenderableType:
    columns = [
        ("Metric", "whole"),
        ("A", "right"),
        (other.letter, "right"),
        ("Difference", "right"),
        ("95 %", "right"),
    ]
    rows: list[list[Cell]] = [
        [
            difference.metric,
            _figure(difference, difference.reference),
            _figure(difference, difference.candidate),
            Text(_difference(difference), _style(difference)),
            _interval(difference),
        ]
        for difference in other.differences
    ]
    # The others would be squeezed where there is little room.
    kept = fitting(
        columns, rows, ("Metric", "Difference", "95 %", other.letter, "A"), boxed=is_terminal()
    )
    columns, rows = [columns[i] for i in kept], [[row[i] for i in kept] for row in rows]
    taken = sum(
        max(len(title), *(len(str(row[i])) for row in rows)) + 3
        for i, (title, _) in enumerate(columns)
    )
    width = min(_WIDEST, _width() - taken)
    if width >= _NARROWEST and any(d.ratio and d.ratio.bounded for d in other.differences):
        drawn, scale = _plots([difference.ratio for difference in other.differences], reach, width)
        columns.append((scale, "whole"))
        for row, text, difference in zip(rows, drawn, other.differences, strict=True):
            row.append(Text(text, _style(difference)))
    return table(columns, rows, boxed=is_terminal())


def _reach(differences: Sequence[Difference]) -> float:
    """How far the plots reach to both sides, as a logarithm: the same for all of a device."""
    ratios = [d.ratio for d in differences if d.ratio is not None and d.metric not in _COARSE]
    ends = [abs(math.log(end)) for r in ratios if _drawable(r) for end in (r.low, r.high)]
    return max([_LEAST_RANGE, *ends])


def _drawable(ratio: Estimate) -> bool:
    return ratio.bounded and ratio.low > 0


def _plots(ratios: Sequence[Estimate | None], reach: float, width: int) -> tuple[list[str], str]:
    """A line per ratio, and a head with the ends of the scale.

    "|" is where nothing differs; "<" and ">" say that an interval goes on.
    """
    middle = width // 2

    def column(ratio: float) -> int:
        return middle + round(max(-1.0, min(1.0, math.log(ratio) / reach)) * middle)

    lines = []
    for ratio in ratios:
        cells = [" "] * (2 * middle + 1)
        cells[middle] = "|"
        if ratio is not None and _drawable(ratio):
            left, right = column(ratio.low), column(ratio.high)
            cells[left : right + 1] = "-" * (right - left + 1)
            cells[column(ratio.value)] = "o"
            if math.log(ratio.low) < -reach:
                cells[0] = "<"
            if math.log(ratio.high) > reach:
                cells[-1] = ">"
        lines.append("".join(cells))
    first, last = (f"{100 * math.expm1(end):+.0f} %" for end in (-reach, reach))
    head = first.ljust(middle) + "0"
    return lines, head + last.rjust(2 * middle + 1 - len(head))


def _figure(difference: Difference, value: float | None) -> str:
    return _cells.NONE if value is None else _units.figure(value, METRICS[difference.metric].unit)


def _difference(difference: Difference) -> str:
    if difference.ratio is not None:
        return f"{_percent(difference.ratio.value)} %"
    return "" if difference.delta is None else f"{difference.delta.value:+.2f} {_unit(difference)}"


def _interval(difference: Difference) -> str:
    estimate = difference.ratio or difference.delta
    if estimate is None or not estimate.bounded:
        return ""
    if difference.ratio is not None:
        return f"{_percent(estimate.low)} to {_percent(estimate.high)}"
    if estimate.low == estimate.high:
        return "exact"
    return f"{estimate.low:+.2f} to {estimate.high:+.2f}"


def _percent(ratio: float) -> str:
    text = f"{100 * (ratio - 1):+.1f}"
    return "0.0" if float(text) == 0 else text


def _unit(difference: Difference) -> str:
    return "points" if difference.metric == "accuracy" else METRICS[difference.metric].unit


def _style(difference: Difference) -> str:
    if difference.found not in {"less", "more"}:
        return "dim"
    better = (difference.found == "more") == METRICS[difference.metric].higher_is_better
    return "green" if better else "red"


def _width() -> int:
    console = Console()
    known = console.is_terminal or os.environ.get("COLUMNS", "").isdigit()
    return console.width if known else _PIPE
