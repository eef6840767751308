"""A gate as Markdown, for a pull request or the summary of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeopt_host._text import plain
from edgeopt_host.report import gate_words
from edgeopt_host.report.markdown import escape

if TYPE_CHECKING:
    from edgeopt_host.gate.result import GateResult, RuleResult

_HEAD = ("", "Rule", "Device", "Estimate [95 %]", "Limit", "Candidate", "Baseline", "Why")
_SIDES = ("---", "---", "---", "--:", "--:", "--:", "--:", "---")


def render(result: GateResult) -> str:
    """A heading with the verdict, a table with a row per rule, and what to be careful about."""
    symbol = gate_words.SYMBOLS[result.verdict.value]
    lines = [f"### {symbol} Gate: {_safe(gate_words.headline(result))}", ""]
    lines += [_line(_HEAD), _line(_SIDES)]
    lines += [_line([_safe(cell) for cell in _cells(rule, result)]) for rule in result.rules]
    advice = gate_words.advice(result)
    tainted = {
        f"launch {launch.number + 1} on {run.device.name} does not count: {launch.tainted}"
        for run in result.runs
        for launch in run.launches
        if launch.tainted is not None
    }
    warnings = [f"{where}: {said}" for where, said in gate_words.warnings(result).items()]
    for part in (advice, sorted(tainted), warnings):
        lines += ["", *(f"- {_safe(one)}" for one in part)] if part else []
    return "\n".join(lines) + "\n"


def _cells(rule: RuleResult, result: GateResult) -> list[str]:
    from edgeopt_host.metrics import METRICS

    unit = METRICS[rule.metric].unit if rule.metric in METRICS else ""
    verdict = gate_words.verdict(rule.verdict.value)
    estimate = gate_words.figure(rule.estimate, rule.unit)
    known = gate_words.interval(rule)
    return [
        f"{gate_words.SYMBOLS[rule.verdict.value]} {verdict}",
        f"{rule.metric} {rule.condition}".strip() + ("" if rule.required else " (advisory)"),
        rule.device,
        f"{estimate} [{known}]" if known else estimate,
        gate_words.figure(rule.limit, rule.unit),
        gate_words.figure(rule.candidate, unit),
        gate_words.figure(rule.baseline, unit),
        "; ".join(said for said in (rule.reason, gate_words.turns(rule, result)) if said),
    ]


def _safe(text: str) -> str:
    return escape(plain(text).encode("utf-8", "backslashreplace").decode())


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
