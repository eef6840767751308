"""A gate as JUnit XML, which CI systems show: a suite per device, a case per rule.

A failed rule is a failure. One that is inconclusive or not measurable is an error: a required rule
of which nothing is known must not look green. An advisory rule that did not pass is skipped, with
what it came to, because it does not count. docs/how-to/gate-in-ci.md says the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeopt_host._text import plain
from edgeopt_host.report import gate_words
from edgeopt_host.stats.verdict import Verdict

if TYPE_CHECKING:
    from junitparser import TestCase

    from edgeopt_host.gate.result import GateResult, RuleResult


def render(result: GateResult) -> str:
    """An XML document with its declaration."""
    from junitparser import JUnitXml, TestSuite

    document = JUnitXml("edgeopt gate")
    for device in dict.fromkeys(rule.device for rule in result.rules):
        suite = TestSuite(_text(device))
        suite.timestamp = _text(result.time)
        suite.add_property("verdict", result.verdict.value)
        suite.add_property("candidate", _text(result.candidate))
        suite.add_property("baseline", _text(result.baseline or ""))
        suite.add_property("policy", _text(result.policy))
        suite.add_testcases([_case(rule) for rule in result.rules if rule.device == device])
        document.add_testsuite(suite)
    document.update_statistics()  # type: ignore[no-untyped-call] # junitparser does not annotate it
    body: str = document.tostring().decode("utf-8")  # type: ignore[no-untyped-call] # nor that
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body}\n'


def _case(rule: RuleResult) -> TestCase:
    from junitparser import Error, Failure, Skipped, TestCase

    outcome: Error | Failure | Skipped

    name = f"{rule.metric} {rule.condition}".strip()
    case = TestCase(_text(name), f"edgeopt.{_text(rule.device)}", round(rule.device_seconds, 3))
    said = _text(gate_words.sentence(rule))
    if rule.verdict is Verdict.PASS:
        case.system_out = said
        return case
    if not rule.required:
        outcome = Skipped(f"advisory: {said}")
    elif rule.verdict is Verdict.FAIL:
        outcome = Failure(said, "fail")
    else:
        outcome = Error(said, rule.verdict.value)
    outcome.text = "\n".join(part for part in (said, _text(rule.advice)) if part)
    case.result = [outcome]
    return case


def _text(text: str) -> str:
    """What XML 1.0 can hold of it."""
    clean = plain(text).encode("utf-8", "backslashreplace").decode()
    return clean.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
