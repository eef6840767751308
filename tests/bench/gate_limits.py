"""Limits on p95, and intervals of p50 and p95, on traces whose truth is known."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

import traces
from edgeopt_host.run import Launch
from edgeopt_host.stats import absolute
from edgeopt_host.stats.looks import Schedule
from edgeopt_host.stats.verdict import Verdict

Generator = np.random.Generator
# Of the slowest inferences that are simulated, in ms; a 9 s launch then has 1800.
_TYPICAL_MS = 5.0
_SPREAD = 0.3
_EPISODE_S = 2.0
_EPISODE_SHARE = 0.2
_EPISODE_FACTOR = 2.5
BLOCKS = 40


@dataclass(frozen=True)
class Kind:
    """Latencies around 5 ms, log-normal with a spread of 30 %.

    Args:
        name: for the table.
        correlation: of neighbouring inferences, of the half of the variance that drifts.
        bias: standard deviation by which processes differ.
        episodes: a fifth of the time, for 2 s on average, everything takes 2.5 times as long.
    """

    name: str
    correlation: float
    bias: float = 0.0
    episodes: bool = False

    def launch(self, generator: Generator, number: int, seconds: float) -> Launch:
        count = round(1000 * seconds / _TYPICAL_MS)
        own = generator.standard_normal(count)
        values = (traces.drift(generator, count, self.correlation) + own) / np.sqrt(2)
        log = _SPREAD * values + self.bias * generator.standard_normal()
        if self.episodes:
            log = log + np.log(_EPISODE_FACTOR) * _episodes(generator, count)
        return traces.launch(_TYPICAL_MS * np.exp(log), number, BLOCKS)

    def truth(self, percent: float) -> float:
        """The percentile of all launches there could be."""
        spread = float(np.hypot(_SPREAD, self.bias))
        share = _EPISODE_SHARE if self.episodes else 0.0

        def below(log: float) -> float:
            slow = ndtr((log - np.log(_EPISODE_FACTOR)) / spread)
            return float((1 - share) * ndtr(log / spread) + share * slow - percent / 100)

        return _TYPICAL_MS * float(np.exp(brentq(below, -10, 10)))


KINDS = (
    Kind("independent", 0.0),
    Kind("drift over 100 inferences", 0.99),
    Kind("drift over 300 inferences", 0.9967),
    Kind("drift, processes differ by 2 %", 0.99, bias=0.02),
    Kind("drift, processes differ by 10 %", 0.99, bias=0.10),
    Kind("drift and slow episodes", 0.99, episodes=True),
)


def coverage(kind: Kind, schedule: Schedule, rounds: int, seed: int) -> tuple[float, float]:
    """How often the intervals of p50 and p95 hold the truth."""
    generator = np.random.default_rng(seed)
    held: collections.Counter[float] = collections.Counter()
    for _ in range(rounds):
        launches = trace(kind.launch, generator, schedule)
        for percent in (50.0, 95.0):
            estimate = absolute.percentile(launches, percent)
            held[percent] += estimate.low <= kind.truth(percent) <= estimate.high
    return held[50.0] / rounds, held[95.0] / rounds


def gates(
    launches: Callable[[Generator], Sequence[Launch]],
    limits_ms: Sequence[float],
    schedule: Schedule,
    rounds: int,
    seed: int,
) -> list[tuple[float, float, float]]:
    """Of "p95 at most the limit": shares of FAIL and PASS, and the median of the seconds.

    All limits are held against the same traces.
    """
    generator = np.random.default_rng(seed)
    counts: list[collections.Counter[Verdict]] = [collections.Counter() for _ in limits_ms]
    seconds: list[list[float]] = [[] for _ in limits_ms]
    for _ in range(rounds):
        made = launches(generator)
        for limit, count, spent in zip(limits_ms, counts, seconds, strict=True):
            for done in sorted(schedule.looks):
                decision = absolute.decide_percentile(made[:done], 95, limit, schedule.looks[done])
                if decision.verdict is not Verdict.INCONCLUSIVE:
                    break
            count[decision.verdict] += 1
            spent.append(done * schedule.launch_s)
    if any(count[Verdict.NOT_MEASURABLE] for count in counts):
        raise RuntimeError("a comparison failed")
    return [
        (
            count[Verdict.FAIL] / rounds,
            count[Verdict.PASS] / rounds,
            float(np.median(spent)),
        )
        for count, spent in zip(counts, seconds, strict=True)
    ]


def trace(
    make: Callable[[Generator, int, float], Launch], generator: Generator, schedule: Schedule
) -> list[Launch]:
    """The launches of one gate."""
    return [make(generator, i, schedule.launch_s) for i in range(schedule.launches)]


def _episodes(generator: Generator, count: int) -> np.ndarray:
    """Which inferences fall into an episode: 0 or 1, float64 (count,)."""
    length = _EPISODE_S * 1000 / _TYPICAL_MS
    lengths = (length * (1 - _EPISODE_SHARE) / _EPISODE_SHARE, length)
    inside = generator.random() < _EPISODE_SHARE
    made = np.zeros(count)
    place = 0
    while place < count:
        ends = place + 1 + int(generator.exponential(lengths[inside]))
        made[place:ends] = inside
        place, inside = ends, not inside
    return made
