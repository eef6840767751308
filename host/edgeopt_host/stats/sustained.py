"""Load that lasts: how latency, temperature and clock went over minutes.

A sustained run is one launch whose timed blocks stand apart, with untimed inferences between them
that keep the device as busy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeopt_host import validity
from edgeopt_host.run import Block, Launch, Reading, Run
from edgeopt_host.stats.estimate import Estimate, Mean
from edgeopt_host.stats.unpaired import decide_means
from edgeopt_host.stats.verdict import Decision, decide, guarded, inconclusive, not_measurable

_Floats = np.ndarray[Any, np.dtype[np.float64]]

_MINUTE_S = 60.0
# What shorter runs have instead of their first and last minute.
_TENTH = 0.1
_POINTS = 120
# Of each of the two: fewer do not tell how much they vary.
_FEWEST_BLOCKS = 8
# With more, a minute is too short to tell anything.
_MOST_CORRELATED = 0.95
# What no clock of a device resolves, relative: a ratio is never known better.
_FLOOR = 1e-6
_NS = 1e9
_NS_PER_MS = 1e6


def sustained(launch: Launch, channels: Mapping[str, str]) -> dict[str, Any]:
    """How one launch went, for the document of its run.

    Args:
        launch: with its timed blocks spread over minutes.
        channels: the quantity of each channel, as `Run.channels` has it.

    Returns:
        `seconds` from the first block to the end of the last; `window_s`, 60 or, in a run of less
        than two minutes, a tenth of it; `first_p50_ms` and `last_p50_ms`, over the blocks of the
        first and the last window; `ratio`, the last over the first, with `ci95` and the degrees of
        freedom `df` of the t that it is from, null where there are too few blocks; `curve`, at most
        120 points of equal time with `t_s` (its middle), `p50_ms`, `p95_ms`, `temperature_c`
        (hottest channel), `clock_mhz` (of the quickest cores) and `throttled`, which are null where
        the device does not tell.
    """
    ends = _Ends.of(launch)
    mean = ends.log_ratio()
    interval = None
    if mean is not None:
        estimate = mean.estimate().exp()
        interval = [estimate.low, estimate.high]
    return {
        "seconds": ends.seconds,
        "window_s": ends.window_s,
        "ratio": ends.ratio,
        "ci95": interval,
        "df": None if mean is None else mean.count - 1,
        "first_p50_ms": ends.first_ms,
        "last_p50_ms": ends.last_ms,
        "curve": list(_curve(launch, channels)),
    }


@guarded
def decide_sustained(run: Run, limit: float, alpha: float) -> Decision:
    """Whether a run's last minute took at most `limit` times as long as its first.

    Student's t over the logarithm of the ratio. Its standard error is that of this run: how a board
    of the same kind, or the same board in another room, would do, no single run can tell.

    Args:
        run: with what `sustained` says of it; launches are not needed.
        limit: of the ratio of the medians.
        alpha: the rate at which each verdict may be wrong at the limit.
    """
    if run.sustained is None:
        return _none()
    mean = _log_ratio(run.sustained)
    if mean is None:
        return _too_short(run.sustained)
    p_pass, p_fail = mean.p_values(math.log(limit))
    return decide(p_pass, p_fail, alpha, mean.estimate().exp())


@guarded
def decide_sustained_ratio(candidate: Run, baseline: Run, margin: float, alpha: float) -> Decision:
    """Whether a candidate's ratio is more than a margin above a baseline's: Welch's t.

    Args:
        candidate: as of `decide_sustained`.
        baseline: the same.
        margin: 0.1 allows 1.32 after 1.20.
        alpha: the rate at which each verdict may be wrong at the margin.
    """
    mine, theirs = candidate.sustained, baseline.sustained
    if mine is None or theirs is None:
        return _none()
    one, other = _log_ratio(mine), _log_ratio(theirs)
    if one is None or other is None:
        return _too_short(mine if one is None else theirs)
    return decide_means(one, other, margin, alpha)


def _none() -> Decision:
    return not_measurable("this run has no sustained load: measure with --sustained 10m")


def _too_short(document: Mapping[str, Any]) -> Decision:
    ratio = float(document["ratio"])
    return inconclusive(
        f"fewer than {_FEWEST_BLOCKS} blocks in the first or last {document['window_s']:.0f} s; "
        "measure longer",
        Estimate(ratio, math.nan, math.nan),
    )


def _log_ratio(document: Mapping[str, Any]) -> Mean | None:
    """The logarithm of a document's ratio and its standard error; None with too few blocks."""
    if document["ci95"] is None:
        return None
    from scipy.special import stdtrit

    low, high = document["ci95"]
    freedom = document["df"]
    error = math.log(high / low) / 2 / float(stdtrit(freedom, 0.975))
    return Mean(math.log(document["ratio"]), error, freedom + 1)


@dataclass(frozen=True)
class _Ends:
    """The first and the last window of a launch."""

    seconds: float
    window_s: float
    first: Sequence[Block]
    last: Sequence[Block]

    @classmethod
    def of(cls, launch: Launch) -> _Ends:
        blocks = [block for block in launch.blocks if block.latency_ns.size]
        start = blocks[0].start_ns
        end = max(map(_end_ns, blocks))
        seconds = (end - start) / _NS
        window_s = _MINUTE_S if seconds >= 2 * _MINUTE_S else _TENTH * seconds
        first = [b for b in blocks if b.start_ns < start + window_s * _NS]
        last = [b for b in blocks if _end_ns(b) > end - window_s * _NS]
        return cls(seconds, window_s, first, last)

    @property
    def first_ms(self) -> float:
        return _median_ms(self.first)

    @property
    def last_ms(self) -> float:
        return _median_ms(self.last)

    @property
    def ratio(self) -> float:
        return self.last_ms / self.first_ms

    def log_ratio(self) -> Mean | None:
        """The logarithm of the ratio and its standard error; None with too few blocks."""
        ends = (self.first, self.last)
        if min(map(len, ends)) < _FEWEST_BLOCKS:
            return None
        errors, counts = zip(*map(_median_error, ends), strict=True)
        freedom = max(round(sum(counts)) - len(ends), len(ends))
        return Mean(math.log(self.ratio), max(math.hypot(*errors), _FLOOR), freedom + 1)


def _median_error(blocks: Sequence[Block]) -> tuple[float, float]:
    """How well the median of a window is known: its standard error, relative, and from how many.

    Medians of blocks scatter about the window's trend, which is what is measured and no noise, and
    each is like the one before: as many as they are, they tell as much as n(1-r)/(1+r) independent
    ones, where r is their correlation (an autoregressive process of first order; r as estimated is
    too low by (2+4r)/n, Kendall 1954 and the trend). A median's error is that of a mean times √(π/2).
    """
    values = np.log([np.median(block.latency_ns) for block in blocks])
    count = len(values)
    places = np.arange(count) - (count - 1) / 2
    rest = values - values.mean()
    rest -= (rest @ places) / (places @ places) * places
    squares = float(rest @ rest)
    if squares == 0:
        return 0.0, count
    r = float(rest[1:] @ rest[:-1]) / squares
    r = min(max(r + (2 + 4 * r) / count, 0.0), _MOST_CORRELATED)
    independent = count * (1 - r) / (1 + r)
    return math.sqrt(math.pi / 2 * squares / (count - 2) / independent), independent


def _median_ms(blocks: Sequence[Block]) -> float:
    return float(np.median(np.concatenate([b.latency_ns for b in blocks]))) / _NS_PER_MS


def _end_ns(block: Block) -> int:
    return block.start_ns + (block.duration_ns or int(block.latency_ns.sum()))


def _curve(launch: Launch, channels: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    blocks = [block for block in launch.blocks if block.latency_ns.size]
    start, end = blocks[0].start_ns, max(map(_end_ns, blocks))
    points = min(_POINTS, len(blocks))
    edges = np.linspace(start, end, points + 1)
    # The reading before the first block tells of the time before the load.
    readings = [reading for reading in launch.readings if reading.moment != "start"]
    block_points = _place(edges, [block.start_ns for block in blocks])
    reading_points = _place(edges, [reading.time_ns for reading in readings])
    quickest = _quickest(readings, channels)
    before: list[Reading] = []
    for point in range(points):
        arrays = [b.latency_ns for b, p in zip(blocks, block_points, strict=True) if p == point]
        meanwhile = [r for r, p in zip(readings, reading_points, strict=True) if p == point]
        # Flags that count or stick are told by a difference.
        throttled = validity.throttled([*before, *meanwhile], channels)
        before = meanwhile[-1:] or before
        if not arrays:
            continue
        p50, p95 = np.percentile(np.concatenate(arrays), [50, 95]) / _NS_PER_MS
        temperatures = _values(meanwhile, channels, "temperature_celsius")
        clocks = [r.values[quickest] for r in meanwhile if quickest in r.values]
        yield {
            "t_s": float((edges[point] + edges[point + 1]) / 2 - start) / _NS,
            "p50_ms": float(p50),
            "p95_ms": float(p95),
            "temperature_c": max(temperatures, default=None),
            "clock_mhz": float(np.mean(clocks)) / 1e6 if clocks else None,
            "throttled": throttled,
        }


def _place(edges: _Floats, times: Sequence[int]) -> list[int]:
    """Between which edges each time lies; what lies outside belongs to the first or last."""
    places = np.searchsorted(edges, np.array(times, np.float64), side="right") - 1
    return [int(place) for place in places.clip(0, len(edges) - 2)]


def _quickest(readings: Sequence[Reading], channels: Mapping[str, str]) -> str:
    """The clock that reached most: of several clusters, the one that matters most."""
    names = [name for name, quantity in channels.items() if quantity == "clock_hz"]
    most = {name: [r.values[name] for r in readings if name in r.values] for name in names}
    return max(most, key=lambda name: max(most[name], default=0.0), default="")


def _values(
    readings: Sequence[Reading], channels: Mapping[str, str], quantity: str
) -> Iterator[float]:
    for reading in readings:
        for channel, value in reading.values.items():
            if channels.get(channel) == quantity:
                yield value
