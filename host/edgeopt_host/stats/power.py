"""From a power channel's samples to the energy that has flown, as a function of time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeopt_host.run import Nanoseconds

Floats = np.ndarray[Any, np.dtype[np.float64]]

_NS = 1e9
# Fewer tell nothing at all.
_LEAST_READINGS = 3
# No power is so many times the usual one: a counter that seems to have wrapped was reset.
_MOST_JUMP = 100
# A sample that comes later than that after the one before means that others are missing.
_LATE = 1.5


class Unmeasurable(Exception):
    """Why a trace tells no energy, in words."""


@dataclass(frozen=True)
class Integral:
    """The energy that one channel has counted, or was integrated to.

    Args:
        name: the channel's.
        time_ns: int64 (n,), growing.
        energy_mj: float64 (n,), since the first time.
        new: bool (n,), whether the value was another one than before.
        read_ns: the usual time between two readings.
    """

    name: str
    time_ns: Nanoseconds
    energy_mj: Floats
    new: np.ndarray[Any, np.dtype[np.bool_]]
    read_ns: float

    @property
    def held_ns(self) -> float:
        """The usual time for which a value stays: longer than between readings in a slow sensor."""
        news = self.time_ns[self.new]
        return float(np.median(np.diff(news))) if news.size > 1 else math.inf

    def over(self, start_ns: float, end_ns: float) -> float:
        """The energy between two times, mJ."""
        start, end = np.interp([start_ns, end_ns], self.time_ns, self.energy_mj)
        return float(end - start)

    def mean_mw(self, start_ns: float, end_ns: float) -> float:
        """The mean power between two times, mW, as far as they were sampled."""
        start_ns = max(start_ns, float(self.time_ns[0]))
        end_ns = min(end_ns, float(self.time_ns[-1]))
        return self.over(start_ns, end_ns) / (end_ns - start_ns) * _NS

    def between(self, start_ns: float, end_ns: float) -> slice:
        """The samples between two times."""
        first, last = np.searchsorted(self.time_ns, [start_ns, end_ns])
        return slice(int(first), int(last))

    def lost(self, start_ns: float, end_ns: float) -> float:
        """The share of the time between these two that no sample stands for."""
        inside = self.time_ns[self.between(start_ns, end_ns)]
        gaps = np.diff(np.concatenate([[start_ns], inside, [end_ns]]))
        late = gaps[gaps > _LATE * self.read_ns]
        return float((late - self.read_ns).sum() / (end_ns - start_ns))


def integrate_power(
    name: str,
    time_ns: Nanoseconds,
    power_mw: Floats,
    edges_ns: Sequence[int],
    *,
    averaged: bool,
) -> Integral:
    """By the trapezoid rule; a mean stands for all the time since the value before.

    Samples that were lost are bridged by a straight line, and where work began or ended meanwhile,
    by a step at that time.

    Args:
        name: the channel's.
        time_ns: int64 (n,).
        power_mw: float64 (n,); NaN where it could not be read.
        edges_ns: when work began or ended.
        averaged: whether values are means.

    Raises:
        Unmeasurable: nothing was read.
    """
    times, power = _read(name, time_ns, power_mw)
    new = _changes(power)
    read_ns = float(np.median(np.diff(times)))
    for edge in edges_ns:
        after = int(np.searchsorted(times, edge))
        if 0 < after < times.size and times[after] - times[after - 1] > _LATE * read_ns:
            times = np.insert(times, after, [edge, edge])
            power = np.insert(power, after, [power[after - 1], power[after]])
            new = np.insert(new, after, [False, False])
    steps = np.diff(times)
    heights = (power[1:] + power[:-1]) / 2
    if averaged:
        heights = np.where(steps <= _LATE * read_ns, power[1:], heights)
    return Integral(name, times, _sums(heights * steps / _NS), new, read_ns)


def integrate_counter(
    name: str, time_ns: Nanoseconds, energy_mj: Floats, wraps_at: float
) -> Integral:
    """A counter's differences, modulo where it wraps.

    Args:
        name: the channel's.
        time_ns: int64 (n,).
        energy_mj: float64 (n,); NaN where it could not be read.
        wraps_at: mJ; 0: it never does.

    Raises:
        Unmeasurable: it went backwards from where no wrap is near.
    """
    times, counted = _read(name, time_ns, energy_mj)
    steps = np.diff(counted)
    wrapped = steps < 0
    steps[wrapped] += wraps_at
    power = steps / np.diff(times)
    if np.any(steps < 0) or np.any(power[wrapped] > _MOST_JUMP * np.median(power)):
        raise Unmeasurable(f"{name}: the counter went backwards: something has reset it")
    return Integral(name, times, _sums(steps), _changes(counted), float(np.median(np.diff(times))))


def _read(name: str, time_ns: Nanoseconds, values: Floats) -> tuple[Nanoseconds, Floats]:
    """What could be read, in the order of time."""
    told = np.isfinite(values)
    times, first = np.unique(time_ns[told], return_index=True)
    if times.size < _LEAST_READINGS:
        raise Unmeasurable(f"{name}: {times.size} samples in the whole pass")
    return times, values[told][first].astype(np.float64)


def _changes(values: Floats) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.concatenate([[True], values[1:] != values[:-1]])


def _sums(steps: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(steps)])
