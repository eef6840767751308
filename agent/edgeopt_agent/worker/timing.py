"""The timed loop. Nothing here may allocate, print or read files while the clock runs."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable

_clock = time.perf_counter_ns


def time_block(
    infer: Callable[[], object], samples: array[int], duration_ns: int, inferences: int
) -> int:
    """Times calls back to back until both the duration and the count are reached.

    Appends every latency in nanoseconds to `samples`.

    Returns:
        The block's wall time in nanoseconds.
    """
    clock = _clock
    append = samples.append
    start = clock()
    end = start + duration_ns
    left = inferences
    while True:
        before = clock()
        infer()
        after = clock()
        append(after - before)
        left -= 1
        if after >= end and left <= 0:
            return after - start


def run_for(infer: Callable[[], object], duration_ns: int, inferences: int) -> tuple[int, int]:
    """Calls until both the duration and the count are reached, keeping nothing.

    Returns:
        The wall time in nanoseconds, and how many calls there were.
    """
    start = _clock()
    end = start + duration_ns
    count = 0
    while True:
        infer()
        count += 1
        now = _clock()
        if now >= end and count >= inferences:
            return now - start, count


def time_once(infer: Callable[[], object]) -> int:
    """One call, in nanoseconds."""
    before = _clock()
    infer()
    return _clock() - before


def harness_overhead_ns(calls: int = 2000) -> int:
    """What the loop itself adds to each latency: the median of timing a call that does nothing."""
    samples = array("q")
    time_block(_nothing, samples, 0, calls)
    return sorted(samples)[calls // 2]


def _nothing() -> None:
    pass
