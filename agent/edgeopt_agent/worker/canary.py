"""A fixed piece of CPU work: when it takes longer, the device has become slower."""

from __future__ import annotations

import time

# Powers of numbers of 2200 bits, modulo one (a Mersenne prime): 2.3 ms on the machine this was
# tried on. It is one loop in C over a kilobyte. A loop in Python was up to 12 % quicker or slower
# for seconds, for no reason that the device had.
_BASE = 3**1300
_EXPONENT = (1 << 192) - 1
_MODULUS = (1 << 2203) - 1
_RUNS = 5
# The governor of an idle device has raised its clock within this.
_RISE_NS = 300_000_000
_STILL_QUICKER = 0.98


def measure() -> int:
    """CPU time of the work in nanoseconds: the quickest of five.

    Of this thread alone, so waiting for a CPU does not count and a lower clock does; so does what
    others do to the caches and units of its core. It tells of the core that it happens to run on:
    where quick and slow cores are mixed, a thread that has moved reads as a device that changed.
    """
    return min(_time() for _ in range(_RUNS))


def first() -> int:
    """The same on a device that may have been idle: once it does not become quicker any more."""
    quickest = measure()
    end = time.monotonic_ns() + _RISE_NS
    while time.monotonic_ns() < end:
        before, quickest = quickest, min(quickest, measure())
        if quickest > _STILL_QUICKER * before:
            break
    return quickest


def measure_until(good_ns: float, patience_ns: int) -> int:
    """The same, again and again while it takes longer than `good_ns`, for so long at most."""
    quickest = measure()
    end = time.monotonic_ns() + patience_ns
    while quickest > good_ns and time.monotonic_ns() < end:
        quickest = min(quickest, measure())
    return quickest


def _time() -> int:
    start = time.thread_time_ns()
    pow(_BASE, _EXPONENT, _MODULUS)
    return time.thread_time_ns() - start
