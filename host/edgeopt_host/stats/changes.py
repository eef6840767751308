"""Change points in the history of a figure: steps, and slow drifts.

Circular binary segmentation (Olshen et al. 2004): the stretch whose mean differs most from that of
the rest is cut out, if that is more than noise would do, and each part is looked at again. Where a
straight line tells more with fewer numbers (by BIC, Schwarz 1978), it is a drift instead.

What noise would do is simulated, for the whole search over stretches: series of the same length whose
runs resemble their neighbours and have heavier tails than a normal distribution's. Nothing is taken
as independent that is not: a board keeps the morning's temperature for the afternoon.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from edgeopt_host.stats.estimate import Estimate

Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.intp]]

# So many runs must agree on a new level: one or two may be a bad day.
FEWEST = 3
# Fewer would need a step that nobody needs help to see.
FEWEST_RUNS = 3 * FEWEST
# Of a whole series without any change: the share that is said to have one.
ALPHA = 0.01
# Of the simulated noise: correlation of neighbours, and degrees of freedom of Student's t.
_CORRELATION, _FREEDOM = 0.3, 5
# By which correlated neighbours widen the interval of a mean.
_INFLATION = math.sqrt((1 + _CORRELATION) / (1 - _CORRELATION))
_SIMULATED = 2000
# Of the rate of false alarms: for what lasts until the end. The rest is for what goes away again.
_SHARE = 0.8
# Of longer series, so many places are tried at first.
_GRID = 60
# Runs further from the median of their neighbourhood than this, in robust standard deviations,
# count as if they were there.
_CLIP = 4.0
_NEIGHBOURS = 7
# What goes away again must have lasted for more runs than chance puts bad ones side by side.
_SPELL = 5
# Relative: what is closer is the same figure.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Change:
    """A change of level.

    Args:
        drift: whether it is slow, from run to run; else it is a step.
        start: index of the first run on the new level; of a drift, of its first run.
        stop: index behind the last run of the new level, or of the drift.
        before: the level before, in the figure's unit.
        after: the level afterwards, of a drift at its end.
        ratio: after over before, with its interval; None where a figure is not positive.
        p_value: of so large a change in a series of noise, over the whole search.
    """

    drift: bool
    start: int
    stop: int
    before: float
    after: float
    ratio: Estimate | None
    p_value: float


@dataclass(frozen=True)
class _Piece:
    """Runs that are described by one level, or by one line."""

    start: int
    stop: int
    line: bool
    p_value: float
    squares: float
    # The level at its first and last run.
    first: float
    last: float
    slope_error: float = 0.0


def find(values: Sequence[float], alpha: float = ALPHA) -> list[Change]:
    """The changes in a series, in its order.

    Args:
        values: finite figures of comparable runs, in the order of time.
        alpha: how often a series without a change may be said to have one.
    """
    raw = np.array(values, np.float64)
    if not raw.size:
        return []
    positive = bool((raw > 0).all())
    scale = float(np.abs(raw).max()) or 1.0
    series = np.log(raw) if positive else raw / scale
    pieces = _describe(series, 0, len(series), alpha)
    found = []
    for index, piece in enumerate(pieces):
        if index and not math.isclose(pieces[index - 1].last, piece.first, abs_tol=_ROUNDING):
            found.append(_step(series, pieces[index - 1], piece))
        if piece.line:
            found.append(_drift(piece))
    return [_in_unit(change, None if positive else scale) for change in found]


def _in_unit(change: Change, scale: float | None) -> Change:
    """Back from logarithms, or without them from shares of `scale`."""
    if scale is None:
        ratio = change.ratio.exp() if change.ratio else None
        before, after = math.exp(change.before), math.exp(change.after)
        return replace(change, before=before, after=after, ratio=ratio)
    return replace(change, before=scale * change.before, after=scale * change.after, ratio=None)


def _describe(series: Floats, start: int, stop: int, alpha: float) -> list[_Piece]:
    """Pieces of least cost: one level, one line, or the best of each part."""
    part = _clipped(series[start:stop])
    p_value, cuts = 1.0, list[int]()
    if len(part) >= FEWEST_RUNS:
        p_value, cuts = _search(part)
    if p_value >= alpha:
        mean = float(part.mean())
        squares = float(((part - mean) ** 2).sum())
        return [_Piece(start, stop, False, 1.0, squares, mean, mean)]
    line = _line(part, start, p_value)
    ends = [start, *(start + cut for cut in cuts), stop]
    sides: list[_Piece] = []
    for first, behind in pairwise(ends):
        head, *rest = _describe(series, first, behind, alpha)
        # A cut belongs to the piece that begins there.
        if sides:
            head = replace(head, p_value=p_value)
        sides += [head, *rest]
    return min([line], sides, key=_cost)


def _cost(pieces: Sequence[_Piece]) -> float:
    """BIC: what is left unexplained, and the numbers that the explanation takes."""
    count = pieces[-1].stop - pieces[0].start
    numbers = sum(2 + piece.line for piece in pieces) - 1
    squares = sum(piece.squares for piece in pieces)
    return count * math.log(max(squares / count, _ROUNDING**2)) + numbers * math.log(count)


def _line(part: Floats, start: int, p_value: float) -> _Piece:
    """Least squares."""
    count = len(part)
    x = np.arange(count) - (count - 1) / 2
    spread = float((x**2).sum())
    slope, mean = float((x * part).sum()) / spread, float(part.mean())
    squares = float(((part - mean - slope * x) ** 2).sum())
    error = math.sqrt(squares / (count - 2) / spread)
    first, last = mean + slope * float(x[0]), mean + slope * float(x[-1])
    return _Piece(start, start + count, True, p_value, squares, first, last, error)


def _step(series: Floats, before: _Piece, after: _Piece) -> Change:
    sides = [_clipped(series[piece.start : piece.stop]) for piece in (before, after)]
    squares = [
        piece.squares / max(len(side) - 1, 1)
        for piece, side in zip((before, after), sides, strict=True)
    ]
    error = math.sqrt(sum(s / len(side) for s, side in zip(squares, sides, strict=True)))
    freedom = min(len(side) for side in sides) - 1
    return Change(
        drift=False,
        start=after.start,
        stop=after.stop,
        before=before.last,
        after=after.first,
        ratio=_ratio(after.first - before.last, error, freedom),
        p_value=after.p_value,
    )


def _drift(piece: _Piece) -> Change:
    count = piece.stop - piece.start
    error = piece.slope_error * (count - 1)
    return Change(
        drift=True,
        start=piece.start,
        stop=piece.stop,
        before=piece.first,
        after=piece.last,
        ratio=_ratio(piece.last - piece.first, error, count - 2),
        p_value=piece.p_value,
    )


def _ratio(difference: float, error: float, freedom: int) -> Estimate:
    from scipy.special import stdtrit

    half = float(stdtrit(freedom, 0.975)) * error * _INFLATION
    return Estimate(difference, difference - half, difference + half)


def _clipped(rows: Floats) -> Floats:
    """With outliers drawn in to their neighbours, so that a bad run hides no change (Hampel 1974).

    Along the last axis, of at least `_NEIGHBOURS` runs.
    """
    if rows.shape[-1] < _NEIGHBOURS:
        return rows
    half = _NEIGHBOURS // 2
    padded = np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(half, half)], mode="reflect")
    middle = np.median(sliding_window_view(padded, _NEIGHBOURS, axis=-1), axis=-1)
    apart = rows - middle
    spread = 1.4826 * np.median(np.abs(apart), axis=-1, keepdims=True)
    # Of figures that hardly ever vary, what varies is the news.
    limit = np.where(spread > 0, _CLIP * spread, np.inf)
    result: Floats = middle + apart.clip(-limit, limit)
    return result


def _search(part: Floats) -> tuple[float, list[int]]:
    """The p-value of all that was looked for, and where to cut."""
    found = _statistics(part[None, :])
    p_values = [
        (1 + len(noise) - int(np.searchsorted(noise, t.max(initial=0.0))))
        / (1 + len(noise))
        / share
        for t, noise, share in zip(found, _noise(len(part)), (_SHARE, 1 - _SHARE), strict=True)
    ]
    # Of the slope, which is the last of the first kind, the best cut is as good a place.
    stretch = p_values[1] < p_values[0]
    best = int((found[1][0] if stretch else found[0][0, :-1]).argmax())
    first, last = (ends[best] for ends in _stretches(len(part))[stretch])
    cuts = [int(cut) for cut in (first, last) if 0 < cut < len(part)]
    return min(1.0, *p_values), _refined(part, cuts)


def _refined(part: Floats, cuts: list[int]) -> list[int]:
    """The same cuts, where each parts its neighbourhood best: long series are searched by a grid."""
    ends = [0, *cuts, len(part)]
    refined = []
    for before, after in zip(ends, ends[2:], strict=False):
        around = part[before:after]
        size = np.arange(FEWEST, len(around) - FEWEST + 1)
        sums = (around - around.mean()).cumsum()[size - 1]
        refined.append(before + int(size[(sums**2 / (size * size[::-1])).argmax()]))
    # Each was moved as if the other stood still.
    return refined if refined == sorted(refined) and _wide(refined, len(part)) else cuts


def _wide(cuts: list[int], count: int) -> bool:
    ends = [0, *cuts, count]
    return all(after - before >= FEWEST for before, after in pairwise(ends))


@functools.lru_cache(maxsize=256)
def _stretches(count: int) -> tuple[tuple[Integers, Integers], tuple[Integers, Integers]]:
    """First and behind-last index of what may differ from the rest: its end, or its middle."""
    ends = np.arange(FEWEST, count - FEWEST + 1)
    grid = np.unique([*range(0, count, -(-count // _GRID)), count])
    first, last = (ends.ravel() for ends in np.meshgrid(grid, grid, indexing="ij"))
    # A new level has enough runs, and so has the old one, on both sides.
    wide = (last - first >= _SPELL) & (first >= FEWEST) & (count - last >= FEWEST)
    return (ends, np.full_like(ends, count)), (first[wide], last[wide])


def _statistics(rows: Floats) -> tuple[Floats, Floats]:
    """Student's t: of each end against the rest and of the slope, and of each stretch within.

    Each is (rows, places). Where nothing is left to chance t is infinite, or 0 when nothing
    changes.
    """
    count = rows.shape[1]
    centred = rows - rows.mean(axis=1, keepdims=True)
    total = (centred**2).sum(axis=1, keepdims=True)
    sums = np.concatenate([np.zeros((len(rows), 1)), centred.cumsum(axis=1)], axis=1)
    x = np.arange(count) - (count - 1) / 2
    slope = (centred @ x[:, None]) ** 2 / (x**2).sum()
    ends, within = (
        (sums[:, last] - sums[:, first]) ** 2 * (count / ((last - first) * (count - last + first)))
        for first, last in _stretches(count)
    )
    return _t(np.hstack([ends, slope]), total, count), _t(within, total, count)


def _t(explained: Floats, total: Floats, count: int) -> Floats:
    rest = np.maximum(total - explained, 0.0)
    exact = rest <= 1e-12 * total
    t = np.sqrt(explained * (count - 2) / np.where(exact, 1.0, rest))
    constant = total <= count * _ROUNDING**2
    result: Floats = np.where(constant, 0.0, np.where(exact, np.inf, t))
    return result


@functools.lru_cache(maxsize=256)
def _noise(count: int) -> tuple[Floats, Floats]:
    """The largest of each kind of statistic in simulated series of noise, ascending."""
    generator = np.random.default_rng(count)
    rows = generator.standard_t(_FREEDOM, (_SIMULATED, count))
    # The first is drawn from where the process has settled.
    rows[:, 0] /= math.sqrt(1 - _CORRELATION**2)
    for i in range(1, count):
        rows[:, i] += _CORRELATION * rows[:, i - 1]
    # All at once would take hundreds of megabytes.
    parts = [_statistics(_clipped(part)) for part in np.array_split(rows, 8)]
    ends, within = (
        np.concatenate([t.max(axis=1, initial=0.0) for t in kind])
        for kind in zip(*parts, strict=True)
    )
    return np.sort(ends), np.sort(within)
