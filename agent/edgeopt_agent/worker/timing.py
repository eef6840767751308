"""The timed loop. Nothing here may allocate, print or read files while the clock runs."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable

_clock = time.perf_counter_ns
_NEVER = 2**63 - 1
# How long before an inference is due the thread wakes and waits in a loop. Waking took 55 µs on a
# virtual machine; with this it begins within 0.2 µs of its time.
_WAKE_NS = 100_000


def time_block(
    infer: Callable[[], object],
    samples: array[int],
    duration_ns: int,
    inferences: int,
    limit_ns: int = 0,
) -> int:
    """Times calls back to back until both the duration and the count are reached.

    Appends every latency in nanoseconds to `samples`. A limit ends it whatever the count; 0 is
    none.

    Returns:
        The block's wall time in nanoseconds.
    """
    clock = _clock
    append = samples.append
    start = clock()
    end = start + duration_ns
    last = start + limit_ns if limit_ns else _NEVER
    left = inferences
    while True:
        before = clock()
        infer()
        after = clock()
        append(after - before)
        left -= 1
        if (after >= end and left <= 0) or after >= last:
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


class Pace:
    """Due times at a fixed rate. Their clock stands still between blocks, as the measuring does.

    Args:
        rate_hz: inferences due per second.
        offset: of the first due time, in periods: streams that start together take turns.
    """

    def __init__(self, rate_hz: float, offset: float = 0.0) -> None:
        self.period_ns = round(1e9 / rate_hz)
        # From the end of the last inference to the next due time; negative: behind.
        self.slack_ns = round(self.period_ns * (1 + offset))


def time_paced(
    infer: Callable[[], object],
    samples: array[int],
    pace: Pace,
    duration_ns: int,
    inferences: int,
    limit_ns: int = 0,
) -> int:
    """As `time_block`, but each call begins when it is due, or late when those before it took long.

    Latencies count from the due time, so that waiting for earlier calls counts.
    """
    clock, sleep = _clock, time.sleep
    append = samples.append
    period = pace.period_ns
    start = clock()
    end = start + duration_ns
    last = start + limit_ns if limit_ns else _NEVER
    left = inferences
    due = start + pace.slack_ns
    while True:
        early = due - clock() - _WAKE_NS
        if early > 0:
            sleep(early / 1e9)
        while clock() < due:
            pass
        infer()
        after = clock()
        append(after - due)
        due += period
        left -= 1
        if (after >= end and left <= 0) or after >= last:
            pace.slack_ns = due - after
            return after - start


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
