from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

from edgeopt_host.report import gate_words, markdown_gate
from sample_reports import HOSTILE, rule, sample_gate


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


def test_advice_of_advisory_rules_and_warnings_of_runs_are_told_once() -> None:
    text = markdown_gate.render(sample_gate("fail"))
    assert "- advisory, throughput\\_per\\_s: raise budget\\_s or widen the margin" in text
    assert text.count("NOISY: block medians vary by 12 %") == 2
    assert "- baseline.tflite on pi4: NOISY" in text


def test_a_ratio_that_contradicts_its_figures_is_explained() -> None:
    result = sample_gate("pass")
    result.rules = [rule("p50_latency_ms", "pass")]
    assert "measured in turns" not in markdown_gate.render(result)
    result.rules = [rule("p50_latency_ms", "pass", estimate=0.99, ci=(0.98, 0.995))]
    assert "measured in turns: the ratio is taken launch by launch" in markdown_gate.render(result)
    for run in result.runs:
        run.paired = None
    assert "the ratio is that of typical launches" in markdown_gate.render(result)
    result.rules = [rule("peak_memory_mb", "pass", estimate=0.9, ci=(0.9, 0.9))]
    assert "all launches" not in markdown_gate.render(result)


def test_figures_read_as_they_are() -> None:
    exact = {"kind": "absolute", "unit": "MB", "limit": 5.0, "estimate": 4.0, "ci": (4.0, 4.0)}
    assert gate_words.sentence(rule("size_mb", "pass", **exact)).endswith(
        "is 4.00 MB; the limit is 5.00 MB"
    )
    said = gate_words.sentence(
        rule("p50_latency_ms", "fail", estimate=2.989, ci=(2.5, 3.2), limit=1.0001)
    )
    assert "is 199 % above the baseline's [+150 % to +220 %]; the limit is +0.01 %" in said
    lower = rule("p50_latency_ms", "pass", estimate=0.97, ci=(0.96, 0.98))
    assert "is 3.0 % below the baseline's [-4.0 % to -2.0 %]" in gate_words.sentence(lower)


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
