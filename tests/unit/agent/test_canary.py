"""The canary: what makes it longer, and how long it looks."""

from __future__ import annotations

import itertools
import time

import pytest

from edgeopt_agent.worker import canary


def test_it_is_cpu_time_of_a_few_milliseconds() -> None:
    started = time.thread_time_ns()
    took = canary.measure()
    spent = time.thread_time_ns() - started
    assert 0 < 5 * took <= spent


def test_the_quickest_of_five_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([5, 4, 2, 3, 9, 1])
    monkeypatch.setattr(canary, "_time", lambda: next(times))
    assert canary.measure() == 2
    assert list(times) == [1]


def test_a_device_that_was_idle_is_given_time_to_raise_its_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # From 600 to 1500 MHz.
    times = iter([25, 16, 10, 10, 10])
    monkeypatch.setattr(canary, "measure", lambda: next(times))
    assert canary.first() == 10
    assert list(times) == [10]


def test_a_slow_look_is_repeated_until_it_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([16, 15, 10, 9])
    monkeypatch.setattr(canary, "measure", lambda: next(times))
    assert canary.measure_until(11, 60_000_000_000) == 10
    assert list(times) == [9]


def test_a_slow_device_is_looked_at_for_so_long_and_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = itertools.count(step=10)
    looks = itertools.count(1)
    monkeypatch.setattr(canary.time, "monotonic_ns", lambda: next(clock))
    monkeypatch.setattr(canary, "measure", lambda: next(looks) and 16)
    assert canary.measure_until(11, 50) == 16
    assert next(looks) == 6
