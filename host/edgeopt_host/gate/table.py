"""A gate's result for a person at a terminal: a line per rule and device, then why, warnings, the whole."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import RenderableType
from rich.text import Text

from edgeopt_host._text import plain
from edgeopt_host.gate.result import GateResult, RuleResult, RunWarning
from edgeopt_host.metrics import METRICS
from edgeopt_host.report._console import Cell, is_terminal, table, to_text
from edgeopt_host.report.gate_words import figure, interval, verdict
from edgeopt_host.stats.verdict import Verdict

_SIGNS = {
    Verdict.PASS: ("✓", "green"),
    Verdict.FAIL: ("✗", "red"),
    Verdict.INCONCLUSIVE: ("?", "yellow"),
    Verdict.NOT_MEASURABLE: ("!", "magenta"),
}
_COLUMNS = (
    ("Verdict", "whole"),
    ("Device", "left"),
    ("Rule", "wrap"),
    ("Measured [95 %]", "wrap"),
    ("Baseline → candidate", "wrap"),
    ("Timed", "right"),
)
_WHOLE: dict[Verdict, Callable[[int, int], str]] = {
    Verdict.PASS: lambda _, count: (
        f"{count} of {count} required rules hold" if count else "nothing is required"
    ),
    Verdict.FAIL: lambda bad, count: f"{bad} of {count} required rules failed",
    Verdict.INCONCLUSIVE: lambda bad, count: (
        f"{bad} of {count} required rules could not be decided"
    ),
    Verdict.NOT_MEASURABLE: lambda bad, count: (
        f"{bad} of {count} required rules could not be measured"
    ),
}


def render(result: GateResult) -> str:
    """The table, the reasons of what did not pass, and the whole verdict."""
    parts: list[RenderableType] = [
        table(_COLUMNS, [_row(rule) for rule in result.rules], boxed=is_terminal())
    ]
    reasons = [line for rule in result.rules if (line := _reason(rule))]
    if reasons:
        parts += [Text(""), *(Text(line) for line in dict.fromkeys(reasons))]
    if result.warnings:
        parts += [Text(""), *(_warning(warning) for warning in result.warnings)]
    return to_text(*parts, Text(""), _whole(result))


def _row(rule: RuleResult) -> list[Cell]:
    sign, colour = _SIGNS[rule.verdict]
    condition = f"{rule.metric} {rule.condition}" + ("" if rule.required else " (advisory)")
    return [
        Text(f"{sign} {verdict(rule.verdict.value)}", style=colour),
        plain(rule.device),
        condition,
        _estimate(rule),
        _values(rule),
        f"{rule.device_seconds:.0f} s" if rule.device_seconds else "",
    ]


def _estimate(rule: RuleResult) -> str:
    """What was estimated, with its interval: "+1.2 % [+0.8 % to +1.6 %]"."""
    value = figure(rule.estimate, rule.unit)
    # Of what does not vary, an interval would be noise.
    varies = rule.ci is not None and {figure(end, rule.unit) for end in rule.ci} != {value}
    return f"{value} [{interval(rule)}]" if varies else value


def _values(rule: RuleResult) -> str:
    """The metric of both models, where they were compared."""
    if rule.kind != "relative" or rule.candidate is None:
        return ""
    unit = METRICS[rule.metric].unit
    return f"{figure(rule.baseline, unit)} → {figure(rule.candidate, unit)}"


def _reason(rule: RuleResult) -> str:
    if not rule.reason:
        return ""
    text = f"{plain(rule.device)}: {rule.metric}: {plain(rule.reason)}"
    return f"{text}; {plain(rule.advice)}" if rule.advice else text


def _warning(warning: RunWarning) -> Text:
    run = f"({warning.role} on {plain(warning.device)})"
    return Text.assemble(
        "Warning  ", (plain(warning.code), "yellow"), f" {run}: {plain(warning.message)}"
    )


def _whole(result: GateResult) -> Text:
    sign, colour = _SIGNS[result.verdict]
    required = [rule for rule in result.rules if rule.required]
    bad = sum(rule.verdict is result.verdict for rule in required)
    why = _WHOLE[result.verdict](bad, len(required))
    return Text.assemble((f"{sign} {verdict(result.verdict.value)}", f"bold {colour}"), f": {why}")
