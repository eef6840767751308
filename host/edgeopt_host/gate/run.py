"""Runs a gate: from a policy, devices and models to verdicts."""

from __future__ import annotations

import dataclasses
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from edgeopt_host import baselines
from edgeopt_host.errors import UsageError
from edgeopt_host.gate.known import Asked
from edgeopt_host.gate.measure import Bout, Measure, decide_stored, measure_all
from edgeopt_host.gate.plan import benchmarks
from edgeopt_host.gate.policy import Policy, Rule
from edgeopt_host.gate.result import GateResult, RuleResult, RunWarning, whole
from edgeopt_host.gate.rules import Case, limit, point
from edgeopt_host.inventory import Device, Inventory
from edgeopt_host.metrics import Kind
from edgeopt_host.modelfile import ModelFile
from edgeopt_host.plan import Execution, Plan
from edgeopt_host.run import Run
from edgeopt_host.stats.verdict import Decision, Verdict, not_measurable
from edgeopt_host.store import RunStore


@dataclasses.dataclass(frozen=True)
class Gate:
    """What is asked of a gate, checked against each other.

    Attributes:
        policy: its rules.
        path: the policy's file, as it was given.
        devices: those of the gate, in the inventory's order.
        bout: candidate and baseline.
        candidate: as it was given.
        baseline: as it was given; None: none.
    """

    policy: Policy
    path: Path
    devices: Sequence[Device]
    bout: Bout
    candidate: str
    baseline: str | None

    @classmethod
    def of(
        cls,
        policy: Policy,
        path: Path,
        inventory: Inventory,
        store: RunStore,
        *,
        devices: Sequence[str],
        tags: Sequence[str],
        candidate: str,
        baseline: str | None,
        data: Path | None,
    ) -> Gate:
        """Finds what was named, and refuses what cannot be decided, before anything is measured.

        Raises:
            UsageError: for an unknown device, tag, run or baseline, a baseline or data that a rule
                needs and nobody gave, and what does not go together.
            StoreError: when stored runs cannot be read.
        """
        _check_names(policy, path, inventory)
        candidates: dict[str, Run] = {}
        if not _is_file(candidate):
            run = _stored_candidate(store, candidate)
            candidates = {run.device.name: run}
            # The run itself says where it was measured.
            devices = devices if devices or tags else [run.device.name]
        chosen = inventory.select(devices, tags)
        if candidates and [device.name for device in chosen] != list(candidates):
            (here,) = candidates
            raise UsageError(
                f"run {candidate} was measured on {here}: give no other --device, and no --tag"
            )
        applying = [rule for rule in policy.rules if _applies(rule, chosen)]
        _check_all_apply(policy, applying, path, chosen)
        _check_given(applying, path, baseline, data, measures=not candidates)
        relative = [
            device.name
            for device in chosen
            if any(r.is_relative and r.applies_to(device.name, device.tags) for r in applying)
        ]
        stored = {}
        if baseline is not None and not _is_file(baseline):
            stored = {name: _stored_baseline(store, baseline, name) for name in relative}
        elif baseline is not None and candidates and relative:
            raise UsageError(
                f"run {candidate} is stored and the baseline {baseline} is a model: give the candidate's "
                "model, to measure both in turns, or a stored baseline"
            )
        bout = Bout(
            None if candidates else Path(candidate),
            Path(baseline) if baseline is not None and _is_file(baseline) else None,
            candidates,
            stored,
        )
        return cls(policy, path, chosen, bout, candidate, baseline)

    @property
    def left_out(self) -> list[Rule]:
        """Advisory rules that are for none of the devices."""
        return [rule for rule in self.policy.rules if not _applies(rule, self.devices)]

    def decide(
        self, measure: Measure, base: Plan, execution: Execution | None = None
    ) -> GateResult:
        """Measures what must be measured, and decides every rule on every device it is for.

        Args:
            measure: `Bench.compare`, or what stands in for it.
            base: what all plans have in common.
            execution: how `measure` has models executed: what a stored baseline must have in common
                with it is checked before anything is measured.

        Raises:
            EdgeoptError: what ends all measuring; what fails on one device is in its verdicts.
        """
        cases = [
            Case(rule, device.name)
            for rule in self.policy.rules
            for device in self.devices
            if rule.applies_to(device.name, device.tags)
        ]
        if self.bout.candidate is None:
            runs = decide_stored(cases, self.bout, self.policy.error_rate)
        else:
            at_hand = self.bout.baseline is not None
            needed = benchmarks(
                self.policy,
                cases,
                base,
                baseline_at_hand=at_hand,
                warmups=_warmups(self.bout.baselines),
            )
            known = Asked(execution or Execution(), self._runtime())
            runs = measure_all(needed, self.bout, measure, known.differences)
        rules = [_result(self.policy, case) for case in cases]
        return GateResult(
            whole(rules),
            rules,
            runs,
            str(self.path),
            datetime.now(timezone.utc).isoformat(timespec="seconds"),
            shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            self.candidate,
            self.baseline,
            _warnings(cases),
        )

    def _runtime(self) -> str | None:
        """That of the candidate's file, where it matters."""
        if self.bout.candidate is None or not self.bout.baselines:
            return None
        return ModelFile.open(self.bout.candidate).format


def _warnings(cases: Sequence[Case]) -> list[RunWarning]:
    """Of all runs, each once; a benchmark's candidate and baseline are those of its cases."""
    found = [
        RunWarning(case.device, role, warning.code, warning.message)
        for case in cases
        for role, run in (("candidate", case.candidate), ("baseline", case.baseline))
        if run is not None
        for warning in run.warnings
    ]
    return list(dict.fromkeys(found))


def _check_names(policy: Policy, path: Path, inventory: Inventory) -> None:
    """A misspelt device or tag would be a rule that is never held against anything."""
    rule: Rule | None = None
    try:
        for rule in policy.rules:
            inventory.select(rule.devices, rule.tags)
    except UsageError as error:
        line = "" if rule is None else f", line {rule.line}"
        raise UsageError(f"{path}{line}: {error.message}") from error


def _applies(rule: Rule, devices: Sequence[Device]) -> bool:
    return any(rule.applies_to(device.name, device.tags) for device in devices)


def _check_all_apply(
    policy: Policy, applying: Sequence[Rule], path: Path, chosen: Sequence[Device]
) -> None:
    """What is required and held against nothing would read as held."""
    names = ", ".join(device.name for device in chosen)
    for rule in policy.rules:
        if rule.required and rule not in applying:
            whose = [f"tagged {tag}" for tag in rule.tags]
            whose += [f"called {name}" for name in rule.devices]
            raise UsageError(
                f"{path}, line {rule.line}: {rule.metric} is required on devices that are "
                f"{' or '.join(whose)}, and of those chosen ({names}) none is: choose one with --device or "
                "--tag, or give the rule required = false"
            )
    if not applying:
        raise UsageError(f"no rule of {path} is for {names}: see its tags and devices")


def _check_given(
    rules: Sequence[Rule], path: Path, baseline: str | None, data: Path | None, *, measures: bool
) -> None:
    relative = next((rule for rule in rules if rule.is_relative), None)
    if relative is not None and baseline is None:
        raise UsageError(
            f"{path}, line {relative.line}: {relative.metric} is held against a baseline, and none was "
            "given: add --baseline MODEL, RUN or NAME"
        )
    accuracy = next((rule for rule in rules if rule.measure.kind is Kind.EXAMPLES), None)
    if accuracy is not None and data is None and measures:
        raise UsageError(
            f"{path}, line {accuracy.line}: accuracy needs labelled examples, and none were given: add "
            "--data FILE.npz"
        )


def _is_file(text: str) -> bool:
    return Path(text).is_file()


def _stored_candidate(store: RunStore, text: str) -> Run:
    try:
        return store.get(text, samples=True)
    except UsageError as error:
        raise UsageError(f"{text!r} is no file, and {error.message}") from error


def _stored_baseline(store: RunStore, text: str, device: str) -> Run:
    try:
        return baselines.resolve(store, text, device)
    except UsageError as error:
        raise UsageError(f"--baseline {text}: it is no file; {error.message}") from error


def _warmups(stored: Mapping[str, Run]) -> dict[str, float]:
    """Of stored runs, by device: with another, a run would not be comparable with them."""
    asked = {
        device: (run.request or {}).get("plan", {}).get("warmup_s")
        for device, run in stored.items()
    }
    return {device: float(seconds) for device, seconds in asked.items() if seconds is not None}


def _result(policy: Policy, case: Case) -> RuleResult:
    rule = case.rule
    decision = case.decision or not_measurable("nothing was measured for it")
    estimate = decision.estimate
    margin = rule.max_regression
    unit = rule.measure.unit
    if margin is not None:
        unit = "pt" if margin.points else "ratio"
    return RuleResult(
        metric=rule.metric,
        device=case.device,
        required=rule.required,
        verdict=decision.verdict,
        estimate=None if estimate is None else _finite(estimate.value),
        ci=(estimate.low, estimate.high) if estimate is not None and estimate.bounded else None,
        limit=limit(rule),
        looks=case.looks,
        device_seconds=case.device_seconds,
        reason=decision.reason,
        kind="relative" if rule.is_relative else "absolute",
        unit=unit,
        baseline=point(rule, case.baseline),
        candidate=point(rule, case.candidate),
        condition=rule.condition,
        advice=_advice(policy, case, decision),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _advice(policy: Policy, case: Case, decision: Decision) -> str:
    """What to do about a rule that has no verdict."""
    if decision.verdict is not Verdict.INCONCLUSIVE:
        return ""
    match case.rule.measure.kind:
        case Kind.PERCENTILE | Kind.LAUNCHES:
            if case.candidate is not None and not case.device_seconds:
                return (
                    "measure both models again in turns: give --candidate and --baseline as models"
                )
            key = "budget_s" if case.rule.is_relative else "absolute_budget_s"
            budget = policy.budget_s if case.rule.is_relative else policy.absolute_budget_s
            return f"raise {key} (now {budget:g}), or stop other work on the device"
        case Kind.EXAMPLES:
            return "give more labelled examples"
        case Kind.ENERGY:
            return "stop other work on the device, or allow a wider margin"
        case Kind.SUSTAINED:
            return f"raise sustained_s (now {policy.sustained_s:g})"
        case Kind.MAXIMUM | Kind.EXACT:
            return "measure again, or allow a wider margin"
