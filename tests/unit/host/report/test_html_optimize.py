from __future__ import annotations

import re
from typing import Any

import pytest

from edgeopt_host.report import html
from edgeopt_host.report.html import _optimize_plots as plots
from page import Page
from sample_history import COLLAPSE, empty_history, sample_history
from sample_reports import HOSTILE


@pytest.fixture(scope="module")
def whole() -> str:
    return html.optimize(sample_history())


def told(text: str) -> str:
    """Its text, with a space where elements begin and end."""
    return " ".join(Page(text.replace("<", " <")).text.split())


def test_it_shows_the_whole_way(whole: str) -> None:
    text = told(whole)
    for part in (
        f"Step 2 quantize:int8: the {COLLAPSE.removeprefix('the ')}",
        "155 KB ÷ 3.10, gzip 143 KB (÷ 3.01)", "90.86 % 90.30 % to 91.42 %, 10,000 examples",
        "+0.16 pt \u22120.03 to +0.37, 10,000 examples", "99 % same class outputs differ by 0.032 at most",
        "Failed: UNSUPPORTED_OPERATOR", "made of 3", "Noise, severity 1", "drop +3.00 pt",
        "97.02 % no interval",
        "io int8, strict yes, layers all", "200 calibration, 5000 validation", "tensorflow 2.21.0",
        "Lost on validation examples +0.21 pt (standard error 0.096), 5,000 examples",
        "may give other bytes", "taken from the cache", "Stayed in float", "SOFTMAX, MEAN",
        "calibration 200 of x_train", "Left out as duplicates 12 in test, 31 repeated",
        'technique = "quantize:int8" io = "int8"',
    ):  # fmt: skip
        assert part in text, part


def test_both_speed_ups_are_shown_where_there_are_both(whole: str) -> None:
    text = told(whole)
    pi4, local = re.findall(r"3 quantize:mixed (\d[\d.]+ .s \d.*?) 5 quantize:float16 not", text)
    assert re.match(r"3\.18 ms 3\.11 to 3\.24 1\.64. 1\.61 to 1\.67 315", pi4)
    assert re.match(r"799 µs 767 to 831 1\.64. 1\.57 to 1\.70 39. no interval 1251", local)
    assert "RUNTIME_UNAVAILABLE: the device has no runtime" in text


def test_a_model_that_could_not_be_evaluated_says_why() -> None:
    history = sample_history()
    history["steps"] = history["steps"][:1]
    error = {"reason": "METRIC_FAILED", "message": "own.py:score raised ZeroDivisionError"}
    history["steps"][0] |= {"error": error, "evaluation": None}
    page = html.optimize(history)
    # Among the findings, and with the step.
    assert told(page).count("not evaluated: METRIC_FAILED: own.py:score raised ZeroDiv") == 2
    assert 'class="banner fail"' in page
    assert 'class="banner fail"' not in html.optimize(sample_history() | {"steps": []})


def test_what_layers_lose_is_in_the_metrics_unit() -> None:
    history = sample_history()
    notes = history["steps"][2]["notes"]
    for unit, shown in (("dB", "+41.2 dB 0"), ("", "+41.2 0"), ("pt", "+41.20 pt 0")):
        notes["validation"]["unit"] = unit
        assert f"conv2d_4/Conv2D float {shown}." in told(html.optimize(history))
    notes["validation"] = None
    history["metric"]["unit"] = "dB"
    assert "conv2d_4/Conv2D float +41.2 dB" in told(html.optimize(history))


def test_the_originals_latency_has_its_time(whole: str) -> None:
    assert "timed 2026-11-24 18:39 UTC" in told(whole)
    assert "Made 2026-11-24 18:40 UTC with the seed 7." in told(whole)


def test_all_warnings_of_a_device_are_with_its_speed(whole: str) -> None:
    warning = "reference, 1 convert:tflite, 2 quantize:int8, 3 quantize:mixed: local was noisy"
    assert f"Warnings while it was measured: 1 {warning} " in told(whole)
    assert whole.count("<summary>Warnings") == 1


def test_notes_are_words() -> None:
    history = sample_history()
    agreement = history["steps"][2]["evaluation"]["agreement"] | {"examples": 1}
    history["steps"][0]["notes"] = {"agreement": agreement, "batch": None, "way": "script"}
    history["data"]["duplicates"] = {"in_test": 0, "in_validation": 0, "repeated": 0}
    text = told(html.optimize(history))
    assert (
        "Agrees with source 99 % same class, outputs differ by 0.032 at most, mean 0.0016, "
        "1 example Way script Digest"
    ) in text
    assert "Left out as duplicates none Digest" in text
    assert "per_output" not in text


def test_scores_are_alike_where_only_drops_have_a_unit() -> None:
    history = sample_history()
    history["metric"] = None
    text = told(html.optimize(history))
    assert "90.86 % 90.30 % to 91.42 %" in text
    assert "drop +3.00 pt" in text
    assert "0.909 " not in text


def test_layers_are_sorted_by_what_they_cost(whole: str) -> None:
    text = told(whole)
    layers = re.findall(
        r"(model/block_\d+/conv2d_\d+/Conv2D) (float|int8) ([+\u2212]?[\d.]+) pt", text
    )
    assert len(layers) == 30
    drops = [float(drop.replace("\u2212", "-")) for _, _, drop in layers]
    assert drops == sorted(drops, reverse=True)
    assert [chosen for _, chosen, _ in layers[:3]] == ["float", "float", "int8"]


def test_a_layer_that_was_not_measured_stands_last_and_says_so() -> None:
    history = sample_history()
    layer = dict.fromkeys(("layer", "operator", "bytes", "drop_pt", "output_error", "chosen"))
    history["steps"][2]["notes"]["sensitivity"].insert(0, layer | {"layer": "unseen"})
    text = told(html.optimize(history))
    assert text.index("unseen") > text.rindex("conv2d_20")
    assert "unseen unknown not measured not measured not measured not measured" in text


def test_of_many_classes_those_that_changed_most_are_shown() -> None:
    history = sample_history()
    one = {"precision": 0.5, "recall": 0.5, "f1-score": 0.5, "support": 10.0}
    before = {f"class{i}": dict(one) for i in range(60)}
    after = before | {"class57": one | {"recall": 0.25}}
    history["original"]["scores"]["test"]["report"] = before
    history["steps"][0]["evaluation"]["scores"]["test"]["report"] = after
    text = told(html.optimize(history))
    assert "The 40 classes whose recall changed most; 20 more are in history.json." in text
    assert "class57 50.0 % 25.0 % 50.0 % 50.0 % 10" in text


def test_what_was_not_measured_is_never_a_number() -> None:
    for history in (empty_history(), {}):
        page = Page(html.optimize(history))
        text = " ".join(page.text.partition("Intervals hold")[0].partition("</style>")[0].split())
        body = text[text.index("What each step did") :]
        assert "figure" not in page.tags
        assert "Latency and speed-up were not measured on any device." in body
        assert "No data were given." in body
        assert re.search(r"\b0(\.0+)?\b", body.replace("above 0 is worse", "")) is None
        assert "None" not in body


@pytest.mark.parametrize(
    "keys",
    [
        ("ci95", "low", "high", "p50_ci95"), ("value", "p50_latency_ms"), ("bytes", "gzip_bytes"),
        ("notes", "parameters", "used", "versions"), ("evaluation", "scores"), ("report", "top_k"),
        ("models", "similarity", "splits"), ("unit", "name", "drop_pt", "severity"),
    ],
)  # fmt: skip
def test_anything_may_be_null(keys: tuple[str, ...]) -> None:
    def without(document: Any) -> Any:
        if isinstance(document, dict):
            return {k: None if k in keys else without(v) for k, v in document.items()}
        return [without(one) for one in document] if isinstance(document, list) else document

    text = told(html.optimize(without(sample_history())))
    if "ci95" in keys:
        assert "+0.16 pt no interval" in text
        assert "3.18 ms no interval" in text
    assert not re.search(r"\bNone\b|\bnan\b", text)


def test_a_hostile_history_is_text() -> None:
    history = sample_history(HOSTILE, HOSTILE)
    history["steps"][0]["technique"] = history["recipe"] = HOSTILE
    history["steps"][2]["notes"][HOSTILE] = HOSTILE
    history["metric"]["name"] = HOSTILE
    text = html.optimize(history)
    page = Page(text)
    assert "script" not in page.tags
    assert "<script>alert('x')</script>" in page.text
    assert "\x1b" not in text
    links = page.values("href", "src", "xlink:href", "action", "srcset")
    assert [link for link in links if not link.startswith(("#", "data:"))] == []


def test_it_is_small_and_has_no_scripts(whole: str) -> None:
    page = Page(whole)
    assert "script" not in page.tags
    assert "default-src 'none'" in whole
    assert len(whole.encode()) < 150_000
    assert page.tags.count("figure") == 4


def test_plots_are_described_and_tell_what_has_no_interval() -> None:
    rows = [plots.Span("a", 0.1, (-0.1, 0.3)), plots.Span("b", 80.0, None)]
    svg = plots.spans(rows, "Drop", "drop (pt)", unit="pt")
    assert "a: 0.1 pt (-0.1 to 0.3); b: 80 pt, no interval" in svg
    assert plots.wide(rows)
    assert not plots.wide(rows[:1])
    assert plots.spans([], "Drop", "drop (pt)", unit="pt") == plots.sizes([]) == ""
