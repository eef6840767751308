"""Are gates right? Rates of right and wrong verdicts, coverage of intervals, and device seconds.

    scripts/bench gates record --recordings FOLDER     30 minutes: real models, really slowed
    scripts/bench gates replay --recordings FOLDER     the product's decisions over resamples of it
    scripts/bench gates limits [--recordings FOLDER]   absolute p95 limits on traces of known truth
    scripts/bench gates live N --recordings FOLDER     N gates a cell, by `edgeopt-host gate run`

Each exits with 1 when a figure is not as docs/concepts/gates.md promises.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from bench import gate_limits, gate_record
from bench.gate_replay import (
    SLOWER,
    Cell,
    Rates,
    Recording,
    fixed_launches,
    replay,
    resample,
    usual_practice,
)
from edgeopt_host.run import Launch
from edgeopt_host.stats.launches import samples_ns
from edgeopt_host.stats.looks import Schedule

BUDGET_S = 60.0
LIMIT_BUDGET_S = 180.0
ERROR_RATE = 0.05
MARGIN = 0.03
BIAS = 0.01
# What a gate says most often of a model that is slower by so much.
LIVE = ((0.0, "pass"), (MARGIN, "inconclusive"), (0.05, "fail"), (0.10, "fail"))
ROOM = (1.0, 1.1, 1.25, 0.8)

Promise = tuple[str, str, float]


class Book:
    """Promises, and whether figures keep them, give or take the Monte-Carlo error."""

    def __init__(self) -> None:
        self.broken = 0

    def check(self, rate: float, sign: str, promised: float, count: int) -> str:
        """Three standard errors of a rate near the promise are chance."""
        error = 3 * math.sqrt(promised * (1 - promised) / count)
        kept = rate <= promised + error if sign == "≤" else rate >= promised - error
        self.broken += not kept
        return f"{sign} {promised:.2f} {'ok' if kept else 'BROKEN'}"


def cells() -> Iterator[tuple[str, Cell, Sequence[Promise]]]:
    """What is replayed, and what is promised of it."""
    at_margin = (("fail", "≤", ERROR_RATE), ("pass", "≤", ERROR_RATE))
    found = {0.05: 0.85, 0.10: 0.99}
    for bias in (0.0, BIAS):
        named = f", processes differ by {BIAS:.0%}" if bias else ""
        unsure = (("fail", "≤", 0.01), ("inconclusive", "≤", 0.05))
        yield f"the same{named}", Cell(0.0, MARGIN, bias), unsure
        yield f"at the margin{named}", Cell(MARGIN, MARGIN, bias), at_margin
        for slower, share in found.items():
            yield f"{slower:+.0%}{named}", Cell(slower, MARGIN, bias), [("fail", "≥", share)]


def replay_all(recordings: Sequence[Recording], gates: int, book: Book) -> None:
    schedule = Schedule.relative(BUDGET_S, ERROR_RATE)
    print(f"{schedule}\n{gates} gates a cell: Monte-Carlo error at .05 {_error(0.05, gates):.4f}\n")
    for recording in recordings:
        count = len(recording.launches[0])
        print(f"{recording.name}: {count} launches of {_seconds(recording):.1f} s recorded")
        told = []
        for name, cell, promises in cells():
            rates = replay(recording, cell, schedule, gates, seed=1)
            shares = {
                "fail": rates.fail,
                "pass": rates.passed,
                "inconclusive": 1 - rates.fail - rates.passed,
            }
            checks = [
                f"{what} {book.check(shares[what], sign, limit, gates)}"
                for what, sign, limit in promises
            ]
            print(f"  {name:40} {rates}  {', '.join(checks)}", flush=True)
            if cell.truth != cell.margin and not cell.bias:
                told.append((cell, rates))
        _device_seconds(recording, told, schedule, gates)
        for subject, slower in list(enumerate(SLOWER))[1:]:
            share, of = usual_practice(recording, subject)
            print(f"  30 runs each, means, 5 %, true {slower:+.0%}: fail {share:.2f} of {of} pairs")
        print(flush=True)


def _device_seconds(
    recording: Recording, told: Sequence[tuple[Cell, Rates]], schedule: Schedule, gates: int
) -> None:
    fixed = fixed_launches(recording, told, schedule, ERROR_RATE, gates)
    seconds = 2 * fixed * schedule.launch_s
    medians = [float(np.median(rates.seconds)) for _, rates in told]
    shares = "  ".join(
        f"{cell.truth:+.0%}: {median:.1f} s = {median / seconds:.2f}"
        for (cell, _), median in zip(told, medians, strict=True)
    )
    print(f"  a fixed sample that decides these as often: {fixed} launches, {seconds:.0f} s")
    print(f"  median device seconds, and over the fixed sample's: {shares}")


def limits(recordings: Sequence[Recording], rounds: int, book: Book) -> None:
    schedule = Schedule.absolute(LIMIT_BUDGET_S, ERROR_RATE)
    print(f"{schedule}\n{rounds} traces: Monte-Carlo error at .05 {_error(0.05, rounds):.4f}\n")
    for kind in gate_limits.KINDS:
        held = gate_limits.coverage(kind, schedule, rounds, seed=1)
        told = "  ".join(
            f"{name} {share:.3f} {book.check(share, '≥', 0.90, rounds)} "
            f"{book.check(share, '≤', 0.99, rounds)}"
            for name, share in zip(("p50", "p95"), held, strict=True)
        )
        print(f"{kind.name}: intervals hold the truth: {told}")

        def launches(generator: np.random.Generator, kind: gate_limits.Kind = kind) -> list[Launch]:
            return gate_limits.trace(kind.launch, generator, schedule)

        _print_limits(launches, kind.truth(95), schedule, rounds, book)
    for recording in recordings:
        alone = recording.launches[0]
        truth = float(np.percentile(np.concatenate([samples_ns(one) for one in alone]), 95))
        print(f"{recording.name}: recorded, p95 {truth / 1e6:.3f} ms over all of it")

        def drawn(generator: np.random.Generator, alone: Sequence[Launch] = alone) -> list[Launch]:
            return resample([[(one, one)] for one in alone], schedule, 0.0, generator)[0]

        _print_limits(drawn, truth / 1e6, schedule, rounds, book)


def _print_limits(
    launches: Callable[[np.random.Generator], list[Launch]],
    truth_ms: float,
    schedule: Schedule,
    rounds: int,
    book: Book,
) -> None:
    limits_ms = [room * truth_ms for room in ROOM]
    results = gate_limits.gates(launches, limits_ms, schedule, rounds, seed=2)
    for room, (fail, passed, seconds) in zip(ROOM, results, strict=True):
        checks = []
        if room == 1.0:
            checks = [book.check(rate, "≤", ERROR_RATE, rounds) for rate in (fail, passed)]
        elif room == 1.25:
            checks = [f"pass {book.check(passed, '≥', 0.95, rounds)}"]
        print(
            f"  limit at {room:.2f} p95: fail {fail:.3f}  pass {passed:.3f}  "
            f"median {seconds:.0f} s  {', '.join(checks)}",
            flush=True,
        )


def live(
    recordings: Sequence[Recording], gates: int, count: int, only: float | None, book: Book
) -> None:
    """Whether gates held by the command end as often as those that were replayed."""
    from scipy.stats import binomtest

    schedule = Schedule.relative(BUDGET_S, ERROR_RATE)
    for recording in recordings:
        case = next(case for case in gate_record.CASES if case.name == recording.name.split("-")[0])
        for slower, right in LIVE:
            if only is not None and slower != only:
                continue
            seen = gate_record.live(case, slower, MARGIN, count)
            rates = replay(recording, Cell(slower, MARGIN), schedule, gates, seed=1)
            share = {
                "pass": rates.passed,
                "fail": rates.fail,
                "inconclusive": 1 - rates.fail - rates.passed,
            }[right]
            p = binomtest(seen.get(right, 0), count, share).pvalue
            book.broken += p < 0.01
            print(f"{case.name}, {slower:+.0%}: {seen}, replayed {right} {share:.3f}: p = {p:.3f}")


def _error(rate: float, count: int) -> float:
    return math.sqrt(rate * (1 - rate) / count)


def _seconds(recording: Recording) -> float:
    return float(np.mean([one.timed_ns for one in recording.launches[0]])) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["record", "replay", "limits", "live"])
    parser.add_argument("count", nargs="?", type=int, default=20, help="live gates a cell")
    parser.add_argument("--recordings", type=Path, help="folder of .npz files")
    parser.add_argument("--minutes", type=float, default=30.0, help="of recording, all in all")
    parser.add_argument("--gates", type=int, default=2000, help="replayed a cell")
    parser.add_argument("--traces", type=int, default=1000, help="of each kind, for limits")
    parser.add_argument("--only", default="", help="part of a model's name")
    parser.add_argument("--cell", type=float, help="of live: this slow-down alone, such as 0.03")
    parser.add_argument("--half", type=int, choices=[0, 1], help="every other launch only")
    arguments = parser.parse_args()
    folder = arguments.recordings
    if folder is None and arguments.what != "limits":
        parser.error("--recordings FOLDER is needed")
    if arguments.what == "record":
        folder.mkdir(parents=True, exist_ok=True)
        for case in gate_record.CASES:
            if arguments.only in case.name:
                seconds = 60 * arguments.minutes / len(gate_record.CASES)
                gate_record.record(case, seconds).write(folder / f"{case.name}.npz")
        return
    files = sorted(folder.glob("*.npz")) if folder else []
    recordings = [Recording.read(file) for file in files if arguments.only in file.stem]
    if arguments.half is not None:
        recordings = [recording.half(arguments.half) for recording in recordings]
    book = Book()
    if arguments.what == "replay":
        replay_all(recordings, arguments.gates, book)
    elif arguments.what == "limits":
        limits(recordings, arguments.traces, book)
    else:
        live(recordings, arguments.gates, arguments.count, arguments.cell, book)
    print(f"promises broken: {book.broken}")
    sys.exit(bool(book.broken))


if __name__ == "__main__":
    main()
