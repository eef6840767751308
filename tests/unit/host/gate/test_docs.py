"""The pages about gates against the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

from edgeopt_host.gate import schema
from edgeopt_host.gate.read import read
from edgeopt_host.gate.result import GateResult, RuleResult, RunWarning
from edgeopt_host.metrics import METRICS
from edgeopt_host.stats.verdict import Verdict

DOCS = Path(__file__).parents[4] / "docs"


def first_cells(page: str) -> set[str]:
    cells = re.findall(
        r"^\| (`.*?) \|", (DOCS / "reference" / page).read_text("utf-8"), re.MULTILINE
    )
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


def test_policy_has_every_key_and_metric() -> None:
    properties = json.loads(schema.text())["properties"]
    gate = set(properties["gate"]["properties"])
    rule = set(properties["rule"]["items"]["properties"])
    expected = {"schema", "[gate]", "[[rule]]"} | gate | rule | set(METRICS)
    assert first_cells("policy.md") == expected


def test_gate_json_has_every_key() -> None:
    rule = RuleResult(
        "load_ms", "pi4", True, Verdict.PASS, 1.0, None, 1.0, 1, 1.0, "", "absolute", "ms"
    )
    warning = RunWarning("pi4", "candidate", "NOISY", "it varies")
    document = GateResult(Verdict.PASS, [rule], warnings=[warning]).document()
    assert set(document["warnings"][0]) == {"device", "role", "code", "message"}
    assert first_cells("gate-json.md") == set(document) | set(document["rules"][0])


def test_the_how_to_shows_a_policy() -> None:
    page = (DOCS / "how-to" / "gate-a-model.md").read_text("utf-8")
    (shown,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(read(shown, Path("policy.toml")).rules) == 3
