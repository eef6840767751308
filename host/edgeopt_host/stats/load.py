"""What the load's shape does: throughput, missed deadlines, how many streams fit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from edgeopt_host.run import (
    Launch,
    Run,
    Warning,  # noqa: A004 - the document's name for it
)
from edgeopt_host.stats.estimate import Estimate
from edgeopt_host.stats.launches import duration_ns

Floats = np.ndarray[Any, np.dtype[np.float64]]

_NS_PER_S = 1e9
_RESAMPLES = 1000
# One launch cannot tell how much the next would differ (docs/adr/0007).
_MIN_LAUNCHES = 2
# A rate is not sustained when less than this share of it is done, and most of it late: at few
# inferences the last one's latency is some of the time.
_SUSTAINED = 0.97
_MOSTLY = 0.5


def fill(run: Run, launches: Sequence[Launch]) -> None:
    """Sets a run's throughput, missed deadlines, and memory per stream.

    Args:
        run: with its shape (batch, streams, rate) and its device's memory.
        launches: those that count, with blocks.
    """
    found = throughput(launches, run.shape.batch)
    if found is not None:
        run.throughput_per_s = found.value
        run.throughput_ci95 = [found.low, found.high] if found.bounded else None
    if run.shape.rate_hz is not None:
        run.shape.missed_deadlines = missed_deadlines(launches, run.shape.rate_hz)
    run.memory.per_stream_bytes = per_stream = per_stream_bytes(launches)
    if per_stream and run.device.memory_bytes:
        run.memory.streams_that_fit = streams_that_fit(
            launches, per_stream, run.device.memory_bytes
        )


def throughput(launches: Sequence[Launch], batch: int) -> Estimate | None:
    """Samples finished per second of timed wall time.

    Its 95 % interval is, like the median's, the wider of two on a log scale: Student's t over
    launches, and a moving-block bootstrap (Künsch 1989) of each launch's blocks. Without bounds
    after a single launch.

    Args:
        launches: with blocks.
        batch: samples of an inference.

    Returns:
        None when no time was timed.
    """
    blocks = [_counts_and_seconds(launch, batch) for launch in launches if launch.blocks]
    total = sum(counts.sum() for counts, _ in blocks)
    seconds = sum(seconds.sum() for _, seconds in blocks)
    if not seconds > 0:
        return None
    value = float(total / seconds)
    if len(blocks) < _MIN_LAUNCHES:
        return Estimate(value, math.nan, math.nan)
    factor = math.exp(max(_between(blocks), _within(blocks)))
    return Estimate(value, value / factor, value * factor)


def missed_deadlines(launches: Sequence[Launch], rate_hz: float) -> float | None:
    """The share of inferences that ended after the next was due, 0 to 1."""
    samples = [block.latency_ns for launch in launches for block in launch.blocks]
    late = sum(int((latencies > _NS_PER_S / rate_hz).sum()) for latencies in samples)
    count = sum(latencies.size for latencies in samples)
    return late / count if count else None


def per_stream_bytes(launches: Sequence[Launch]) -> int | None:
    """What one more stream takes, as the median over launches; None without several streams.

    It is what a stream adds when it is opened, and its share of what all took beyond that while
    they worked.
    """
    found = [_per_stream(launch) for launch in launches]
    known = [one for one in found if one is not None]
    return round(float(np.median(known))) if known else None


def streams_that_fit(launches: Sequence[Launch], per_stream: int, memory_bytes: int) -> int:
    """How many streams the device's memory holds, when nothing else needs any of it.

    The runtime, and what the first stream shares with all, is there once.
    """
    resident = [launch.stream_rss_bytes for launch in launches if launch.stream_rss_bytes]
    shared = float(np.median([rss[-1] - len(rss) * _slope(rss) for rss in resident]))
    return max(0, int((memory_bytes - shared) // per_stream))


def overloaded(run: Run) -> Iterator[Warning]:
    """OVERLOADED when a paced run did less than was due: its queue grew as long as it was measured."""
    rate, done = run.shape.rate_hz, run.throughput_per_s
    if rate is None or done is None or (run.shape.missed_deadlines or 0.0) < _MOSTLY:
        return
    at_once = run.shape.streams * run.shape.batch
    if done < _SUSTAINED * rate * at_once:
        yield Warning(
            "OVERLOADED",
            f"{done / at_once:.3g} of {rate:.3g} inferences per second and stream were done, so "
            "their queue grew all the while, and the latencies say how long was measured; use a "
            f"--rate below {done / at_once:.2g}, fewer --streams, or a faster model",
        )


def _counts_and_seconds(launch: Launch, batch: int) -> tuple[Floats, Floats]:
    counts = np.array([batch * block.latency_ns.size for block in launch.blocks], np.float64)
    seconds = np.array([duration_ns(block) for block in launch.blocks], np.float64) / _NS_PER_S
    if launch.timed_ns and not any(block.duration_ns for block in launch.blocks):
        # An agent of the first release told the sum only.
        seconds *= launch.timed_ns / _NS_PER_S / seconds.sum()
    return counts, seconds


def _between(blocks: Sequence[tuple[Floats, Floats]]) -> float:
    from scipy.special import stdtrit

    logs = [math.log(counts.sum() / seconds.sum()) for counts, seconds in blocks]
    return float(stdtrit(len(logs) - 1, 0.975)) * float(np.std(logs, ddof=1)) / math.sqrt(len(logs))


def _within(blocks: Sequence[tuple[Floats, Floats]]) -> float:
    """Half the bootstrap's interval of the log throughput."""
    generator = np.random.default_rng(0)
    totals, times = np.zeros(_RESAMPLES), np.zeros(_RESAMPLES)
    for counts, seconds in blocks:
        size = len(counts)
        # n^(1/2) neighbours keep what drifts together.
        length = max(1, math.isqrt(size))
        starts = generator.integers(0, size, (_RESAMPLES, -(-size // length)))
        picked = ((starts[:, :, None] + np.arange(length)) % size).reshape(_RESAMPLES, -1)[:, :size]
        totals += counts[picked].sum(axis=1)
        times += seconds[picked].sum(axis=1)
    low, high = np.percentile(np.log(totals / times), [2.5, 97.5])
    return float(high - low) / 2


def _per_stream(launch: Launch) -> float | None:
    resident = launch.stream_rss_bytes
    if len(resident) < _MIN_LAUNCHES:
        return None
    grown = max(0, (launch.peak_rss_bytes or 0) - resident[-1])
    return max(0.0, _slope(resident)) + grown / len(resident)


def _slope(resident: Sequence[int]) -> float:
    return (resident[-1] - resident[0]) / (len(resident) - 1)
