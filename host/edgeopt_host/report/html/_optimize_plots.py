"""What the report of an optimization draws: sizes, and figures with their intervals, a line per model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgeopt_host.report import _units
from edgeopt_host.report.html._svg import COLOURS, Drawing
from edgeopt_host.report.html.plots import linear_axis

_ROW = 0.27
_REST = 0.75
# Beside a drop of so many points, one of a few tenths is not to be seen on a linear axis.
_WIDE = 5.0
_LABEL = 16
_UNITS = ((2**20, "MB"), (2**10, "KB"), (1, "B"))


@dataclass(frozen=True)
class Span:
    """A line of a plot. `ends` is its interval, when there is one; `kind` the name of a colour."""

    label: str
    value: float
    ends: tuple[float, float] | None
    kind: str = "a"


def sizes(rows: Sequence[tuple[str, float, float | None]]) -> str:
    """Bars of file sizes in bytes, and thin ones of those after gzip."""
    if not rows:
        return ""
    factor, unit = next(
        ((f, u) for f, u in _UNITS if max(size for _, size, _ in rows) >= f), _UNITS[-1]
    )
    told = "; ".join(f"{label}: {_units.size(size)}" for label, size, _ in rows)
    with Drawing("Size of each model", told, _REST + 1.3 * _ROW * len(rows)) as drawing:
        (axes,) = drawing.axes
        for y, (_, size, packed) in enumerate(rows):
            axes.barh(y - 0.1, size / factor, 0.44, color=COLOURS["a"])
            if packed is not None:
                axes.barh(y + 0.25, packed / factor, 0.18, color=COLOURS["b"])
        linear_axis(axes.xaxis)
        axes.set_xlim(left=0)
        axes.set_xlabel(unit)
        _lines(drawing, [label for label, _, _ in rows])
    return drawing.svg


def spans(rows: Sequence[Span], title: str, xlabel: str, *, unit: str, mark: float = 0.0) -> str:
    """Figures with their intervals on an axis that holds `mark`; an open dot has no interval.

    Args:
        rows: all in one unit.
        title: what it shows, for those who cannot see it.
        xlabel: of the axis.
        unit: of the figures, for those who cannot see it.
        mark: where a line stands.
    """
    if not rows:
        return ""
    told = "; ".join(f"{row.label}: {_told(row, unit)}" for row in rows)
    reach = max(abs(x) for row in rows for x in (row.value, *(row.ends or ())))
    with Drawing(title, told, _REST + _ROW * len(rows)) as drawing:
        (axes,) = drawing.axes
        axes.axvline(mark, color=COLOURS["ink"], linewidth=1)
        for y, row in enumerate(rows):
            colour = COLOURS[row.kind]
            if row.ends is not None:
                axes.plot(row.ends, [y, y], color=colour, linewidth=2.2)
            filled = colour if row.ends is not None else "none"
            axes.plot([row.value], [y], "o", color=colour, markersize=5, markerfacecolor=filled)
        if unit == "pt" and reach > _WIDE:
            _wide(drawing, reach)
        else:
            linear_axis(axes.xaxis)
        axes.set_xlabel(xlabel)
        _lines(drawing, [row.label for row in rows])
    return drawing.svg


def wide(rows: Sequence[Span]) -> bool:
    """Whether drops in points are drawn on an axis that is logarithmic beyond 1."""
    return any(abs(x) > _WIDE for row in rows for x in (row.value, *(row.ends or ())))


def _wide(drawing: Drawing, reach: float) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    (axes,) = drawing.axes
    axes.set_xscale("symlog", linthresh=1.0)
    low, high = axes.get_xlim()
    decades = [10.0**power for power in range(math.ceil(math.log10(reach)) + 1)]
    ticks = [-tick for tick in reversed(decades)] + [0.0] + decades
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}".replace("-", "\u2212"))


def _lines(drawing: Drawing, labels: Sequence[str]) -> None:
    (axes,) = drawing.axes
    axes.set_yticks(range(len(labels)), [label[:_LABEL] for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _told(row: Span, unit: str) -> str:
    if row.ends is None:
        return f"{row.value:.4g} {unit}, no interval"
    return f"{row.value:.4g} {unit} ({row.ends[0]:.4g} to {row.ends[1]:.4g})"
