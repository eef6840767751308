"""Percentiles, and whether the interval of the median holds what it promises."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from edgeopt_host.run import Block, Launch
from edgeopt_host.stats import latency


def launch(samples: np.ndarray) -> Launch:
    blocks = [Block(0, part) for part in np.array_split(samples.astype(np.int64), 10)]
    return Launch(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, blocks, [])


def test_percentiles_are_numpys_linear_ones_and_stddev_has_ddof_1() -> None:
    samples = np.arange(1, 101) * 1_000_000
    summary = latency.summarize([launch(samples[:50]), launch(samples[50:])])
    assert (summary.count, summary.launches) == (100, 2)
    assert (summary.min, summary.max, summary.mean) == (1.0, 100.0, 50.5)
    assert summary.p50 == 50.5
    assert summary.p90 == pytest.approx(90.1)
    assert summary.p99 == pytest.approx(99.01)
    assert summary.stddev == pytest.approx(np.std(samples / 1e6, ddof=1))


def test_one_launch_has_no_interval() -> None:
    assert latency.summarize([launch(np.full(1000, 10**6))]).p50_ci95 is None


def test_tainted_launches_are_left_out() -> None:
    launches = [launch(np.full(100, 10**6 + i)) for i in range(3)]
    alone = latency.summarize(launches)
    spoilt = launch(np.full(100, 10**9))
    spoilt.tainted = "throttled"
    assert latency.summarize([*launches, spoilt]) == alone
    only = latency.summarize([spoilt, spoilt])
    assert (only.p50, only.p50_ci95) == (1000.0, None)


def test_nothing_measured_is_all_null() -> None:
    assert latency.summarize([]).p50 is None


@pytest.mark.parametrize("correlation", [0.0, 0.9, 0.99])
@pytest.mark.parametrize("between_launches", [0.0, 0.02])
def test_the_interval_holds_the_true_median(correlation: float, between_launches: float) -> None:
    """Three launches of latencies that drift together; the true median is 1 ms."""
    generator = np.random.default_rng(1)
    held = 0
    rounds = 150
    for _ in range(rounds):
        launches = []
        for _ in range(3):
            noise = generator.standard_normal(2000) * np.sqrt(1 - correlation**2)
            drift = lfilter([1], [1, -correlation], noise)
            shift = between_launches * generator.standard_normal()
            launches.append(launch(1e6 * np.exp(shift + 0.05 * drift)))
        interval = latency.summarize(launches).p50_ci95
        assert interval is not None
        held += interval[0] <= 1.0 <= interval[1]
    assert held / rounds >= 0.9
