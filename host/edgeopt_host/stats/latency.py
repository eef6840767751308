"""Latency percentiles, and how well the median is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeopt_host.run import Latency, Launch

Floats = np.ndarray[Any, np.dtype[np.float64]]

_NS_PER_MS = 1e6
_RESAMPLES = 1000
# Per launch: enough for the bootstrap, few enough to be quick with a million samples.
_MAX_PIECES = 100
# One launch cannot tell how much the next would differ: an interval from its samples alone held
# the truth in 14 to 94 % of synthetic traces (docs/adr/0007).
_MIN_LAUNCHES = 2


def samples_ns(launches: Sequence[Launch]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """All latencies of all launches, in order: int64 (n,)."""
    arrays = [block.latency_ns for launch in launches for block in launch.blocks]
    return np.concatenate(arrays) if arrays else np.empty(0, np.int64)


def summarize(launches: Sequence[Launch]) -> Latency:
    """The latency part of a run's document, in milliseconds.

    Launches that do not count are left out; where none counts, the figures are of all, for people
    to look at, and without an interval.
    """
    kept = [launch for launch in launches if launch.tainted is None]
    launches = kept or launches
    samples = samples_ns(launches) / _NS_PER_MS
    if not samples.size:
        return Latency()
    p50, p90, p95, p99 = (float(p) for p in np.percentile(samples, [50, 90, 95, 99]))
    return Latency(
        count=samples.size,
        launches=len(launches),
        min=float(samples.min()),
        mean=float(samples.mean()),
        stddev=float(samples.std(ddof=1)) if samples.size > 1 else None,
        p50=p50,
        p50_ci95=median_interval(kept, p50),
        p90=p90,
        p95=p95,
        p99=p99,
        max=float(samples.max()),
    )


def median_interval(launches: Sequence[Launch], median: float) -> list[float] | None:
    """A 95 % interval for the median, in the unit of `median`.

    Latencies of one launch are not independent: they drift together over hundreds of inferences,
    and a launch differs from the next. So the interval is the wider of two, on a log scale:
    Student's t over the launches' medians, and a moving-block bootstrap (Künsch 1989) within the
    launches, over the medians of up to 100 pieces of each.

    Returns:
        [low, high], or None after a single launch.
    """
    if len(launches) < _MIN_LAUNCHES:
        return None
    arrays = [np.concatenate([b.latency_ns for b in launch.blocks]) for launch in launches]
    between = _t_half_width([math.log(np.median(samples)) for samples in arrays])
    within = _bootstrap_half_width([_pieces(samples) for samples in arrays])
    factor = math.exp(max(between, within))
    return [median / factor, median * factor]


def _pieces(samples: np.ndarray[Any, np.dtype[np.int64]]) -> Floats:
    """Log medians of consecutive pieces of one launch."""
    parts = np.array_split(samples, min(len(samples), _MAX_PIECES))
    return np.array([math.log(np.median(part)) for part in parts], np.float64)


def _t_half_width(values: Sequence[float]) -> float:
    from scipy.special import stdtrit

    count = len(values)
    quantile = float(stdtrit(count - 1, 0.975))
    return quantile * float(np.std(values, ddof=1)) / math.sqrt(count)


def _bootstrap_half_width(launches: Sequence[Floats]) -> float:
    generator = np.random.default_rng(0)
    resampled = np.concatenate([_resample(values, generator) for values in launches], axis=1)
    low, high = np.percentile(np.median(resampled, axis=1), [2.5, 97.5])
    return float(high - low) / 2


def _resample(values: Floats, generator: np.random.Generator) -> Floats:
    """Resamples runs of n^(1/2) neighbours, which keep what drifts together: (resamples, n)."""
    count = len(values)
    length = max(1, math.isqrt(count))
    starts = generator.integers(0, count, (_RESAMPLES, -(-count // length)))
    indices = (starts[:, :, None] + np.arange(length)) % count
    resampled: Floats = values[indices.reshape(_RESAMPLES, -1)[:, :count]]
    return resampled
