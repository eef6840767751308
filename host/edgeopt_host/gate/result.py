"""What a gate came to: a verdict per rule and device, and one for all."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from edgeopt_host.run import Run
from edgeopt_host.stats.verdict import Verdict

SCHEMA = "edgeopt.gate/1"

# The worst first: what the whole gate is said to be when rules differ.
SEVERITY = (Verdict.FAIL, Verdict.NOT_MEASURABLE, Verdict.INCONCLUSIVE, Verdict.PASS)
# docs/reference/exit-codes.md
EXIT_CODES = {
    Verdict.PASS: 0,
    Verdict.FAIL: 1,
    Verdict.INCONCLUSIVE: 3,
    Verdict.NOT_MEASURABLE: 4,
}


@dataclass(frozen=True)
class RuleResult:
    """One rule on one device.

    Attributes:
        estimate: of an absolute rule the metric in `unit`; of a relative one the ratio of candidate
            to baseline, or for accuracy the candidate less the baseline in points. None: not known.
        ci: its 95 % interval, low and high; None where there is none.
        limit: what the estimate is held against, on the same scale.
        looks: how often the data were looked at until the verdict.
        device_seconds: timed seconds on the device until the verdict, over both models.
        reason: why it is inconclusive or not measurable; may be empty for pass and fail.
        kind: "absolute" or "relative".
        unit: of estimate, ci and limit: the metric's, "ratio" or "pt".
        baseline: the metric of the baseline, in the metric's unit.
        candidate: the same of the candidate.
        condition: the rule's limit as it was written, such as "max 25 ms", "max_regression 3%".
        advice: what to do about an inconclusive or unmeasured rule.
    """

    metric: str
    device: str
    required: bool
    verdict: Verdict
    estimate: float | None
    ci: tuple[float, float] | None
    limit: float
    looks: int
    device_seconds: float
    reason: str
    kind: str
    unit: str
    baseline: float | None = None
    candidate: float | None = None
    condition: str = ""
    advice: str = ""

    def document(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "device": self.device,
            "required": self.required,
            "verdict": self.verdict.value,
            "estimate": self.estimate,
            "ci": None if self.ci is None else list(self.ci),
            "limit": self.limit,
            "looks": self.looks,
            "device_seconds": round(self.device_seconds, 3),
            "reason": self.reason or None,
            "kind": self.kind,
            "unit": self.unit,
            "candidate": self.candidate,
            "baseline": self.baseline,
            "condition": self.condition,
            "advice": self.advice or None,
        }


@dataclass(frozen=True)
class RunWarning:
    """What makes the figures of one of a gate's runs less than they seem.

    `role` is "candidate" or "baseline"; codes are those of docs/reference/warnings.md.
    """

    device: str
    role: str
    code: str
    message: str


@dataclass
class GateResult:
    """All rules on all devices of a gate.

    Attributes:
        verdict: the worst of the required rules.
        rules: in the policy's order, for each rule in the inventory's order of devices.
        runs: what was measured or looked up for it, candidates and baselines, with their launches.
        policy: the policy's path as it was given.
        time: when it was decided, ISO 8601 in UTC.
        command: the command line.
        candidate: the model's path or the run's id, as it was given.
        baseline: the model's path, the run's id or the baseline's name, as it was given.
        warnings: of its runs, each once.
    """

    verdict: Verdict
    rules: list[RuleResult]
    runs: list[Run] = field(default_factory=list)
    policy: str = ""
    time: str = ""
    command: str = ""
    candidate: str = ""
    baseline: str | None = None
    warnings: list[RunWarning] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]

    def document(self) -> dict[str, Any]:
        """The document `edgeopt.gate/1` of docs/reference/gate-json.md."""
        return {
            "schema": SCHEMA,
            "verdict": self.verdict.value,
            "rules": [rule.document() for rule in self.rules],
            "runs": [run.id for run in self.runs if run.id is not None],
            "policy": self.policy,
            "time": self.time,
            "command": self.command,
            "candidate": self.candidate,
            "baseline": self.baseline,
            "warnings": [dataclasses.asdict(warning) for warning in self.warnings],
        }


def whole(rules: Iterable[RuleResult]) -> Verdict:
    """The verdict over the required rules: the worst; "pass" when all rules are advisory."""
    found = {rule.verdict for rule in rules if rule.required}
    return next((verdict for verdict in SEVERITY if verdict in found), Verdict.PASS)
