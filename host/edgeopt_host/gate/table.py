"""A gate's result for a person at a terminal: a line per rule and device, then the whole and why."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import RenderableType
from rich.text import Text

from edgeopt_host._text import plain
from edgeopt_host.gate.result import GateResult, RuleResult
from edgeopt_host.report import _units
from edgeopt_host.report._console import Cell, is_terminal, table, to_text
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
    ("After", "right"),
)
_WHOLE: dict[Verdict, Callable[[int, int], str]] = {
    Verdict.PASS: lambda _, count: (
        f"all {count} required rules hold" if count else "nothing is required"
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
    return to_text(*parts, Text(""), _whole(result))


def words(verdict: Verdict) -> str:
    """A verdict as people write it: "not measurable"."""
    return verdict.value.replace("_", " ")


def _row(rule: RuleResult) -> list[Cell]:
    sign, colour = _SIGNS[rule.verdict]
    condition = f"{rule.metric} {rule.condition}" + ("" if rule.required else " (advisory)")
    return [
        Text(f"{sign} {words(rule.verdict)}", style=colour),
        plain(rule.device),
        condition,
        estimate(rule),
        _values(rule),
        f"{rule.device_seconds:.0f} s" if rule.device_seconds else "",
    ]


def estimate(rule: RuleResult) -> str:
    """What was estimated, with its interval: "+1.2 % [+0.8, +1.6]", "12.3 ms [12.1, 12.6]"."""
    if rule.estimate is None:
        return "-"
    if rule.unit == "ratio":
        value, ends = _change(rule.estimate), [_change(end) for end in rule.ci or ()]
        unit = " %"
    elif rule.unit == "pt":
        value, ends = f"{rule.estimate:+.2f}", [f"{end:+.2f}" for end in rule.ci or ()]
        unit = " pt"
    else:
        value, ends = _units.number(rule.estimate), [_units.number(end) for end in rule.ci or ()]
        unit = f" {rule.unit}".rstrip()
    # Of what does not vary, an interval would be noise.
    varies = any(end != value for end in ends)
    return f"{value}{unit} [{', '.join(ends)}]" if varies else f"{value}{unit}"


def _change(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f}"


def _values(rule: RuleResult) -> str:
    """The metric of both models, where they were compared."""
    if rule.kind != "relative":
        return ""
    from edgeopt_host.metrics import METRICS

    values = [
        "-" if value is None else _units.number(value) for value in (rule.baseline, rule.candidate)
    ]
    return f"{' → '.join(values)} {METRICS[rule.metric].unit}".rstrip()


def _reason(rule: RuleResult) -> str:
    if not rule.reason:
        return ""
    text = f"{plain(rule.device)}: {rule.metric}: {plain(rule.reason)}"
    return f"{text}; {plain(rule.advice)}" if rule.advice else text


def _whole(result: GateResult) -> Text:
    sign, colour = _SIGNS[result.verdict]
    required = [rule for rule in result.rules if rule.required]
    bad = sum(rule.verdict is result.verdict for rule in required)
    why = _WHOLE[result.verdict](bad, len(required))
    return Text.assemble((f"{sign} {words(result.verdict)}", f"bold {colour}"), f": {why}")
