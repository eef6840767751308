"""Gates replayed: the product's own decisions over resamples of recorded blocks."""

from __future__ import annotations

import collections
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt_host.run import Block, Launch
from edgeopt_host.stats import paired
from edgeopt_host.stats.looks import Schedule
from edgeopt_host.stats.paired import decide_ratio
from edgeopt_host.stats.verdict import Verdict

# Of the subjects of a recording: the first two are the same model, the others are slowed.
SLOWER = (0.0, 0.0, 0.03, 0.05, 0.10)
# How often the next launch of a resample is the one that was measured next: drift from launch to
# launch stays in.
_STAY = 0.8
_ROUNDS_AT_LEAST = 2

Generator = np.random.Generator
Pair = tuple[Launch, Launch]


class Recording:
    """Blocks of one model and its slowed variants, measured in turns.

    Args:
        name: of the model.
        launches: by subject; all have the same launches and rounds.
        usual: means of 30 inferences, ns: (launches, subjects).
    """

    def __init__(
        self, name: str, launches: Sequence[Sequence[Launch]], usual: np.ndarray[Any, Any]
    ) -> None:
        self.name = name
        self.launches = launches
        self.usual = usual

    @classmethod
    def read(cls, file: Path) -> Recording:
        """What `write` wrote."""
        with np.load(file) as saved:
            rows, latency, usual = saved["blocks"], saved["latency"], saved["usual"]
        ends = np.cumsum(rows[:, 5])
        blocks: dict[tuple[int, int], list[Block]] = collections.defaultdict(list)
        for row, end in zip(rows.tolist(), ends.tolist(), strict=True):
            launch, round_, subject, start, duration, count = row
            block = Block(start, latency[end - count : end], duration, round=round_)
            blocks[subject, launch].append(block)
        subjects = range(rows[:, 2].max() + 1)
        numbers = range(rows[:, 0].max() + 1)
        means = np.full((len(numbers), len(subjects)), np.nan)
        for launch, subject, mean in usual:
            means[int(launch), int(subject)] = mean
        made = [[_launch(number, blocks[s, number]) for number in numbers] for s in subjects]
        return cls(file.stem, made, means)

    def write(self, file: Path) -> None:
        """As one .npz: a row per block, and all latencies."""
        rows = [
            (launch.number, b.round, subject, b.start_ns, b.duration_ns, b.latency_ns.size)
            for subject, launches in enumerate(self.launches)
            for launch in launches
            for b in launch.blocks
        ]
        samples = [b.latency_ns for ls in self.launches for one in ls for b in one.blocks]
        usual = [(i, j, mean) for (i, j), mean in np.ndenumerate(self.usual)]
        np.savez_compressed(
            file, blocks=np.array(rows), latency=np.concatenate(samples), usual=np.array(usual)
        )

    def half(self, which: int) -> Recording:
        """Every other launch: to choose a method on one half and check it on the other."""
        launches = [launches[which::2] for launches in self.launches]
        return Recording(self.name, launches, self.usual[which::2])

    def scaled(self, subject: int, factor: float) -> list[Launch]:
        """A subject's launches, as if it took so much longer."""
        return [_scaled(launch, factor) for launch in self.launches[subject]]


@dataclass(frozen=True)
class Cell:
    """What is gated again and again.

    Args:
        truth: candidate over baseline less one. Up to the margin the two are the same model, which
            changes sides from launch to launch, and one is scaled: that is the truth by
            construction. Beyond, the really slowed one is scaled to have exactly this.
        margin: of the rule.
        bias: standard deviation by which every process is slower or faster for all its life.
        statistic: of the rule.
    """

    truth: float
    margin: float = 0.03
    bias: float = 0.0
    statistic: str = "p50"


@dataclass(frozen=True)
class Rates:
    """Shares of verdicts of a cell, and how long each gate took."""

    fail: float
    passed: float
    seconds: np.ndarray[Any, Any]
    looks: float

    def __str__(self) -> str:
        rest = 1 - self.fail - self.passed
        return (
            f"fail {self.fail:.3f}  pass {self.passed:.3f}  inconclusive {rest:.3f}  "
            f"seconds {np.median(self.seconds):4.1f} (p90 {np.percentile(self.seconds, 90):4.1f})"
        )


def replay(recording: Recording, cell: Cell, schedule: Schedule, gates: int, seed: int) -> Rates:
    """Gates over resamples of a recording, each as `gate run` would hold it."""
    generator = np.random.default_rng(seed)
    places = prepared(recording, cell, schedule.launch_s)
    counts: collections.Counter[Verdict] = collections.Counter()
    seconds = np.empty(gates)
    looks = 0
    for gate in range(gates):
        mine, theirs = resample(places, schedule, cell.bias, generator)
        verdict = Verdict.INCONCLUSIVE
        for done in sorted(schedule.looks):
            looks += 1
            decision = decide_ratio(
                mine[:done], theirs[:done], cell.statistic, cell.margin, schedule.looks[done]
            )
            verdict = decision.verdict
            seconds[gate] = sum(one.timed_ns for one in (*mine[:done], *theirs[:done])) / 1e9
            if verdict is not Verdict.INCONCLUSIVE:
                break
        counts[verdict] += 1
    if counts[Verdict.NOT_MEASURABLE]:
        raise RuntimeError("a comparison failed")
    return Rates(counts[Verdict.FAIL] / gates, counts[Verdict.PASS] / gates, seconds, looks / gates)


def prepared(recording: Recording, cell: Cell, seconds: float) -> list[list[Pair]]:
    """For each recorded launch, the pairs of candidate and baseline that it may stand for."""
    first, second = recording.launches[:2]
    if cell.truth <= cell.margin:
        scaled = [recording.scaled(subject, 1 + cell.truth) for subject in (0, 1)]
        return [
            [(mine, other), (also, one)]
            for mine, other, also, one in zip(scaled[1], first, scaled[0], second, strict=True)
        ]
    subject = int(np.argmin([abs(cell.truth - slower) for slower in SLOWER]))
    seen = true_ratio(recording.launches[subject], first, cell.statistic, seconds)
    candidate = recording.scaled(subject, (1 + cell.truth) / seen)
    return [[pair] for pair in zip(candidate, first, strict=True)]


def true_ratio(
    candidate: Sequence[Launch], baseline: Sequence[Launch], statistic: str, seconds: float
) -> float:
    """The median over cuts of so many seconds: a launch that was disturbed does not move it."""
    logs = []
    for mine, theirs in zip(candidate, baseline, strict=True):
        rounds = rounds_for(mine, theirs, seconds)
        for first in range(0, max(1, len(theirs.blocks) - rounds + 1), max(1, rounds // 3)):
            cut = slice(first, first + rounds)
            both = (_launch(0, mine.blocks[cut]), _launch(0, theirs.blocks[cut]))
            logs.append(math.log(paired.ratio([both[0]], [both[1]], statistic).value))
    return math.exp(statistics.median(logs))


def resample(
    places: Sequence[Sequence[Pair]], schedule: Schedule, bias: float, generator: Generator
) -> tuple[list[Launch], list[Launch]]:
    """Launches of a gate: runs of launches that followed each other, a stretch of rounds of each."""
    mine: list[Launch] = []
    theirs: list[Launch] = []
    place = int(generator.integers(len(places)))
    for number in range(schedule.launches):
        if generator.random() < _STAY:
            place = (place + 1) % len(places)
        else:
            place = int(generator.integers(len(places)))
        one, other = places[place][int(generator.integers(len(places[place])))]
        rounds = rounds_for(one, other, schedule.launch_s)
        first = int(generator.integers(max(1, len(other.blocks) - rounds + 1)))
        for launch, into in ((one, mine), (other, theirs)):
            cut = _launch(number, launch.blocks[first : first + rounds])
            slower = math.exp(bias * generator.standard_normal()) if bias else 1.0
            into.append(cut if slower == 1.0 else _scaled(cut, slower))
    return mine, theirs


def rounds_for(one: Launch, other: Launch, seconds: float) -> int:
    """How many rounds a launch of so many seconds each has."""
    per_round = (one.timed_ns + other.timed_ns) / 2e9 / len(other.blocks)
    wanted = max(_ROUNDS_AT_LEAST, math.ceil(seconds / per_round))
    return min(wanted, len(other.blocks))


def fixed_launches(
    recording: Recording,
    cells: Sequence[tuple[Cell, Rates]],
    schedule: Schedule,
    error_rate: float,
    gates: int,
) -> int:
    """Launches of the smallest fixed sample that decides all cells as often as looks do.

    It is tested once, at the whole error rate, and as it must be chosen before the truth is known,
    one size is for all cells.
    """
    low, high = 3, 2 * schedule.launches
    while low < high:
        middle = (low + high) // 2
        fixed = Schedule(middle, schedule.launch_s, {middle: error_rate})
        if all(
            _decides(cell, replay(recording, cell, fixed, gates, 7)) >= _decides(cell, rates)
            for cell, rates in cells
        ):
            high = middle
        else:
            low = middle + 1
    return low


def _decides(cell: Cell, rates: Rates) -> float:
    """How often the right verdict is given."""
    return rates.passed if cell.truth < cell.margin else rates.fail


def usual_practice(recording: Recording, subject: int) -> tuple[float, int]:
    """How often "30 runs each, compare means, 5 %" calls a subject a regression, and of how many."""
    ratios = recording.usual[:, subject] / recording.usual[:, 0]
    # Launches without such a trial have none.
    ratios = ratios[np.isfinite(ratios)]
    return float((ratios > 1.05).mean()), ratios.size


def _launch(number: int, blocks: Sequence[Block]) -> Launch:
    timed = sum(block.duration_ns for block in blocks)
    return Launch(1, 1, 20, 0, timed, None, None, None, None, None, list(blocks), [], number)


def _scaled(launch: Launch, factor: float) -> Launch:
    blocks = [
        replace(
            block,
            latency_ns=np.rint(block.latency_ns * factor).astype(np.int64),
            duration_ns=round(block.duration_ns * factor),
        )
        for block in launch.blocks
    ]
    return _launch(launch.number, blocks)
