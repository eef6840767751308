"""What must be measured for a policy's rules: as few benchmarks as they allow."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeopt_host.gate.policy import Policy
from edgeopt_host.gate.rules import Case
from edgeopt_host.metrics import Kind
from edgeopt_host.plan import EnergyPlan, Plan, StartCondition
from edgeopt_host.stats.looks import Schedule

# What lasts as long as memory takes to reach its peak: docs/concepts/measurement.md.
_BRIEF_LAUNCHES = 3


class Part(enum.Enum):
    """A benchmark of a gate, by what it is for; in this order."""

    COMPARED = "latency and throughput against the baseline"
    SPREAD = "limits on latency and throughput"
    BRIEF = "memory, size and delegated share"
    ACCURACY = "accuracy"
    ENERGY = "energy"
    SUSTAINED = "sustained load"


_PARTS = {
    Kind.EXAMPLES: Part.ACCURACY,
    Kind.ENERGY: Part.ENERGY,
    Kind.SUSTAINED: Part.SUSTAINED,
}


@dataclass
class Benchmark:
    """One benchmark on one or several devices, and the cases that it answers.

    Attributes:
        paired: candidate and baseline are measured, in turns; else the candidate alone.
        schedule: when to look; None: once, at the end.
        error_rate: for that one look.
    """

    part: Part
    paired: bool
    plan: Plan
    schedule: Schedule | None
    error_rate: float
    cases: list[Case]

    @property
    def devices(self) -> list[str]:
        return list(dict.fromkeys(case.device for case in self.cases))

    def of(self, device: str) -> list[Case]:
        return [case for case in self.cases if case.device == device]

    @property
    def energy(self) -> bool:
        return self.part is Part.ENERGY

    @property
    def evaluates(self) -> bool:
        return self.part is Part.ACCURACY


def benchmarks(
    policy: Policy,
    cases: Sequence[Case],
    base: Plan,
    *,
    baseline_at_hand: bool,
    warmups: Mapping[str, float],
) -> list[Benchmark]:
    """The benchmarks that answer all cases; those that several devices need alike are one.

    Args:
        policy: with its budgets and start conditions.
        cases: of all devices.
        base: what all plans have in common: the load's shape, the timeout.
        baseline_at_hand: the baseline is a model that can be measured, not a stored run.
        warmups: by device, seconds of warm-up of the stored run that is compared with there.
    """
    found: dict[tuple[Part, bool, float | None], list[Case]] = {}
    for device in dict.fromkeys(case.device for case in cases):
        for (part, paired), answered in _of_device(
            [case for case in cases if case.device == device], baseline_at_hand
        ).items():
            found.setdefault((part, paired, warmups.get(device)), []).extend(answered)
    order = list(Part)
    needed = []
    # Sorting is stable: what differs in its warm-up alone stays in the devices' order.
    for part, paired, warmup_s in sorted(found, key=lambda key: (order.index(key[0]), key[1])):
        answered = found[part, paired, warmup_s]
        benchmark = _benchmark(policy, part, paired, answered, _conditioned(policy, base))
        if warmup_s is not None:
            benchmark.plan = dataclasses.replace(benchmark.plan, warmup_s=warmup_s)
        needed.append(benchmark)
    return needed


def _of_device(
    cases: Sequence[Case], baseline_at_hand: bool
) -> dict[tuple[Part, bool], list[Case]]:
    parts: dict[Part, list[Case]] = {}
    for case in cases:
        parts.setdefault(_part(case), []).append(case)
    # What any launch tells needs none of its own where others are made.
    for host in (Part.COMPARED, Part.SPREAD):
        if host in parts and Part.BRIEF in parts:
            fitting = [
                case
                for case in parts[Part.BRIEF]
                if host is Part.COMPARED or not (case.rule.is_relative and baseline_at_hand)
            ]
            parts[host] += fitting
            parts[Part.BRIEF] = [case for case in parts[Part.BRIEF] if case not in fitting]
    return {
        (part, baseline_at_hand and any(case.rule.is_relative for case in answered)): answered
        for part, answered in parts.items()
        if answered
    }


def _part(case: Case) -> Part:
    rule = case.rule
    if rule.measure.sequential:
        return Part.COMPARED if rule.is_relative else Part.SPREAD
    return _PARTS.get(rule.measure.kind, Part.BRIEF)


def _benchmark(
    policy: Policy, part: Part, paired: bool, cases: list[Case], base: Plan
) -> Benchmark:
    schedule: Schedule | None = None
    quick = base.quick()
    memory = any(case.rule.measure.kind is Kind.MAXIMUM for case in cases)
    match part:
        case Part.COMPARED:
            schedule = Schedule.relative(policy.budget_s, policy.error_rate)
            plan = schedule.plan(base, memory=memory)
        case Part.SPREAD:
            schedule = Schedule.absolute(policy.absolute_budget_s, policy.error_rate)
            plan = schedule.plan(base, memory=memory)
        case Part.BRIEF:
            plan = dataclasses.replace(quick, launches=_BRIEF_LAUNCHES)
        case Part.ACCURACY:
            plan = quick
        case Part.ENERGY:
            plan = dataclasses.replace(quick, energy=base.energy or EnergyPlan())
        case Part.SUSTAINED:
            plan = base.sustained(policy.sustained_s)
    return Benchmark(part, paired, plan, schedule, policy.error_rate, cases)


def _conditioned(policy: Policy, base: Plan) -> Plan:
    """The plan with what the policy asks of the load's shape and of each launch's start."""
    given = {name: getattr(policy, name) for name in ("batch", "streams", "rate_hz")}
    plan = dataclasses.replace(base, **{k: v for k, v in given.items() if v is not None})
    if plan.rate_hz is not None:
        plan = plan.paced(plan.rate_hz)
    if policy.cooldown_below_c is None and not policy.steady_clock:
        return plan
    start = plan.start or StartCondition()
    return dataclasses.replace(
        plan,
        start=dataclasses.replace(
            start,
            max_temperature_c=policy.cooldown_below_c or start.max_temperature_c,
            steady_clock=policy.steady_clock or start.steady_clock,
        ),
    )
