"""A sustained run as a plot of text: latency, temperature and clock against time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from edgeopt_host.report import _units

_BARS = " ▁▂▃▄▅▆▇█"
_LEVELS = len(_BARS) - 1
_NAME, _LABEL = 13, 10
# A pipe has no width, and wider than this no eye follows a line.
_WIDEST = 100
_NARROWEST = 10
# Less than this between the lowest and the highest looks flat.
_FLAT = 0.05
_MINUTE_S = 60.0

_Format = Callable[[float], str]


class Curve:
    """The curve of a run's `sustained`, as wide as there is room.

    Args:
        document: as stats.sustained makes it.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in lines(self._document, options.max_width):
            yield Text(line, no_wrap=True, overflow="crop")


def summary(document: Mapping[str, Any]) -> str:
    """In words: "last minute 1.25 times the first [1.24, 1.26] (95 % interval), p50 …, over 10 min"."""
    ends = document["ci95"]
    interval = f" [{', '.join(map(_units.number, ends))}] (95 % interval)" if ends else ""
    first, last = document["first_p50_ms"], document["last_p50_ms"]
    span, why = window(document)
    asides = [why] if why else []
    asides += [] if ends else ["no interval from so few blocks"]
    return (
        f"last {span} {_units.number(document['ratio'])} times the first{interval}, p50 "
        f"{_units.duration(first)} to {_units.duration(last, unit_of=first)}, over "
        f"{time(document['seconds'])}" + (f" ({'; '.join(asides)})" if asides else "")
    )


def window(document: Mapping[str, Any]) -> tuple[str, str]:
    """What stands for the beginning and the end of a run, and why it is no minute; else empty."""
    if document["window_s"] == _MINUTE_S:
        return "minute", ""
    return "tenth", f"first and last tenth, because it lasted {time(document['seconds'])}"


def lines(document: Mapping[str, Any], width: int) -> list[str]:
    """The plot in lines of at most `width`: time goes to the right, a bar is a moment's mean.

    What the device did not tell is left out.
    """
    curve = document["curve"]
    room = max(min(width, _WIDEST) - _NAME - _LABEL - 4, _NARROWEST)
    columns = min(room, len(curve))
    panels: list[tuple[str, str, int, _Format]] = [
        ("p50 latency", "p50_ms", 4, _units.duration),
        ("p95 latency", "p95_ms", 2, _units.duration),
        ("Temperature", "temperature_c", 2, lambda value: f"{value:.1f} °C"),
        ("Clock", "clock_mhz", 2, lambda value: f"{value:.0f} MHz"),
    ]
    drawn: list[str] = []
    for name, key, height, text in panels:
        values = _columns(curve, key, document["seconds"], columns)
        if any(map(math.isfinite, values)):
            drawn += _panel(name, values, height, text)
    throttled = _columns(curve, "throttled", document["seconds"], columns)
    if any(value > 0 for value in throttled):
        drawn.append(_row("Throttled", "", "".join("▀" if v > 0 else " " for v in throttled)))
    end = time(document["seconds"])
    drawn.append(_row("", "", f"0{end:>{max(columns - 1, len(end) + 1)}}"))
    return drawn


def _columns(
    curve: Sequence[Mapping[str, Any]], key: str, seconds: float, columns: int
) -> list[float]:
    """The mean of each column's points; NaN where there is none."""
    gathered: list[list[float]] = [[] for _ in range(columns)]
    for point in curve:
        if point[key] is not None:
            place = min(int(point["t_s"] / seconds * columns), columns - 1)
            gathered[place].append(float(point[key]))
    return [math.fsum(values) / len(values) if values else math.nan for values in gathered]


def _panel(name: str, values: Sequence[float], height: int, text: _Format) -> list[str]:
    known = [value for value in values if math.isfinite(value)]
    low, high = min(known), max(known)
    if text(low) == text(high):
        height = 1
    span = max(high - low, _FLAT * abs(high)) or 1.0
    # The lowest still has a bar: where there is none, nothing is known.
    levels = [
        1 + round((value - low) / span * (height * _LEVELS - 1)) if math.isfinite(value) else 0
        for value in values
    ]
    rows = []
    for row in reversed(range(height)):
        bars = "".join(_BARS[min(max(level - row * _LEVELS, 0), _LEVELS)] for level in levels)
        label = text(high) if row == height - 1 else text(low) if row == 0 else ""
        rows.append(_row(name if row == height - 1 else "", label, bars))
    return rows


def _row(name: str, label: str, content: str) -> str:
    return f"  {name:<{_NAME}}{label:>{_LABEL}}  {content}".rstrip()


def time(seconds: float) -> str:
    """A time: "10 min", or "90 s" of less than two minutes."""
    return f"{seconds / _MINUTE_S:.0f} min" if seconds >= 2 * _MINUTE_S else f"{seconds:.0f} s"
