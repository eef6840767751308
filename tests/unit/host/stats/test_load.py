"""Throughput, missed deadlines and streams that fit, of launches that are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edgeopt_host.run import Block, Launch, Run
from edgeopt_host.stats import load
from sample_runs import failed_run

MS = 1_000_000
MB = 2**20


def launch(blocks: list[Block], **figures: Any) -> Launch:
    known = dict.fromkeys(
        ("load_ns", "first_inference_ns", "warmup_inferences", "harness_overhead_ns", "timed_ns"), 1
    )
    memory = dict.fromkeys(
        ("peak_rss_bytes", "runtime_rss_bytes", "model_rss_bytes", "anonymous_bytes", "file_bytes")
    )
    return Launch(**{**known, **memory, "blocks": blocks, "readings": [], **figures})


def block(latencies_ms: list[float], duration_ms: float) -> Block:
    latency_ns = np.array([ms * MS for ms in latencies_ms], np.int64)
    return Block(0, latency_ns, round(duration_ms * MS))


def noisy(rate: float, seed: int, blocks: int = 40) -> Launch:
    """Blocks of 20 inferences at about this rate."""
    generator = np.random.default_rng(seed)
    times = 20 / rate * np.exp(generator.normal(0, 0.05, blocks))
    return launch([block([1.0] * 20, 1000 * time) for time in times])


def test_throughput_is_samples_over_wall_time() -> None:
    launches = [launch([block([10.0] * 10, 100), block([10.0] * 5, 60)])] * 2
    found = load.throughput(launches, batch=4)
    assert found is not None
    assert found.value == pytest.approx(4 * 15 / 0.16)
    assert found.bounded


def test_one_launch_has_no_interval() -> None:
    found = load.throughput([launch([block([10.0], 10)])], 1)
    assert found is not None
    assert not found.bounded
    assert load.throughput([], 1) is None


def test_an_old_agent_tells_the_time_of_all_blocks_only() -> None:
    blocks = [block([10.0, 30.0], 0), block([20.0, 20.0], 0)]
    found = load.throughput([launch(blocks, timed_ns=100 * MS)], 1)
    assert found is not None
    assert found.value == pytest.approx(4 / 0.1)


def test_the_interval_covers_what_differs_from_launch_to_launch() -> None:
    rates = (90.0, 100.0, 112.0)
    found = load.throughput([noisy(rate, n) for n, rate in enumerate(rates)], 1)
    alike = load.throughput([noisy(100, n) for n in range(3)], 1)
    assert found is not None
    assert alike is not None
    assert found.low < 90
    assert found.high > 112
    assert 95 < alike.low < 100 < alike.high < 105


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    held = 0
    for trial in range(200):
        rates = 100 * np.exp(generator.normal(0, 0.02, 5))
        found = load.throughput([noisy(r, 7 * trial + n) for n, r in enumerate(rates)], 1)
        assert found is not None
        held += found.low <= 100 <= found.high
    assert 180 <= held <= 200


def test_missed_deadlines_are_latencies_above_the_period() -> None:
    launches = [launch([block([50, 99, 101, 250], 400)]), launch([block([10, 10, 10, 10], 400)])]
    assert load.missed_deadlines(launches, rate_hz=10) == 0.25
    assert load.missed_deadlines([], rate_hz=10) is None


def test_streams_that_fit() -> None:
    # 30 MB at first and 10 MB per stream; working, all four grew by 8 MB.
    resident = [40 * MB, 50 * MB, 60 * MB, 70 * MB]
    launches = [launch([], stream_rss_bytes=resident, peak_rss_bytes=78 * MB)] * 3
    per_stream = load.per_stream_bytes(launches)
    assert per_stream == 12 * MB
    assert load.streams_that_fit(launches, per_stream, 30 * MB + 5 * 12 * MB) == 5
    assert load.streams_that_fit(launches, per_stream, 30 * MB + 5 * 12 * MB - 1) == 4
    assert load.streams_that_fit(launches, per_stream, 10 * MB) == 0


def test_without_several_streams_nothing_is_known_of_them() -> None:
    assert load.per_stream_bytes([launch([])]) is None
    assert load.per_stream_bytes([launch([], stream_rss_bytes=[MB])]) is None


def paced(done_ms: float, latency_ms: float, streams: int = 1) -> Run:
    run = failed_run()
    run.shape.rate_hz, run.shape.streams = 10.0, streams
    load.fill(run, [launch([block([latency_ms] * 20 * streams, done_ms)])] * 2)
    return run


def test_a_rate_that_cannot_be_sustained_is_told() -> None:
    (warning,) = load.overloaded(paced(done_ms=4000, latency_ms=900))
    assert warning.code == "OVERLOADED"
    assert "5 of 10 inferences per second" in warning.message
    assert list(load.overloaded(paced(done_ms=2000, latency_ms=30))) == []
    # The last inference's latency is a part of few.
    assert list(load.overloaded(paced(done_ms=2090, latency_ms=90))) == []
    assert list(load.overloaded(paced(done_ms=2000, latency_ms=30, streams=3))) == []
    assert len(list(load.overloaded(paced(done_ms=4000, latency_ms=300, streams=3)))) == 1


def test_a_run_is_filled() -> None:
    run = failed_run()
    run.device.memory_bytes = 1000 * MB
    run.shape.batch, run.shape.streams = 2, 2
    figures = {"stream_rss_bytes": [40 * MB, 50 * MB], "peak_rss_bytes": 50 * MB}
    load.fill(run, [launch([block([10.0] * 10, 50)], **figures)])
    assert run.throughput_per_s == pytest.approx(400)
    assert run.throughput_ci95 is None
    assert run.shape.missed_deadlines is None
    assert run.memory.per_stream_bytes == 10 * MB
    assert run.memory.streams_that_fit == 97
    assert not math.isnan(run.throughput_per_s or math.nan)
