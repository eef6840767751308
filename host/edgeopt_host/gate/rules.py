"""Decides one rule on one device, with the test that metrics.py has for its metric.

A decision that fails in any way is "not measurable", never a verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeopt_host import metrics, validity
from edgeopt_host.gate import failures
from edgeopt_host.gate.policy import Rule
from edgeopt_host.metrics import Kind
from edgeopt_host.run import Run
from edgeopt_host.stats.verdict import Decision, Verdict, guarded, holm, not_measurable

DECIDED = (Verdict.PASS, Verdict.FAIL)


@dataclass
class Case:
    """One rule on one device, on its way to a verdict.

    Attributes:
        decision: of the last look; None before the first.
        alpha: the error rate that was spent on that decision.
        settled: nothing more need be measured for it.
        final: it is the verdict, whatever is measured from now on.
        looks: how many there were.
        device_seconds: timed until the decision.
        candidate: what was measured or looked up; None: nothing.
        baseline: the same of the baseline.
    """

    rule: Rule
    device: str
    decision: Decision | None = None
    alpha: float = 0.0
    settled: bool = False
    final: bool = False
    looks: int = 0
    device_seconds: float = 0.0
    candidate: Run | None = None
    baseline: Run | None = None

    @property
    def no_margin(self) -> bool:
        """Whether nothing but chance decides when candidate and baseline are the same."""
        margin = self.rule.max_regression
        # What does not vary needs no protection from chance.
        varies = self.rule.measure.kind not in {Kind.EXACT, Kind.MAXIMUM}
        return margin is not None and margin.amount == 0 and varies

    def look(
        self, candidate: Run, baseline: Run | None, alpha: float, seconds: float, siblings: int = 1
    ) -> None:
        """Decides by what was measured so far, unless that has been done for good.

        Of looks, the first that decides counts. A peak is that of all launches, those that others
        went on for among them.

        Args:
            candidate: with the launches so far.
            baseline: the same, or a stored run; None for an absolute rule.
            alpha: of this look.
            seconds: timed so far.
            siblings: rules without a margin in the whole gate, itself included.
        """
        if self.final:
            return
        self.decision = decide(self.rule, candidate, baseline, alpha)
        self.alpha, self.device_seconds = alpha, seconds
        self.looks += 1
        self.settled = self.decision.verdict in DECIDED and not (
            self.no_margin and _may_be_chance(self.decision, alpha / siblings)
        )
        self.final = self.settled and self.rule.measure.kind is not Kind.MAXIMUM

    def give_up(self, reason: str) -> None:
        """Nothing can be said, whatever looks have said: the run failed, or is not to be trusted."""
        self.decision, self.settled, self.final = not_measurable(reason), True, True


def limit(rule: Rule) -> float:
    """What a rule's estimate is held against.

    Of a relative rule that is the ratio of candidate to baseline, of accuracy their difference in
    points.
    """
    margin = rule.max_regression
    if margin is None:
        return float(rule.max if rule.max is not None else rule.min or 0.0)
    if margin.points:
        return -margin.amount
    return 1 - margin.amount if rule.measure.higher_is_better else 1 + margin.amount


def invalid(run: Run) -> str | None:
    """Why nothing can be decided by a run, in words; None: something can."""
    if reason := failures.reason([run]):
        return reason
    reason = validity.is_invalid(run)
    return None if reason is None else f"{run.model.name}: {reason}"


@guarded
def decide(rule: Rule, candidate: Run, baseline: Run | None, alpha: float) -> Decision:
    """One rule's verdict by the runs of a device.

    Args:
        rule: absolute, or relative to `baseline`.
        candidate: with its launches; those that are tainted are left out.
        baseline: measured in turns with the candidate, or a stored run that is comparable.
        alpha: the rate at which each verdict may be wrong at the margin.
    """
    for run in (candidate, baseline):
        if run is not None and (reason := invalid(run) or _not_told(rule, run)):
            return not_measurable(reason)
    if rule.max_regression is None:
        return metrics.decide_absolute(rule.metric, candidate, limit(rule), alpha)
    if baseline is None:
        return not_measurable("there is no baseline to compare with")
    margin = rule.max_regression.amount
    if _together(candidate, baseline):
        return metrics.decide_relative(rule.metric, candidate, baseline, margin, alpha)
    return metrics.decide_versus_stored(rule.metric, candidate, baseline, margin, alpha)


def correct_for_many(cases: Sequence[Case]) -> None:
    """Takes back FAILs of rules without a margin that many such rules bring about by chance."""
    many = [case for case in cases if case.no_margin and case.decision is not None]
    decisions = [case.decision for case in many if case.decision is not None]
    for case, decision in zip(many, holm(decisions, [c.alpha for c in many]), strict=True):
        case.decision = decision


def point(rule: Rule, run: Run | None) -> float | None:
    """The metric of a run in the metric's unit, over the launches that count."""
    return None if run is None or run.error is not None else rule.measure.value(run)


def _not_told(rule: Rule, run: Run) -> str | None:
    """Why a run that is valid does not tell this metric."""
    if of_latency(rule) and (reason := validity.without_latency(run)):
        return f"{run.model.name}: {reason}"
    return _no_accuracy(rule, run)


def of_latency(rule: Rule) -> bool:
    """Whether it is about how long inferences take, which a growing queue hides."""
    measure = rule.measure
    return measure.kind in {Kind.PERCENTILE, Kind.SUSTAINED} or measure.name == "mean_latency_ms"


def _no_accuracy(rule: Rule, run: Run) -> str | None:
    """What the device said when its answers could not be compared with the labels."""
    if rule.metric != "accuracy" or run.correct is not None:
        return None
    said = (warning.message for warning in run.warnings if warning.code == "NO_ACCURACY")
    return next((f"{run.model.name}: {message}" for message in said), None)


def _together(candidate: Run, baseline: Run) -> bool:
    """Whether they were measured in turns."""
    ours, theirs = candidate.paired, baseline.paired
    return ours is not None and theirs is not None and ours.benchmark == theirs.benchmark


def _may_be_chance(decision: Decision, alpha: float) -> bool:
    return (
        decision.verdict is Verdict.FAIL
        and decision.p_fail is not None
        and decision.p_fail >= alpha
    )
