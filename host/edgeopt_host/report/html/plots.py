"""What a report draws. Each function returns an SVG element, or nothing when there is nothing to see.

Text from elsewhere (names of models and devices) stands beside a figure, never in it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeopt_host.report import _units
from edgeopt_host.report.html._svg import COLOURS, SUBJECTS, Drawing
from edgeopt_host.run import Launch, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

_NS = 1e9
_NS_PER_MS = 1e6
# Points of one curve. More are not to be told apart at this width, and a report is a file to send.
_POINTS = 300
_DECADE = 10.0
# Of the distribution's tail, what is beyond would squeeze all else.
_SHOWN = 99.9
_DASHES = ("-", "--", "-.", ":")
_PERCENTS = (-90, -75, -50, -30, -20, -10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10, 20, 30, 50, 100,
             200, 400, 900, 2000, 5000, 10_000)  # fmt: skip
_RATIOS = tuple(1 + percent / 100 for percent in _PERCENTS)
_TICKS = 6
_CANDIDATES = 40
_TEMPERATURE = "temperature_celsius"
_CLOCK = "clock_hz"
_THROTTLE = "throttle_flags"


@dataclass(frozen=True)
class Interval:
    """One line of a plot of ratios. `kind` is the name of a colour."""

    label: str
    value: float
    low: float
    high: float
    kind: str = "a"
    # Where the margin ends, as a ratio.
    limit: float | None = None


def style(subject: int) -> dict[str, Any]:
    """Colour and dashes of a subject, the same in all figures of a page."""
    number = subject % len(SUBJECTS)
    return {"color": COLOURS[SUBJECTS[number]], "linestyle": _DASHES[number]}


def counted(run: Run) -> list[Launch]:
    """The launches that count."""
    return [launch for launch in run.launches if launch.tainted is None]


def _samples_ms(launches: Iterable[Launch]) -> np.ndarray[Any, np.dtype[np.float64]]:
    arrays = [block.latency_ns for launch in launches for block in launch.blocks]
    return np.concatenate([*arrays, np.empty(0, np.int64)]) / _NS_PER_MS


def distribution(runs: Sequence[Run]) -> str:
    """How many inferences took at most so long, per subject."""
    curves = [(i, _samples_ms(counted(run))) for i, run in enumerate(runs)]
    curves = [(i, samples) for i, samples in curves if samples.size > 1]
    if not curves:
        return ""
    shares = np.linspace(0, _SHOWN, _POINTS)
    middle = float(np.median(np.concatenate([samples for _, samples in curves])))
    scale, unit = _units.time_unit(middle)
    told = "; ".join(
        f"{_letter(i)}: half within {_units.duration(float(np.percentile(samples, 50)))}, "
        f"95 % within {_units.duration(float(np.percentile(samples, 95)))}"
        for i, samples in curves
    )
    with Drawing("Distribution of latencies", told, 2.6) as drawing:
        (axes,) = drawing.axes
        for i, samples in curves:
            axes.plot(np.percentile(samples, shares) / scale, shares, linewidth=1.6, **style(i))
        # Each where the curves are not.
        for share, x, side in ((50, 1.0, "right"), (95, 0.01, "left")):
            axes.axhline(share, color=COLOURS["muted"], linewidth=0.6, linestyle=":")
            place = ("axes fraction", "data")
            axes.annotate(f"p{share}", (x, share), xycoords=place, ha=side, va="top")
        axes.set_ylim(0, 100)
        axes.set_ylabel("inferences (%)")
        axes.set_xlabel(f"latency at most ({unit}, log scale)")
        _log_axis(axes, middle / scale)
    return drawing.svg


def ratios(rows: Sequence[Interval], title: str, xlabel: str) -> str:
    """Ratios with their intervals on a log axis, with 1 marked; labelled as differences in percent."""
    from matplotlib.ticker import FixedLocator, NullLocator

    rows = [row for row in rows if drawable(row)]
    if not rows:
        return ""
    told = "; ".join(
        f"{row.label}: {change(row.value)} ({change(row.low)} to {change(row.high)})"
        for row in rows
    )
    ends = [x for row in rows for x in (row.low, row.high, row.limit) if x] + [0.99, 1.01]
    low, high = math.log(min(ends)), math.log(max(ends))
    room = 0.06 * (high - low)
    low, high = low - room, high + room
    with Drawing(title, told, 0.7 + 0.27 * len(rows)) as drawing:
        (axes,) = drawing.axes
        axes.axvline(1, color=COLOURS["ink"], linewidth=1)
        for y, row in enumerate(rows):
            colour = COLOURS[row.kind]
            axes.plot([row.low, row.high], [y, y], color=colour, linewidth=2.2)
            axes.plot([row.value], [y], "o", color=colour, markersize=5)
            if row.limit:
                mark = [y - 0.36, y + 0.36]
                axes.plot([row.limit, row.limit], mark, color=COLOURS["ink"], linestyle=":")
        axes.set_xscale("log")
        axes.set_xlim(math.exp(low), math.exp(high))
        axes.xaxis.set_major_locator(FixedLocator(_spread(low, high)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda x, _: _tick(x))
        axes.set_yticks(range(len(rows)), [row.label for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel(xlabel)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
    return drawing.svg


def series(runs: Sequence[Run]) -> str:
    """Latency, temperature and clock over the time of one benchmark; runs share the device's clock."""
    times = [block.start_ns for run in runs for launch in run.launches for block in launch.blocks]
    if not times:
        return ""
    start = min(times)
    sensors = [(quantity, scale, label) for quantity, scale, label in (
        (_TEMPERATURE, 1.0, "hottest (°C)"), (_CLOCK, 1e-6, "clock (MHz)"),
    ) if any(_readings(run, quantity, start)[0].size for run in runs)]  # fmt: skip
    heights = [2.0, *(1.0 for _ in sensors)]
    scale, unit = _units.time_unit(float(np.median(_samples_ms(itertools.chain(*(
        run.launches for run in runs
    ))))))  # fmt: skip
    with Drawing("Latency over time", _told(runs), *heights) as drawing:
        latency, *others = drawing.axes
        for i, run in enumerate(runs):
            _blocks(latency, run, i, start, scale * _NS_PER_MS)
        _shade(drawing.axes, runs, start)
        latency.set_ylabel(f"p50 of blocks ({unit})")
        _throttled(latency, runs, start)
        for axes, (quantity, scale, label) in zip(others, sensors, strict=True):
            seen = [_readings(run, quantity, start) for run in runs]
            x = np.concatenate([times for times, _ in seen])
            y = np.concatenate([values for _, values in seen]) * scale
            order = _thinned(np.argsort(x))
            axes.plot(x[order], y[order], color=COLOURS["heat"], linewidth=1.2)
            axes.set_ylabel(label)
        for axes in drawing.axes:
            linear_axis(axes.yaxis)
        linear_axis(drawing.axes[-1].xaxis)
        drawing.axes[-1].set_xlabel("time since the first block (s)")
    return drawing.svg


def change(ratio: float) -> str:
    """A ratio as a difference in percent.

    >>> [change(x) for x in (1.032, 0.5, 1.0, 4.14)]
    ['+3.2 %', '\u221250.0 %', '0.0 %', '+314 %']
    """
    return _units.change(ratio).replace("-", "\u2212")


def _tick(ratio: float) -> str:
    text = f"{round(100 * (ratio - 1), 3):+g}"
    return "0" if ratio == 1 else text.replace("-", "\u2212")


def _letter(subject: int) -> str:
    return chr(ord("A") + subject)


def drawable(row: Interval) -> bool:
    return all(math.isfinite(x) and x > 0 for x in (row.value, row.low, row.high))


def _spread(low: float, high: float) -> list[float]:
    """Round ratios between two logarithms, not closer than can be read."""
    inside = [ratio for ratio in _RATIOS if low <= math.log(ratio) <= high]
    kept: list[float] = []
    for ratio in sorted(inside, key=lambda r: _RATIOS.index(r) if r != 1 else -1):
        near = (abs(math.log(ratio / other)) for other in kept)
        if min(near, default=math.inf) >= (high - low) / _TICKS:
            kept.append(ratio)
    return sorted(kept)


def _log_axis(axes: Axes, middle: float) -> None:
    """A log axis with few round ticks, one of them near the middle, where the curves are."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_round(*axes.get_xlim(), middle)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:.6g}")


def _round(low: float, high: float, middle: float) -> list[float]:
    """Round numbers between two ends, near the middle first, and as far apart as labels need."""
    room = math.log(high / low) / _TICKS
    kept: list[float] = []
    finest = _exponent(min(low, high - low)) - 1
    exponents = range(_exponent(high), finest - 1, -1)
    steps = [factor * _DECADE**exponent for exponent in exponents for factor in (5, 2, 1)]
    near = [round(middle / step) * step for step in steps]
    fit = (x for x in near if low <= x <= high and abs(math.log(x / middle)) < room / 2)
    kept += itertools.islice(fit, 1)
    for step in steps:
        # Of a wide range, coarser steps have had what is further up.
        first = math.ceil(low / step)
        last = min(math.floor(high / step), first + _CANDIDATES)
        for tick in (number * step for number in range(first, last + 1)):
            if all(abs(math.log(tick / other)) >= room for other in kept):
                kept.append(tick)
    return sorted(kept)


def _exponent(value: float) -> int:
    return math.floor(math.log10(value))


def linear_axis(axis: Axis) -> None:
    """An axis with few round ticks, which say whole figures."""
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    axis.set_major_locator(MaxNLocator(_TICKS - 1, steps=[1, 2, 5, 10]))
    # An offset beside the axis is overlooked.
    axis.set_major_formatter(ScalarFormatter(useOffset=False))


def _blocks(axes: Axes, run: Run, subject: int, start: int, unit_ns: float) -> None:
    """A curve per launch; when there are too many blocks, medians of neighbours."""
    count = sum(len(launch.blocks) for launch in run.launches)
    together = max(1, math.ceil(count / _POINTS))
    for launch in run.launches:
        blocks = [block for block in launch.blocks if block.latency_ns.size]
        groups = [blocks[i : i + together] for i in range(0, len(blocks), together)]
        x = [(group[0].start_ns - start) / _NS for group in groups]
        y = [
            float(np.median(np.concatenate([b.latency_ns for b in group]))) / unit_ns
            for group in groups
        ]
        axes.plot(x, y, linewidth=1.1, marker="." if len(x) == 1 else "", **style(subject))


def _shade(panels: Sequence[Axes], runs: Sequence[Run], start: int) -> None:
    """Launches that do not count."""
    spans: dict[int, list[int]] = {}
    for run in runs:
        for launch in run.launches:
            if launch.tainted is not None:
                times = [t for b in launch.blocks for t in (b.start_ns, b.start_ns + b.duration_ns)]
                spans.setdefault(launch.number, []).extend(times)
    for times in spans.values():
        if times:
            for axes in panels:
                left, right = (min(times) - start) / _NS, (max(times) - start) / _NS
                axes.axvspan(left, right, color=COLOURS["shade"], linewidth=0)


def _throttled(axes: Axes, runs: Sequence[Run], start: int) -> None:
    marks = sorted({
        round((reading.time_ns - start) / _NS, 1)
        for run in runs
        for launch in run.launches
        for reading in launch.readings
        for channel, value in reading.values.items()
        if run.channels.get(channel) == _THROTTLE and value > 0
        # Sticky flags tell of the time since boot.
        and not channel.endswith("-sticky")
    })  # fmt: skip
    if marks:
        at = _thinned(np.array(marks))
        axes.plot(
            at, np.ones(len(at)), "v", color=COLOURS["fail"], markersize=4, clip_on=False,
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip


def _readings(
    run: Run, quantity: str, start: int
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """Seconds since the start, and the highest of the channels of a quantity at that time."""
    found: list[tuple[float, float]] = []
    for launch in run.launches:
        for reading in launch.readings:
            values = [
                value
                for channel, value in reading.values.items()
                if run.channels.get(channel) == quantity and math.isfinite(value)
            ]
            if values:
                found.append(((reading.time_ns - start) / _NS, max(values)))
    both = np.array(found, np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _thinned(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values[:: max(1, math.ceil(len(values) / _POINTS))]


def _told(runs: Sequence[Run]) -> str:
    parts = []
    for i, run in enumerate(runs):
        tainted = len(run.launches) - len(counted(run))
        aside = f", {tainted} shaded because they do not count" if tainted else ""
        parts.append(f"{_letter(i)}: {len(run.launches)} launches{aside}")
    return "; ".join(parts)
