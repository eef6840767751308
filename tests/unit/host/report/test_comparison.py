from __future__ import annotations

import json
import re

import pytest

from edgeopt_host.compare import compare
from edgeopt_host.report import comparison as report
from edgeopt_host.stats.estimate import Estimate
from sample_reports import HOSTILE, paired_runs, sample_comparison
from sample_runs import failed_run


@pytest.fixture(autouse=True)
def _pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


def test_each_device_says_what_it_found_and_shows_it() -> None:
    text = report.render(sample_comparison())
    assert re.search(r"^pi4   7 launches of each count, 1 does not$", text, re.MULTILINE)
    assert re.search(r"^jetson   8 launches of each count$", text, re.MULTILINE)
    assert "  A  fp32.tflite" in text
    assert re.search(r"^  B \(int8\.tflite\) is 1\d\.\d % faster", text, re.MULTILINE)
    line = next(line for line in text.splitlines() if line.startswith("p50_latency_ms"))
    assert re.match(
        r"p50_latency_ms +4\.\d\d ms +4\.\d\d ms +-1\d\.\d % +-1\d\.\d to -1\d\.\d +-?o", line
    )


@pytest.mark.parametrize("width", [40, 80, 100, 140])
def test_no_line_is_wider_than_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = report.render(compare([paired_runs(1, 0.88)]))
    lines = [line for line in text.splitlines() if "latency_ms" in line]
    assert max(map(len, text.splitlines())) <= width
    assert any("o" in line[-40:] for line in lines) == (width >= 80)


def test_a_plot_has_its_interval_where_it_belongs() -> None:
    ratios = [Estimate(1.1, 1.0, 1.21), Estimate(0.5, 0.4, 0.6), None, Estimate(1, 0.99, 1.01)]
    lines, head = report._plots(ratios, reach=0.2, width=41)
    assert {len(line) for line in lines} == {41}
    assert head.strip().startswith("-18 %")
    assert head.endswith("+22 %")
    assert head.index("0", 5) == 20
    assert lines[0][20] == "-"
    assert lines[0].index("o") == pytest.approx(20 + 20 * 0.0953 / 0.2, abs=1)
    assert lines[1].startswith(("<", "o"))
    assert lines[2].strip() == "|"
    assert lines[3][20] == "o"


def test_it_has_colours_on_a_terminal_and_none_with_no_color(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    runs = paired_runs(1, 0.88)
    assert "\x1b[32m" in report.render(compare([runs]))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in report.render(compare([runs]))


def test_hostile_names_and_failures_stay_text() -> None:
    runs = paired_runs(1, 1, names=("a", HOSTILE))
    text = report.render(compare([runs, [runs[0], failed_run("phone")]]))
    assert "\x1b" not in text
    assert "could not be measured: UNREACHABLE" in text


def test_one_launch_shows_no_plot_and_says_why() -> None:
    text = report.render(compare([paired_runs(1, 0.5, launches=1)]))
    assert re.search(r"^pi4   1 launch of each counts$", text, re.MULTILINE)
    assert "one launch cannot tell a difference" in text
    assert "|" not in text
    assert "p50_latency_ms" in text


def test_missed_deadlines_are_shown() -> None:
    runs = paired_runs(1, 0.9)
    for run, missed in zip(runs, (1.0, 0.0002), strict=True):
        run.shape.rate_hz, run.shape.missed_deadlines = 50.0, missed
    text = report.render(compare([runs]))
    assert "deadlines missed at 50.0 Hz: A 100 %, B 0.02 %" in text


def test_the_same_file_is_told() -> None:
    text = report.render(compare([paired_runs(1, 1, names=("a.onnx", "a.onnx"))]))
    assert "B (a.onnx) is the same file as A, " in text


def test_a_ratio_that_contradicts_its_figures_is_explained() -> None:
    runs = paired_runs(1, 1.1)
    assert "measured in turns" not in report.render(compare([runs]))
    assert runs[1].latency_ms.p50
    runs[1].latency_ms.p50 *= 0.8
    text = report.render(compare([runs]))
    assert re.search(r"^p50_latency_ms: measured in turns: the ratio is", text, re.MULTILINE)


@pytest.mark.parametrize("width", [30, 44, 60])
def test_words_of_a_table_stay_whole(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    names = [
        line.split()[0]
        for line in report.render(compare([paired_runs(1, 0.88)])).splitlines()
        if line
    ]
    assert {"p50_latency_ms", "throughput_per_s", "first_inference_ms"} <= set(names)
    assert {"_ms", "_s", "per_s"}.isdisjoint(names)


def test_json_is_the_document() -> None:
    comparison = sample_comparison()
    assert json.loads(report.render_json(comparison)) == comparison.document()
