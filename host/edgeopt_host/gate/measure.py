"""Has a gate's benchmarks measured, and decides at each planned look what can be decided."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from edgeopt_host.blame import is_innocent
from edgeopt_host.fingerprint import Fingerprint
from edgeopt_host.gate import failures
from edgeopt_host.gate.plan import Benchmark, Part
from edgeopt_host.gate.rules import Case, correct_for_many, invalid, of_latency
from edgeopt_host.looks import Answer, Judge
from edgeopt_host.plan import Plan
from edgeopt_host.run import Run
from edgeopt_host.stats.launches import counted
from edgeopt_host.validity import without_latency

_NS = 1e9


class Measure(Protocol):
    """Measures models on devices, several models in turns; `Bench.compare` does."""

    def __call__(
        self,
        models: Sequence[Path],
        *,
        devices: Sequence[str],
        plan: Plan,
        judge: Judge | None,
        energy: bool,
        evaluates: bool,
    ) -> list[list[Run]]:
        """One list per device, of one run per model in their order; what failed says why."""


@dataclasses.dataclass
class Bout:
    """A gate's candidate and baseline, and how they are measured.

    Attributes:
        candidate: the model; None: `candidates` has stored runs.
        baseline: the model; None: `baselines` has stored runs, or there is no baseline.
        candidates: stored runs with their launches, by device.
        baselines: the same.
    """

    candidate: Path | None = None
    baseline: Path | None = None
    candidates: Mapping[str, Run] = dataclasses.field(default_factory=dict)
    baselines: Mapping[str, Run] = dataclasses.field(default_factory=dict)


def decide_stored(cases: Sequence[Case], bout: Bout, error_rate: float) -> list[Run]:
    """Decides by stored runs alone; returns those that were used."""
    used: dict[str, Run] = {}
    for case in cases:
        candidate = bout.candidates[case.device]
        baseline = bout.baselines.get(case.device) if case.rule.is_relative else None
        for run in (candidate, baseline):
            if run is not None:
                used[run.id or ""] = run
        case.candidate, case.baseline = candidate, baseline
        if reason := _failed(candidate) or _failed(baseline) or _incomparable(candidate, baseline):
            case.give_up(reason)
        case.look(candidate, baseline, error_rate, 0.0, _siblings(cases))
    correct_for_many(cases)
    return list(used.values())


def measure_all(
    benchmarks: Sequence[Benchmark],
    bout: Bout,
    measure: Measure,
    known: Callable[[Run, Plan], str | None],
) -> list[Run]:
    """Measures and decides; returns every run, stored baselines that were used among them.

    Args:
        benchmarks: with their cases.
        bout: candidate and baseline.
        measure: measures.
        known: why a run by this plan cannot be compared with a stored one, as far as that is known
            before; None: it may be.

    Raises:
        EdgeoptError: what `measure` raises for all devices; what fails on one is in its runs.
    """
    runs: list[Run] = []
    gone: dict[str, str] = {}
    siblings = _siblings([case for benchmark in benchmarks for case in benchmark.cases])
    for benchmark in benchmarks:
        for case in benchmark.cases:
            stored = bout.baselines.get(case.device)
            if not case.rule.is_relative or stored is None:
                reason = None
            else:
                reason = known(stored, benchmark.plan)
            if reason:
                case.give_up(reason)
            if case.device in gone:
                case.give_up(gone[case.device])
        devices = [
            device
            for device in benchmark.devices
            if device not in gone and not all(case.final for case in benchmark.of(device))
        ]
        if not devices:
            continue
        for measured in _measure(benchmark, devices, bout, measure, siblings):
            runs += measured
            error = measured[0].error
            # Whoever has been silent for that long will not take the next benchmark either.
            if error is not None and error.reason == "UNREACHABLE":
                gone[measured[0].device.name] = error.message
    correct_for_many([case for benchmark in benchmarks for case in benchmark.cases])
    used = {
        case.baseline.id: case.baseline for b in benchmarks for case in b.cases if case.baseline
    }
    measured_ids = {run.id for run in runs}
    return failures.once(runs) + [run for run_id, run in used.items() if run_id not in measured_ids]


def _measure(
    benchmark: Benchmark, devices: list[str], bout: Bout, measure: Measure, siblings: int
) -> list[list[Run]]:
    """The benchmark's runs, one list per device; its cases are settled."""
    assert bout.candidate is not None  # noqa: S101 - else nothing is measured
    both = benchmark.paired and bout.baseline is not None
    models = [bout.candidate, bout.baseline] if both and bout.baseline else [bout.candidate]
    # In turns, one model would cool the device for the other.
    groups = [[model] for model in models] if benchmark.part is Part.SUSTAINED else [models]
    judge = _Judge(benchmark, bout.baselines, siblings)
    found: dict[str, list[Run]] = {}
    for group in groups:
        measured = measure(
            group,
            devices=devices,
            plan=benchmark.plan,
            judge=judge if benchmark.schedule is not None else None,
            energy=benchmark.energy,
            evaluates=benchmark.evaluates,
        )
        for runs in measured:
            found.setdefault(runs[0].device.name, []).extend(runs)
    for runs in found.values():
        judge.end(runs)
    return list(found.values())


class _Judge:
    """Decides the open cases of a benchmark at its planned looks, on several devices at once."""

    def __init__(self, benchmark: Benchmark, stored: Mapping[str, Run], siblings: int) -> None:
        self._benchmark = benchmark
        self._stored = stored
        self._siblings = siblings
        # By device: after how many launches that count the last look was.
        self._looked: dict[str, int] = {}
        # Devices that were told to stop: they may not have heard it, and there is no error rate left.
        self._stopped: set[str] = set()

    def __call__(self, runs: Sequence[Run]) -> Answer:
        """After each launch; the last look comes early when the budget is spent."""
        device = runs[0].device.name
        if device in self._stopped:
            return Answer.STOP
        try:
            answer = self._answer(device, runs)
        except Exception as error:  # noqa: BLE001 - a bug here must not read as a verdict
            for case in self._benchmark.of(device):
                case.give_up(f"internal error, a bug in edgeopt: {type(error).__name__}: {error}")
            answer = Answer.STOP
        if answer is Answer.STOP:
            self._stopped.add(device)
        return answer

    def _answer(self, device: str, runs: Sequence[Run]) -> Answer:
        schedule = self._benchmark.schedule
        if schedule is None:
            return Answer.CONTINUE
        done = _done(runs)
        spent = _seconds(runs) >= schedule.launches * schedule.launch_s * len(runs)
        alpha = schedule.last_alpha(done) if spent else schedule.alpha(done)
        if alpha is not None and done > self._looked.get(device, 0):
            self._look(device, runs, alpha)
        settled = all(case.settled for case in self._benchmark.of(device))
        return Answer.STOP if settled or spent else Answer.CONTINUE

    def end(self, runs: Sequence[Run]) -> None:
        """The last look: at what no look has seen, or once where none was planned."""
        device, schedule = runs[0].device.name, self._benchmark.schedule
        baseline = self._baseline(device, runs)
        for case in self._benchmark.of(device):
            case.candidate = runs[0]
            case.baseline = baseline if case.rule.is_relative else None
            _by_file(case, runs)
            for run in (case.candidate, case.baseline):
                if run is not None and (reason := _why_not(case, run, runs)):
                    case.give_up(reason)
        done = _done(runs)
        alpha: float | None = self._benchmark.error_rate
        if schedule is not None:
            alpha = None if device in self._stopped else schedule.last_alpha(done)
        if schedule is None or done > self._looked.get(device, 0) or not done:
            self._look(device, runs, alpha)

    def _look(self, device: str, runs: Sequence[Run], alpha: float | None) -> None:
        """Has the cases decide; without an error rate only those that do not spend any here."""
        baseline = self._baseline(device, runs)
        stored = baseline if len(runs) == 1 else None
        for case in self._benchmark.of(device):
            relative = case.rule.is_relative
            if relative and (reason := _incomparable(runs[0], stored)):
                case.give_up(reason)
            # What does not depend on looks spends its error rate once, whenever that is.
            level = alpha if case.rule.measure.sequential else self._benchmark.error_rate
            if level is not None:
                held = baseline if relative else None
                case.look(
                    case.candidate or runs[0],
                    held and (case.baseline or held),
                    level,
                    _seconds(runs),
                    self._siblings,
                )
        self._looked[device] = _done(runs)

    def _baseline(self, device: str, runs: Sequence[Run]) -> Run | None:
        return runs[1] if len(runs) > 1 else self._stored.get(device)


def _why_not(case: Case, run: Run, runs: Sequence[Run]) -> str | None:
    """Why a run of a benchmark, or the stored one, decides nothing in the end."""
    if run.error is not None:
        return failures.reason(runs)
    if reason := invalid(run):
        return reason
    if of_latency(case.rule) and (reason := without_latency(run)):
        return f"{run.model.name}: {reason}"
    return None


def _by_file(case: Case, runs: Sequence[Run]) -> None:
    """A file's size is known whatever became of the other model's run."""
    if case.rule.metric != "size_mb":
        return
    for role in ("candidate", "baseline"):
        run = getattr(case, role)
        if run is not None and run.error is not None and is_innocent(run, runs):
            setattr(case, role, dataclasses.replace(run, error=None))


def _done(runs: Sequence[Run]) -> int:
    """Launches that count, of all runs."""
    return min(len(counted(run.launches)) for run in runs)


def _seconds(runs: Sequence[Run]) -> float:
    return sum(launch.timed_ns for run in runs for launch in run.launches) / _NS


def _siblings(cases: Sequence[Case]) -> int:
    return max(1, sum(case.no_margin for case in cases))


def _failed(run: Run | None) -> str | None:
    if run is None or run.error is None:
        return None
    return f"run {run.id} failed ({run.error.reason}): {run.error.message}"


def _incomparable(candidate: Run, stored: Run | None) -> str | None:
    """How a stored run differs from the candidate in what both must have in common."""
    if (
        stored is None
        or candidate.error
        or stored.error
        or (
            candidate.paired
            and stored.paired
            and candidate.paired.benchmark == stored.paired.benchmark
        )
    ):
        return None
    differences = Fingerprint.of(stored).differences(Fingerprint.of(candidate))
    if not differences:
        return None
    return f"run {stored.id} cannot be compared with this one: {'; '.join(differences)}"
