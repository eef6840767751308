from __future__ import annotations

import re

import numpy as np
import pytest

from edgeopt_host.compare import compare
from edgeopt_host.report import html
from edgeopt_host.report.html import plots
from edgeopt_host.report.html._svg import Drawing
from edgeopt_host.run import Block, Failure, Run
from page import Page
from sample_reports import HOSTILE, paired_runs, rule, sample_comparison, sample_gate
from sample_runs import failed_run


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {
        **{
            v: html.gate(sample_gate(v)) for v in ("pass", "fail", "inconclusive", "not_measurable")
        },
        "hostile": html.gate(sample_gate("pass", HOSTILE)),
        "compare": html.compare(sample_comparison()),
        "run": html.run(paired_runs(1)[0]),
    }


def test_nothing_comes_from_elsewhere(pages: dict[str, str]) -> None:
    for text in pages.values():
        page = Page(text)
        assert "script" not in page.tags
        links = page.values("href", "src", "xlink:href", "action", "srcset")
        assert [link for link in links if not link.startswith(("#", "data:"))] == []
        assert [url for url in re.findall(r"url\(([^)]*)\)", text) if not url.startswith("#")] == []
        assert "@import" not in text
        assert "default-src 'none'" in text


def test_a_hostile_name_is_text(pages: dict[str, str]) -> None:
    page = Page(pages["hostile"])
    assert "<script>alert('x')</script>" in page.text
    assert "\x1b" not in pages["hostile"]
    assert "script" not in page.tags


def test_a_name_that_is_no_text_can_be_written() -> None:
    text = html.gate(sample_gate("pass", "a\udcff.tflite"))
    assert "a\\udcff.tflite" in text.encode("utf-8").decode()


@pytest.mark.parametrize("verdict", ["pass", "fail", "inconclusive", "not_measurable"])
def test_a_gate_says_what_its_verdict_means(verdict: str, pages: dict[str, str]) -> None:
    text = " ".join(Page(pages[verdict]).text.split())
    assert verdict.replace("_", " ").capitalize() in text
    assert ("This is no pass" in text) == (verdict in {"inconclusive", "not_measurable"})
    if verdict == "inconclusive":
        assert "raise budget_s in the policy" in text
        assert "Raise budget_s or widen the margin" in text


def test_every_figure_has_its_unit_and_interval(pages: dict[str, str]) -> None:
    text = Page(pages["fail"]).text
    for told in (
        "5.50 ms", "5.40 ms to 5.62 ms", "6.00 ms", "+1.2 %", "+0.4 % to +2.1 %", "+3.0 %",
        "194 samples/s", "21 s", "in 2 looks",
    ):  # fmt: skip
        assert told in text, told
    assert re.search(r"5\.0\d ms \[5\.0\d, 5\.\d\d\]", text)


def test_it_says_where_when_and_with_what_it_was_measured(pages: dict[str, str]) -> None:
    for name in ("fail", "compare", "run"):
        text = Page(pages[name]).text
        for told in (
            "Raspberry Pi 4 Model B Rev 1.4, Cortex-A72",
            "Debian GNU/Linux 12 (bookworm)",
            "ai-edge-litert 2.1.0, 4 threads",
            "back to back, batch 1, 1 stream",
            "2026-11-02 10:00 UTC",
            "NOISY",
        ):
            assert told in text, (name, told)
    assert "Launch 3 does not count: the device throttled its clock" in Page(pages["fail"]).text


def test_a_comparison_has_its_words_and_both_plots(pages: dict[str, str]) -> None:
    page = Page(pages["compare"])
    assert re.search(
        r"B \(int8\.tflite\) is 1\d\.\d % faster \(.* %\), uses 3\.00 MB more", page.text
    )
    assert page.tags.count("figure") == 2 * 4


def test_plots_are_described_and_take_the_pages_colours(pages: dict[str, str]) -> None:
    for text in pages.values():
        figures = re.findall(r"<figure><svg.*?</svg>", text, re.DOTALL)
        assert figures
        for svg in figures:
            assert re.search(r'role="img"', svg)
            assert re.search(r"<title>[^<]+</title><desc>[^<]+</desc>", svg)
            assert (
                re.search(r"#[0-9a-f]{6}\b", re.sub(r'(href|id)="[^"]*"|url\([^)]*\)', "", svg))
                is None
            )
        ids = re.findall(r'<g[^>]* id="', text)
        assert ids == []


def test_every_colour_is_defined_for_light_and_dark(pages: dict[str, str]) -> None:
    text = pages["fail"]
    light, dark = re.findall(r":root \{(.*?)\}", text, re.DOTALL)
    used = set(re.findall(r"var\(--([\w-]+)\)", text))
    for scheme in (light, dark):
        assert used <= set(re.findall(r"--([\w-]+):", scheme))


def test_a_run_of_many_blocks_makes_a_small_page() -> None:
    runs = paired_runs(1, 0.97, launches=20, blocks=400)
    for run in runs:
        for launch in run.launches:
            launch.readings = launch.readings * 10
    assert len(html.compare(compare([runs])).encode()) < 500_000


def test_the_distribution_is_that_of_the_launches_that_count() -> None:
    runs = paired_runs(1, tainted=(0, 1, 2))
    told = re.search(r"A: half within ([\d.]+) ms", plots.distribution(runs))
    assert told
    assert float(told[1]) == pytest.approx(runs[0].latency_ms.p50, rel=1e-2)
    assert plots.distribution(paired_runs(1, launches=1, tainted=(0,))) == ""


def test_what_failed_is_told_and_draws_nothing() -> None:
    page = Page(html.compare(compare([[failed_run(), failed_run()]])))
    assert "could not be measured" in page.text
    assert "figure" not in page.tags


def test_strange_runs_are_drawn_all_the_same() -> None:
    def changed(run: Run) -> Run:
        run.launches = run.launches[:1]
        run.launches[0].blocks = [Block(5, np.array([7, 7], np.int64))]
        run.launches[0].readings = []
        return run

    assert "<svg" in html.run(changed(paired_runs(1)[0]))


def test_rules_that_cannot_be_drawn_are_left_out() -> None:
    result = sample_gate("pass")
    result.rules = [
        rule("size_mb", "pass", estimate=1.0, ci=None),
        rule("accuracy", "fail", estimate=-0.6, ci=(-1.0, -0.2), limit=-0.5, unit="pt"),
        rule("p50_latency_ms", "inconclusive", estimate=1.0, ci=(float("nan"), float("nan"))),
    ]
    text = Page(html.gate(result)).text
    assert "\u22120.60 points" in text
    assert "Not in the plots: size (pass), accuracy (fail), p50 latency (inconclusive)." in text
    assert "Not in the plots" not in Page(html.compare(sample_comparison())).text


def test_ticks_are_round_few_and_where_the_curves_are() -> None:
    for low, high, middle in (
        (4.1, 4.4, 4.2),
        (3.9, 180.0, 4.2),
        (0.9, 9000.0, 3.0),
        (1.0, 100.0, 8.9),
        (99, 101, 100),
    ):
        ticks = plots._round(low, high, middle)
        assert 3 <= len(ticks) <= 7, ticks
        assert all(low <= tick <= high for tick in ticks)
        room = np.log(high / low) / 6
        assert min(np.diff(np.log(ticks))) > 0.99 * room
        assert min(abs(np.log(np.array(ticks) / middle))) <= room / 2
        assert max(len(f"{tick:.6g}") for tick in ticks) <= 6


@pytest.mark.parametrize(("factor", "unit"), [(1e-3, "µs"), (1.0, "ms"), (1000.0, "s")])
def test_plots_are_in_the_unit_of_the_data(factor: float, unit: str) -> None:
    runs = paired_runs(1, 0.9)
    for run in runs:
        for launch in run.launches:
            for block in launch.blocks:
                block.latency_ns = (block.latency_ns * factor).astype(np.int64)
    for svg in (plots.distribution(runs), plots.series(runs)):
        labels = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
        assert any(f"({unit}" in label for label in labels)
        numbers = [label for label in labels if re.fullmatch(r"[\d.]+", label)]
        assert "0.00" not in numbers
    # 5 ms, or 5 of the other units.
    ticks = [float(t) for t in re.findall(r"<text[^>]*>([\d.]+)</text>", plots.distribution(runs))]
    assert sum(4 <= tick <= 6 for tick in ticks) >= 2


def test_labels_are_not_cut_as_coordinates_are() -> None:
    with Drawing("title", "0.0042 of something", 1.0) as drawing:
        drawing.axes[0].plot([0.00411, 0.00429], [0, 1])
        drawing.axes[0].set_xticks([0.0042])
    assert ">0.0042</text>" in drawing.svg
    assert re.search(r' d="[^"]*\d\.\d{3}', drawing.svg) is None


def test_only_the_broken_model_looks_broken() -> None:
    runs = paired_runs(1, 1, names=("good.onnx", "broken.onnx"))
    for error in (
        Failure("MODEL_INVALID", "broken.onnx is a damaged ONNX file"),
        Failure("PARTNER_FAILED", "another model failed"),
    ):
        runs[1].error = Failure("MODEL_INVALID", "broken.onnx is a damaged ONNX file")
        runs[0].error = error
        text = html.compare(compare([runs]))
        assert text.count('class="verdict fail"') == 1
        told = "not measured, because B (broken.onnx) could not be: MODEL_INVALID: broken.onnx is a damaged"
        assert f'<span class="muted">{told}' in text
        assert "PARTNER_FAILED" not in text


def test_a_sustained_run_says_how_it_held() -> None:
    run = paired_runs(1)[0]
    run.sustained = {
        "seconds": 600.0, "window_s": 60.0, "ratio": 1.25, "ci95": [1.2, 1.3], "first_p50_ms": 4.0,
        "last_p50_ms": 5.0, "curve": [],
    }  # fmt: skip
    told = "Over 10 min p50 went from 4.00 ms in the first minute to 5.00 ms in the last: +25.0 %"
    assert f"{told} (+20.0 % to +30.0 %)." in Page(html.run(run)).text
    run.sustained |= {"seconds": 20.0, "window_s": 2.0, "ci95": None}
    text = Page(html.run(run)).text
    assert (
        "Over 20 s p50 went from 4.00 ms in the first tenth to 5.00 ms in the last: +25.0 %."
        in text
    )
    assert "First and last tenth, because it lasted 20 s." in text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (1.032, "+3.2 %"),
        (0.88, "\u221212.0 %"),
        (1.000001, "0.0 %"),
        (2.4, "+140 %"),
        (0.9999, "\u22120.01 %"),
    ],
)
def test_a_ratio_reads_as_a_difference(ratio: float, text: str) -> None:
    assert plots.change(ratio) == text
