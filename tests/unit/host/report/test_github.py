from __future__ import annotations

from pathlib import Path

import pytest

from edgeopt_host.report import github
from sample_reports import HOSTILE, rule, sample_gate

ACTIONS = {"GITHUB_ACTIONS": "true"}


def test_elsewhere_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    github.emit(sample_gate("fail"), {})
    assert capsys.readouterr() == ("", "")


def test_the_summary_is_added_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("# before\n")
    github.emit(sample_gate("fail"), {"GITHUB_STEP_SUMMARY": str(summary)})
    text = summary.read_text("utf-8")
    assert text.startswith("# before\n### ")
    assert "p50\\_latency\\_ms" in text
    assert capsys.readouterr() == ("", "")


def test_what_did_not_pass_is_annotated(capsys: pytest.CaptureFixture[str]) -> None:
    github.emit(sample_gate("fail"), ACTIONS)
    out, err = capsys.readouterr()
    assert out == ""
    levels = [line.split()[0] for line in err.splitlines()]
    # Required and failed; the others are advisory.
    assert levels == ["::error", *["::warning"] * 5]
    assert "::error title=edgeopt gate%2C p50_latency_ms on pi4::fail: " in err
    assert "is 1.2 %25 above the baseline's [+0.4 %25" in err
    told = "::warning title=edgeopt gate%2C candidate.tflite on pi4::NOISY: block medians vary"
    assert sum(line.startswith(told) for line in err.splitlines()) == 1


def test_no_text_becomes_a_command() -> None:
    result = sample_gate("fail")
    reason = f"100%\r\n::stop-commands::x\n{HOSTILE}"
    result.rules = [rule("p50_latency_ms", "fail", device="a,b:c\n::x", reason=reason)]
    result.runs = []
    (line,) = github.annotations_of(result, ACTIONS).splitlines()
    assert line.startswith("::error title=edgeopt gate%2C p50_latency_ms on a%2Cb%3Ac%0A%3A%3Ax::")
    assert "100%25%0A" in line
    assert "\x1b" not in line


def test_a_summary_that_cannot_be_written_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    github.emit(sample_gate("pass"), {**ACTIONS, "GITHUB_STEP_SUMMARY": str(tmp_path)})
    assert "::warning::the summary of the job cannot be written" in capsys.readouterr().err
