from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

from edgeopt_host.report import markdown_gate
from sample_reports import HOSTILE, sample_gate


@pytest.mark.parametrize("verdict", ["pass", "fail", "inconclusive", "not_measurable"])
def test_the_verdict_comes_first_and_each_rule_has_a_row(verdict: str) -> None:
    lines = markdown_gate.render(sample_gate(verdict)).splitlines()
    heading = lines[0].replace("\\", "")
    assert f"Gate: {verdict.replace('_', ' ')}: candidate.tflite against baseline.tflite" in heading
    rows = [line for line in lines if line.startswith("| ")][2:]
    assert len(rows) == 5
    assert all(row.replace("\\|", "").count("|") == 9 for row in rows)


def test_tainted_launches_and_advice_are_told() -> None:
    text = markdown_gate.render(sample_gate("inconclusive"))
    assert "- launch 3 on pi4 does not count: the device throttled its clock" in text
    assert "- raise budget\\_s or widen the margin" in text


def test_names_are_no_markup() -> None:
    name = f"{HOSTILE} [x](https://example.org) @somebody | `code` ~~a~~"
    html = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(
        markdown_gate.render(sample_gate("pass", name))
    )
    assert "<script" not in html
    assert "<a " not in html
    assert "<code>" not in html
    assert html.count("<table>") == 1
    assert "@somebody" not in html


def test_files_are_called_by_their_names_where_those_differ() -> None:
    result = sample_gate("pass", "models/new.tflite")
    result.baseline = "before/old.tflite"
    assert "new.tflite against old.tflite, 2 of 5" in markdown_gate.render(result)
    result.baseline = "before/new.tflite"
    assert "models/new.tflite against before/new.tflite" in markdown_gate.render(result)
