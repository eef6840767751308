"""A rule's outcome in one sentence, for the formats that CI systems show."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from edgeopt_host.report import _turns, _units

if TYPE_CHECKING:
    from edgeopt_host.gate.result import GateResult, RuleResult

SYMBOLS = {"pass": "✅", "fail": "❌", "inconclusive": "❓", "not_measurable": "⚠️"}
# Of a warning's message, where there are many.
_LONGEST = 160


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
            return _units.change(value)
        case "pt":
            return f"{value:+.2f} points"
        case "samples/s":
            return f"{_units.number(value)} {unit}"
    return _units.figure(value, unit)


def interval(rule: RuleResult) -> str:
    """The 95 % interval: "+1.2 % to +3.4 %"; empty where there is none, or the figure is exact."""
    if rule.ci is None or rule.ci[0] == rule.ci[1]:
        return ""
    return " to ".join(figure(end, rule.unit) for end in rule.ci)


def sentence(rule: RuleResult) -> str:
    """Verdict, estimate, interval and limit of a rule, and why."""
    text = f"{verdict(rule.verdict.value)}: {rule.metric} on {rule.device}"
    if rule.estimate is not None:
        known = f" [{ends}]" if (ends := interval(rule)) else ""
        limit = figure(rule.limit, rule.unit)
        text += f" is {_estimate(rule, rule.estimate)}{known}; the limit is {limit}"
    return f"{text}: {rule.reason}" if rule.reason else text


def _estimate(rule: RuleResult, value: float) -> str:
    said = figure(value, rule.unit)
    if rule.kind != "relative":
        return said
    if not said.startswith(("+", "-")):
        return "the same as the baseline's"
    return f"{said[1:]} {'above' if said[0] == '+' else 'below'} the baseline's"


def advice(result: GateResult) -> list[str]:
    """What to do about rules that are inconclusive or were not measured, each thing once."""
    required = [rule.advice for rule in result.rules if rule.required]
    others = [
        f"advisory, {rule.metric}: {rule.advice}"
        for rule in result.rules
        if not rule.required and rule.advice and rule.advice not in required
    ]
    return [said for said in dict.fromkeys([*required, *others]) if said]


def warnings(result: GateResult) -> dict[str, str]:
    """What to be careful about: of each model and device, each warning once, in short.

    Returns:
        "NOISY: the launches differ by 12 %; …" by "a.tflite on pi4".
    """
    found: dict[str, dict[str, str]] = {}
    for run in result.runs:
        of_run = found.setdefault(f"{run.model.name} on {run.device.name}", {})
        for warning in run.warnings:
            of_run.setdefault(warning.code, warning.message)
    return {
        where: "; ".join(f"{code}: {_short(message)}" for code, message in codes.items())
        for where, codes in found.items()
        if codes
    }


def turns(rule: RuleResult, result: GateResult) -> str:
    """Why a ratio is not that of the two figures beside it; empty where nobody would wonder."""
    ratio, figures = rule.estimate, (rule.candidate, rule.baseline)
    if rule.unit != "ratio" or ratio is None or not _turns.apart(rule.metric, ratio, *figures):
        return ""
    benchmarks = [
        run.paired.benchmark
        for run in result.runs
        if run.paired is not None and run.device.name == rule.device
    ]
    return _turns.IN_TURNS if len(benchmarks) > len(set(benchmarks)) else _turns.STORED


def _short(message: str) -> str:
    return message if len(message) <= _LONGEST else f"{message[: _LONGEST - 1]}\u2026"


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
