from __future__ import annotations

import re
from typing import Any

import pytest

from edgeopt_host.report import _history, _history_warnings, _history_words, optimization
from sample_history import COLLAPSE, DIFFERS, empty_history, sample_history
from sample_reports import HOSTILE


@pytest.fixture(autouse=True)
def _pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


def words(evaluation: Any = None, devices: Any = None, history: Any = None) -> str:
    """The sentence about a step of which only this is known."""
    step = {"id": "1", "from": "original", "technique": "quantize:int8", "status": "done"}
    whole = {"steps": [step | {"evaluation": evaluation}], "devices": devices, **(history or {})}
    return _history_words.words(whole, _history.models(whole)[1])


def line(text: str, start: str) -> str:
    return next(one for one in text.splitlines() if one.startswith(start))


def test_a_line_per_model_has_its_figures() -> None:
    text = optimization.render(sample_history())
    assert re.match(
        r"3 quantize:mixed +1 +tflite +155 KB +3\.10 +143 KB \(÷ 3\.01\) +90\.86 % +90\.30 % to 91\.42 % "
        r"+\+0\.16 pt +-0\.03 to \+0\.37 +99 % same class +3\.18 ms +1\.64. +1\.61 to 1\.67 ",
        line(text, "3 quantize:mixed"),
    )
    assert line(text, "original").count("not measured") == 4
    assert re.search(r" - +failed$", line(text, "4 quantize:int4"))


def test_warnings_come_first_each_once() -> None:
    history = sample_history()
    history["warnings"] = [f"step 2: {COLLAPSE}"]
    lines = optimization.render(history).splitlines()
    assert [one for one in lines if one.startswith("! ")] == lines[1:5]
    assert lines[1] == f"! step 2: {COLLAPSE}"
    assert DIFFERS in lines[2]
    assert sum(COLLAPSE in one for one in lines) == 1


def test_a_failed_step_says_why() -> None:
    text = optimization.render(sample_history())
    assert text.startswith("fer.h5   5 steps, 1 without a result, data faces.npz\n")
    assert (
        "4 quantize:int4: failed: UNSUPPORTED_OPERATOR: CONV_2D at conv2d_7 has no int4 kernel: keep it "
        "in float with keep_float.\n"
    ) in text


def test_a_model_that_could_not_be_evaluated_says_why() -> None:
    history = sample_history()
    error = {"reason": "METRIC_FAILED", "message": "own.py:score raised ZeroDivisionError."}
    history["steps"][4] |= {"error": error, "evaluation": None}
    text = optimization.render(history)
    assert "5 steps, 1 without a result, 1 not evaluated, data" in text.splitlines()[0]
    assert (
        "5 quantize:float16: 240 KB, not compared with the original's size; not evaluated: METRIC_FAILED: "
        "own.py:score raised ZeroDivisionError; not measured on pi4"
    ) in text
    assert line(text, "5 quantize:float16 ").endswith(" not evaluated")


def test_where_steps_go_on_from_each_other_nothing_says_from_what() -> None:
    history = sample_history()
    assert " From " in line(optimization.render(history), "Step")
    for before, step in zip(["original", "1", "2", "3", "4"], history["steps"], strict=True):
        step["from"] = before
    assert " From " not in line(optimization.render(history), "Step")


@pytest.mark.parametrize(
    ("drop", "told"),
    [
        (None, "score not compared with the original's"),
        ({"value": 0.1, "low": None, "high": None, "unit": "pt"}, "by 0.10 pt, without an interval"),
        ({"value": 0.1, "low": -0.2, "high": 0.4, "unit": "pt"}, "no change of score found (drop -0.20"),
        ({"value": 0.5, "low": 0.3, "high": 0.7, "unit": "pt"}, "score falls by 0.50 pt (0.30 to 0.70)"),
        ({"value": -0.5, "low": -0.7, "high": -0.3, "unit": "pt"}, "rises by 0.50 pt (0.30 to 0.70)"),
        ({"value": 0.0123, "low": 0.01, "high": 0.02, "unit": ""}, "falls by 0.0123 (0.01 to 0.02)"),
        ({"value": 1.0, "low": -4.5, "high": 5.6, "unit": "pt", "examples": 40},
         "40 test examples cannot tell whether the score changed (drop -4.50 to +5.60 pt)"),
        ({"value": 1.0, "low": -4.0, "high": 5.9, "unit": "pt"}, "no change of score found"),
        ({"value": 9.0, "low": -90.0, "high": 80.0, "unit": ""}, "no change of score found"),
        ({"value": 20.0, "low": 12.0, "high": 28.0, "unit": "pt", "examples": 1},
         "falls by 20.00 pt (12.00 to 28.00), which 1 test example cannot tell more closely"),
    ],
)  # fmt: skip
def test_a_drop_is_told_with_what_is_known_of_it(drop: Any, told: str) -> None:
    assert told in words({"drop": drop})


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (None, "size not measured"),
        ({"bytes": 2048}, "2.00 KB, not compared with the original's size"),
        ({"bytes": 2048, "compression_ratio": 3.9}, "2.00 KB, size divided by 3.90"),
        ({"bytes": 2048, "compression_ratio": 0.8}, "2.00 KB, size multiplied by 1.25"),
        ({"bytes": 2048, "compression_ratio": 1.001}, "2.00 KB, as large as the original"),
    ],
)
def test_a_size_is_told_against_the_original(size: Any, told: str) -> None:
    assert words({"size": size}).startswith(told)


@pytest.mark.parametrize(
    ("measured", "told"),
    [
        (None, "not measured on pi4"),
        ({"error": {"reason": "BUSY", "message": "it is busy"}}, "not measured on pi4 (BUSY: it is busy)"),
        ({"p50_latency_ms": 2.0}, "speed-up on pi4 not measured"),
        ({"p50_latency_ms": 2.0, "speedup": {"value": 2.0}},
         "on pi4 2.0 times as fast as the first float conversion (no interval)"),
        ({"p50_latency_ms": 2.0, "speedup": {"value": 2.0, "low": 1.8, "high": 2.2}}, "(1.80 to 2.20)"),
        ({"p50_latency_ms": 2.0, "speedup": {"value": 1.1, "low": 0.9, "high": 1.2}},
         "no difference in speed from the first float conversion found on pi4 (0.90 to 1.20 times)"),
        ({"p50_latency_ms": 2.0, "speedup": {"value": 0.5, "low": 0.4, "high": 0.8}},
         "takes 2.00 times as long as the first float conversion (1.25 to 2.50)"),
    ],
)  # fmt: skip
def test_speed_is_told_with_what_is_known_of_it(measured: Any, told: str) -> None:
    models = [] if measured is None else [{"step": "1", **measured}]
    assert told in words(devices=[{"name": "pi4", "models": models}])


def test_the_reference_of_a_device_is_named_and_not_compared_with_itself() -> None:
    history = sample_history()
    for device in history["devices"]:
        device["reference"] = "1"
    text = optimization.render(history)
    assert "5.23 ms on pi4, which the others are compared with" in text
    assert "on pi4 1.92 times as fast as 1 convert:tflite (1.88 to 1.96)" in text
    assert re.search(r" 5\.23 ms +reference ", line(text, "1 convert:tflite"))


def test_a_device_that_measured_two_formats_is_told_once_for_each_model() -> None:
    history = sample_history()
    first = history["devices"][0]
    step = history["steps"][4] | {"id": "6", "technique": "convert:onnx"}
    history["steps"].append(step)
    measured = {"step": "6", "p50_latency_ms": 9.0, "speedup": None, "error": None}
    history["devices"].append(
        {
            "name": first["name"],
            "board": None,
            "format": "onnx",
            "reference": "6",
            "models": [measured],
        }
    )
    text = optimization.render(history)
    assert "9.00 ms on pi4, which the others are compared with; not measured on local." in text
    assert text.count("not measured on pi4") == 1
    assert "pi4 tflite p50" in text
    assert "pi4 onnx p50" in text


WAITED = (
    "the measuring thread waited {} % of the time that it wanted a CPU: other work disturbs this device; "
    "stop it, or use fewer --threads or more --launches"
)
QUEUE = (
    "4 processes and threads want to run on 2 cores: stop other work on the device (top shows it)"
)
DISTURBED = "latencies on local were disturbed by other work"
FEW = (
    "{} inferences say little about p95 and p99; measure longer with --duration or more --launches"
)


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (["it was hot"], ["it was hot"], "on local: it was hot"),
        ([WAITED.format(58), QUEUE], [],
         f"{DISTURBED} (58 % of the time waited for a CPU): stop it and run again"),
        ([WAITED.format(58)], [QUEUE, WAITED.format(100)],
         f"{DISTURBED} (58 to 100 % of the time waited for a CPU): stop it and run again"),
        ([QUEUE], ["it was hot"],
         f"{DISTURBED}: stop it and run again; it was hot"),
        ([FEW.format(60)], [FEW.format(80)], "on local: 60 inferences say little about p95 and p99"),
        (["it was hot"], ["it was cold", "it was wet"],
         "on local: it was hot; 2 more under Speed in report.html"),
        ([], [], None),
    ],
)  # fmt: skip
def test_warnings_of_a_device_are_one_sentence(
    first: list[str], second: list[str], told: str | None
) -> None:
    def device(format_: str, warnings: list[str]) -> dict[str, Any]:
        models = [{"step": "1", "warnings": warnings}]
        return {"name": "local", "format": format_, "models": models}

    history = {"devices": [device("onnx", first), device("ptl", second)]}
    assert _history_warnings.warnings(history) == ([told] if told else [])


def test_a_warning_of_several_steps_names_them_all() -> None:
    history = sample_history()
    for i in (0, 2, 4):
        history["steps"][i]["warnings"] = ["it is old"]
    text = optimization.render(history)
    assert "! steps 1 convert:tflite, 3 quantize:mixed and 5 quantize:float16: it is old\n" in text
    history["original"]["warnings"] = ["it is old"]
    history["steps"] = history["steps"][:1]
    assert "! original, step 1 convert:tflite: it is old\n" in optimization.render(history)


def test_what_was_lost_beyond_a_steps_own_budget_is_told() -> None:
    history = sample_history()
    step = history["steps"][2]
    assert "allowed" not in optimization.render(history)
    step["parameters"]["budget_pt"] = 0.1
    told = " 0.1 pt were allowed on validation examples; on test examples it lost 0.16 (-0.03 to +0.37)"
    assert f"{told}.\n" in optimization.render(history)
    # What its source had lost is not its own doing.
    source = history["steps"][0]["evaluation"]["drop"]
    source["value"] = 0.07
    assert "allowed" not in optimization.render(history)
    source["value"] = 0.05
    assert f"{told}, of which 0.05 before this step.\n" in optimization.render(history)


@pytest.mark.parametrize(
    ("ratio", "told"),
    [(69.4, "69"), (123.0, "120"), (9.96, "10"), (1.0, "1.0"), (0.518, "0.52"), (0.0123, "0.012")],
)
def test_without_an_interval_a_ratio_has_two_digits(ratio: float, told: str) -> None:
    assert _history.rough(ratio) == told
    assert _history.speedup({"value": ratio}).text == f"{told}×"  # noqa: RUF001 - times


def test_a_step_without_an_id_of_its_own_is_called_by_its_technique() -> None:
    history = sample_history()
    history["steps"][1]["id"] = "quantize-int8"
    assert line(optimization.render(history), "quantize-int8 ")


def test_only_this_host_is_compared_with_the_original_in_its_framework() -> None:
    host = {"original": {"host": {"mean_ms": 30.0, "median_ms": 20.0}}}
    for name, compared in (("local", True), ("pi4", False)):
        device = {"name": name, "models": [{"step": "1", "p50_latency_ms": 2.0}]}
        told = words(devices=[device], history=host)
        assert ("10× as fast as the original" in told) == compared  # noqa: RUF001 - times
    text = optimization.render(sample_history())
    assert (
        "the original in its own framework on this host: 31.3 ms (median of 100 runs, timed "
        "2026-11-24 18:39 UTC, 32.0 FPS, keras 3.15.1)" in text
    )


def test_what_was_not_measured_is_never_a_number() -> None:
    for history in (empty_history(), {"steps": empty_history()["steps"]}):
        text = optimization.render(history)
        assert "the original in its own framework on this host: not measured" in text
        assert re.search(r"\b0(\.0+)?\b", text) is None
        assert "None" not in text
    assert line(optimization.render(empty_history()), "1 convert:onnx").count("not measured") == 6


def _keys(document: Any) -> set[str]:
    if isinstance(document, dict):
        return set(document).union(*map(_keys, document.values()))
    return set().union(*map(_keys, document)) if isinstance(document, list) else set()


def _without(document: Any, key: str) -> Any:
    if isinstance(document, dict):
        return {k: None if k == key else _without(v, key) for k, v in document.items()}
    return [_without(one, key) for one in document] if isinstance(document, list) else document


@pytest.mark.parametrize("key", sorted(_keys(sample_history())))
def test_anything_may_be_null(key: str) -> None:
    text = optimization.render(_without(sample_history(), key))
    assert "None" not in text
    assert text


def test_a_score_that_is_no_share_has_no_percent() -> None:
    history = sample_history()
    history["metric"] = {"name": "neg_mean_absolute_error", "unit": ""}
    history["original"]["scores"]["test"] |= {"value": -2.5, "ci95": [-2.75, -2.25]}
    told = line(optimization.render(history), "original")
    assert re.search(r" -2\.50 +-2\.75 to -2\.25 ", told)
    assert "%" not in told


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_terminal_is_not_overrun(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = optimization.render(sample_history())
    assert max(map(len, text.splitlines())) <= width
    assert "+80.89 pt" in line(text, "2 quantize:int8")


def test_a_hostile_name_does_not_control_the_terminal() -> None:
    text = optimization.render(sample_history(HOSTILE, HOSTILE))
    assert "\x1b" not in text
    assert "\\x1b[31m.onnx" in text
