"""A rule's outcome in one sentence, for the formats that CI systems show."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from edgeopt_host.report import _units

if TYPE_CHECKING:
    from edgeopt_host.gate.result import GateResult, RuleResult

SYMBOLS = {"pass": "✅", "fail": "❌", "inconclusive": "❓", "not_measurable": "⚠️"}


def verdict(value: str) -> str:
    return value.replace("_", " ")


def figure(value: float | None, unit: str) -> str:
    """A figure of a rule, in its unit; a ratio as a difference in percent.

    >>> [figure(1.034, "ratio"), figure(-0.5, "pt"), figure(12.3, "ms"), figure(None, "ms")]
    ['+3.4 %', '-0.50 points', '12.3 ms', '-']
    """
    if value is None:
        return "-"
    match unit:
        case "ratio":
            return f"{100 * (value - 1):+.1f} %"
        case "pt":
            return f"{value:+.2f} points"
        case "ms":
            return _units.duration(value)
        case "MB":
            return _units.size(value * 2**20)
    return f"{_units.number(value)} {unit}".strip()


def interval(rule: RuleResult) -> str:
    """The 95 % interval: "+1.2 % to +3.4 %"; empty where there is none."""
    return " to ".join(figure(end, rule.unit) for end in rule.ci) if rule.ci else ""


def sentence(rule: RuleResult) -> str:
    """Verdict, estimate, interval and limit of a rule, and why."""
    text = f"{verdict(rule.verdict.value)}: {rule.metric} on {rule.device}"
    if rule.estimate is not None:
        of = " from the baseline" if rule.kind == "relative" else ""
        known = f" [{interval(rule)}]" if rule.ci else ""
        limit = figure(rule.limit, rule.unit)
        text += f" is {figure(rule.estimate, rule.unit)}{known}{of}; the limit is {limit}"
    return f"{text}: {rule.reason}" if rule.reason else text


def title(result: GateResult) -> str:
    """What was held against what: files by their names, unless those are the same."""
    candidate, baseline = result.candidate, result.baseline
    if not baseline:
        return PurePath(candidate).name
    names = PurePath(candidate).name, PurePath(baseline).name
    if names[0] == names[1]:
        names = candidate, baseline
    return " against ".join(names)


def headline(result: GateResult) -> str:
    """The whole in one line: "inconclusive: a.tflite against b.tflite, 3 of 4 rules pass"."""
    passed = sum(rule.verdict.value == "pass" for rule in result.rules)
    return f"{verdict(result.verdict.value)}: {title(result)}, {passed} of {len(result.rules)} rules pass"
