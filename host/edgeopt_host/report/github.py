"""What GitHub Actions shows of a gate: the job's summary, and annotations.

A summary is a file that GITHUB_STEP_SUMMARY names; annotations are lines of the job's output
(docs.github.com, "Workflow commands for GitHub Actions").
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgeopt_host._text import plain
from edgeopt_host.report import gate_words, markdown_gate
from edgeopt_host.stats.verdict import Verdict

if TYPE_CHECKING:
    from edgeopt_host.gate.result import GateResult, RuleResult

# GitHub keeps 1 MiB per step and drops what is larger.
_MOST_BYTES = 2**20


def emit(result: GateResult, environment: Mapping[str, str] = os.environ) -> None:
    """Writes summary and annotations where GitHub runs this, and nothing elsewhere.

    Annotations go to standard error, which the runner reads as well: standard output may hold JSON.
    The gate has been decided, so what cannot be written here is told and changes nothing.
    """
    lines = annotations_of(result, environment)
    try:
        summarize(result, environment)
    except OSError as error:
        lines += f"::warning::{_data(f'the summary of the job cannot be written: {error}')}\n"
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(lines)


def summarize(result: GateResult, environment: Mapping[str, str] = os.environ) -> None:
    """Adds the Markdown of a gate to the job's summary, where there is one.

    Raises:
        OSError: the summary cannot be written.
    """
    path = environment.get("GITHUB_STEP_SUMMARY")
    text = markdown_gate.render(result)
    if path and len(text.encode()) < _MOST_BYTES:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)


def annotations_of(result: GateResult, environment: Mapping[str, str] = os.environ) -> str:
    """A line per rule that did not pass, then one per run with warnings; none outside of Actions.

    A required rule that failed or was not measured is an error, all else are warnings.
    """
    if environment.get("GITHUB_ACTIONS") != "true":
        return ""
    rules = [_line(rule) for rule in result.rules if rule.verdict is not Verdict.PASS]
    warnings = [
        f"::warning title={_property(f'edgeopt gate, {where}')}::{_data(said)}\n"
        for where, said in gate_words.warnings(result).items()
    ]
    return "".join([*rules, *warnings])


def _line(rule: RuleResult) -> str:
    severe = rule.required and rule.verdict in {Verdict.FAIL, Verdict.NOT_MEASURABLE}
    level = "error" if severe else "warning"
    title = f"edgeopt gate, {rule.metric} on {rule.device}"
    said = gate_words.sentence(rule) + (f"; {rule.advice}" if rule.advice else "")
    return f"::{level} title={_property(title)}::{_data(said)}\n"


def _data(text: str) -> str:
    """As the runner unescapes it; what controls a terminal is spelled out before."""
    clean = "\n".join(plain(line) for line in text.replace("\r", "\n").split("\n"))
    clean = clean.encode("utf-8", "backslashreplace").decode()
    return clean.replace("%", "%25").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
