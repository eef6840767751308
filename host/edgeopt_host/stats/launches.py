"""Figures of one launch each: the units that tests count.

A process is a little faster or slower than the next for as long as it lives (Kalibera & Jones
2013), and its inferences drift together. What is independent is a launch, so every test is
Student's t over one figure per launch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgeopt_host.run import Block, Launch

Floats = np.ndarray[Any, np.dtype[np.float64]]

# Student's t over fewer has no power, and its distribution is anybody's guess.
MIN_LAUNCHES = 3
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}
_NS_PER_MS = 1e6
_ERROR = 0.05


def counted(launches: Sequence[Launch]) -> list[Launch]:
    """Those that count: not tainted, and with blocks."""
    return [launch for launch in launches if launch.tainted is None and launch.blocks]


def samples_ns(launch: Launch) -> Floats:
    """All latencies of one launch, in order: float64 (n,)."""
    arrays = [block.latency_ns for block in launch.blocks]
    return np.concatenate(arrays).astype(np.float64) if arrays else np.empty(0)


def figure(launch: Launch, statistic: str) -> float:
    """One figure of one launch: ms, of throughput inferences per second.

    Args:
        launch: with blocks.
        statistic: "p50", "p90", "p95", "p99", "mean", "throughput", "load", "first_inference".

    Raises:
        KeyError: there is no such statistic.
    """
    if statistic in PERCENTILES:
        return float(np.percentile(samples_ns(launch), PERCENTILES[statistic])) / _NS_PER_MS
    return _FIGURES[statistic](launch)


def quantile(samples: np.ndarray[Any, Any], percent: float) -> float:
    """A block's percentile by numpy's linear method, without what numpy spends on a general case."""
    place = (samples.size - 1) * percent / 100
    low = int(place)
    high = min(low + 1, samples.size - 1)
    parted = np.partition(samples, (low, high))
    return float(parted[low] + (parted[high] - parted[low]) * (place - low))


def duration_ns(block: Block) -> float:
    """From the block's start to its end; agents of the first release did not tell."""
    return float(block.duration_ns or block.latency_ns.sum())


def fewest(percent: float) -> int:
    """Inferences below which there is no upper bound on a percentile.

    With n of them, one above the bound included, the exact binomial's bound holds at 95 %: 46 for
    p90, 93 for p95, 473 for p99.
    """
    share = percent / 100
    count = 2
    while share**count + count * (1 - share) * share ** (count - 1) > _ERROR:
        count += 1
    return count


def too_few(count: int) -> str:
    """Why launches that count decide nothing, in words."""
    return f"{count} launches count; a decision needs at least {MIN_LAUNCHES}"


def clock_tick_ns(launches: Sequence[Launch]) -> float | None:
    """The smallest difference between two latencies; None when all are the same.

    The device's clock may be coarser than its unit, so that latencies seem not to vary.
    """
    values = np.unique(np.concatenate([samples_ns(launch) for launch in launches]))
    return float(np.diff(values).min()) if values.size > 1 else None


def _throughput(launch: Launch) -> float:
    inferences = sum(block.latency_ns.size for block in launch.blocks)
    return inferences / (math.fsum(map(duration_ns, launch.blocks)) / 1e9)


_FIGURES: Mapping[str, Callable[[Launch], float]] = {
    "mean": lambda launch: float(samples_ns(launch).mean()) / _NS_PER_MS,
    "throughput": _throughput,
    "load": lambda launch: launch.load_ns / _NS_PER_MS,
    "first_inference": lambda launch: launch.first_inference_ns / _NS_PER_MS,
}
