"""Whether latencies gather in two places rather than one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

_Values = np.ndarray[Any, np.dtype[np.int64]]

_GRID = 512
# Latencies beyond say nothing about where most are.
_CUT = (0.5, 99.0)
# The lower of two peaks is a peak when the valley between them is at most half as high,
_VALLEY = 0.5
# each side holds so many of the latencies,
_LEAST_SHARE = 0.1
# and they stand so far apart that it matters, relative.
_LEAST_GAP = 0.05
_FEWEST = 100
# Enough of them to see it, spread over all.
_MOST = 100_000


@dataclass(frozen=True)
class Modes:
    """Two peaks of a distribution, in the unit of the latencies, and the share about the second."""

    low: float
    high: float
    share: float


def two(latencies: _Values) -> Modes | None:
    """The two places where latencies gather; None where there is one, or they are too few.

    The deepest valley of a kernel density estimate (Silverman's bandwidth, 1986) on a logarithmic
    axis. The dip test (Hartigan 1985) takes samples as independent, which latencies are not: it
    calls any slow drift two modes.

    Args:
        latencies: of one launch: int64 (n,).
    """
    if latencies.size < _FEWEST:
        return None
    latencies = latencies[:: max(1, latencies.size // _MOST)].clip(1)
    values = np.log(latencies)
    low, high = np.percentile(values, _CUT)
    values = values[(values >= low) & (values <= high)]
    width = max(_bandwidth(values), _tick(latencies))
    if high - low < max(math.log1p(_LEAST_GAP), 3 * width):
        return None
    edges = np.linspace(low - 3 * width, high + 3 * width, _GRID + 1)
    places = (edges[1:] + edges[:-1]) / 2
    step = float(places[1] - places[0])
    reach = math.ceil(4 * width / step)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step / width) ** 2)
    density = np.convolve(np.histogram(values, edges)[0], kernel, "same")
    # For each place, how low it lies below the lower of the highest peaks on both its sides.
    left = np.maximum.accumulate(density)
    right = np.maximum.accumulate(density[::-1])[::-1]
    sides = np.percentile(values, [100 * _LEAST_SHARE, 100 * (1 - _LEAST_SHARE)])
    between = (places > sides[0]) & (places < sides[1])
    depth = np.divide(density, np.minimum(left, right), out=np.ones(_GRID), where=between)
    valley = int(np.argmin(depth))
    if depth[valley] > _VALLEY:
        return None
    share = float((values > places[valley]).mean())
    first, second = int(np.argmax(density[:valley])), valley + int(np.argmax(density[valley:]))
    if places[second] - places[first] < math.log1p(_LEAST_GAP):
        return None
    return Modes(float(np.exp(places[first])), float(np.exp(places[second])), share)


def _bandwidth(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    quarter, three = np.percentile(values, [25, 75])
    spread = min(float(values.std(ddof=1)), float(three - quarter) / 1.349)
    return float(0.9 * spread * values.size**-0.2)


def _tick(latencies: _Values) -> float:
    """The steps of the device's clock, relative: they are no modes of the model."""
    steps = np.diff(np.unique(latencies))
    return float(steps.min() / np.median(latencies)) if steps.size else 0.0
