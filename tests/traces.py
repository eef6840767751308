"""Latencies of known truth, made up: they drift together, and processes differ."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.signal import lfilter

from edgeopt_host.run import Block, Launch

Generator = np.random.Generator
Floats = np.ndarray[Any, np.dtype[np.float64]]


def launch(latency_ms: Floats, number: int = 0, blocks: int = 10, **figures: Any) -> Launch:
    """A launch of these latencies, cut into blocks of rounds 0, 1, …"""
    parts = np.array_split((latency_ms * 1e6).astype(np.int64), blocks)
    known: dict[str, Any] = {
        "load_ns": 10**7,
        "first_inference_ns": 2 * 10**6,
        "warmup_inferences": 20,
        "harness_overhead_ns": 300,
        "timed_ns": int(latency_ms.sum() * 1e6),
        "peak_rss_bytes": 40 * 2**20,
        "runtime_rss_bytes": 30 * 2**20,
        "model_rss_bytes": 10 * 2**20,
        "anonymous_bytes": None,
        "file_bytes": None,
        "readings": [],
        "number": number,
    }
    made = [
        Block(i * 10**8, part, int(part.sum()), round=i)
        for i, part in enumerate(parts)
        if part.size
    ]
    return Launch(**{**known, **figures}, blocks=made)


def drift(generator: Generator, count: int, correlation: float) -> Floats:
    """Standard normal values of which neighbours correlate so much: float64 (count,)."""
    noise = generator.standard_normal(count) * np.sqrt(1 - correlation**2)
    start = generator.standard_normal() * correlation
    values, _ = lfilter([1.0], [1.0, -correlation], noise, zi=[start])
    return np.asarray(values, np.float64)


def pair(
    generator: Generator,
    ratio: float,
    *,
    launches: int = 6,
    inferences: int = 200,
    noise: float = 0.05,
    correlation: float = 0.9,
    bias: float = 0.01,
) -> tuple[list[Launch], list[Launch]]:
    """Candidate and baseline around 1 ms; both share the machine's drift.

    Args:
        generator: of the randomness.
        ratio: candidate over baseline.
        launches: of each.
        inferences: of a launch.
        noise: standard deviation of the logarithm, of drift and of each subject's own alike.
        correlation: of neighbouring inferences, of the drift.
        bias: standard deviation of the logarithm of what a process is slower than the next.
    """
    made: tuple[list[Launch], list[Launch]] = ([], [])
    for number in range(launches):
        shared = noise * drift(generator, inferences, correlation)
        for into, factor in zip(made, (ratio, 1.0), strict=True):
            own = noise * generator.standard_normal(inferences)
            slower = bias * generator.standard_normal()
            into.append(launch(factor * np.exp(shared + own + slower), number))
    return made
