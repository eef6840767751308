from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tflite_jobs

pytest.importorskip("tensorflow")
pytest.importorskip("litert_quantizer")

_KERAS, _TFLITE = "three.keras", "convert.tflite"


def _job(technique: str, source: str, data: str = "", **parameters: Any) -> dict[str, Any]:
    return {"technique": technique, "source": source, "data": data, "parameters": parameters}


def _both(function: str, name: str, **parameters: Any) -> dict[str, dict[str, Any]]:
    """A technique on the Keras model, and on the float TFLite file made of it."""
    return {
        f"{name} keras": _job(f"tf:{function}", _KERAS, **parameters),
        f"{name} tflite": _job(f"litert:{function}", _TFLITE, **parameters),
    }


_AGAIN = ("dynamic keras", "int8 keras", "int8 tflite", "int4 tflite", "mixed")
_JOBS = {
    "convert": _job("convert:convert", _KERAS),
    "convert2": _job("convert:convert", "two.h5"),
    "convert saved": _job("convert:convert", "two.saved_model"),
    "convert odd": _job("convert:convert", "determinant.saved_model"),
    "convert strictly": _job("convert:convert", _KERAS, tolerance=0.0),
    **_both("dynamic", "dynamic"),
    **_both("float16", "float16"),
    **_both("int8", "int8"),
    **_both("int8", "int8 float", io="float"),
    **_both("int8", "int8 uint8", io="uint8"),
    **_both("int16x8", "int16x8"),
    **_both("int4", "int4"),
    **_both("int4", "int4 static", activations="int8", io="int8"),
    **_both("int4", "int4 weights", activations="float"),
    **_both("int4", "int4 blocks", block=32),
    **_both("int8", "int8 without dense", keep_float=["*dense*"]),
    **_both("dynamic", "dynamic dense", operators=["FULLY_CONNECTED"]),
    **_both("int8", "narrow"),
    **_both("int8", "uint8 data"),
    "sine": _job("convert:convert", "sine.saved_model"),
    **{
        f"{name} {kind}": _job(f"{kind}:int8", source, **parameters)
        for kind, source in (("tf", "sine.saved_model"), ("litert", "sine.tflite"))
        for name, parameters in (("strict", {}), ("fallback", {"fallback": True}))
    },
    "int8 two": _job("tf:int8", "two.h5"),
    "int8 saved": _job("tf:int8", "two.saved_model"),
    "no layer": _job("litert:dynamic", _TFLITE, layers=["*nothing*"]),
    "no kind": _job("litert:dynamic", _TFLITE, operators=["LSTM"]),
    "nothing left": _job("litert:dynamic", _TFLITE, keep_float=["*"]),
    "twice": _job("litert:int8", "int8 tflite.tflite"),
    "twice16": _job("litert:int8", "float16 tflite.tflite"),
    "blocks static": _job("litert:int4", _TFLITE, activations="int8", block=32),
    "mixed": _job("mixed:mixed", _TFLITE, examples=200),
    "mixed keras": _job("mixed:mixed", _KERAS, examples=200, activations="int8"),
    "mixed exactly": _job("mixed:mixed", _TFLITE, examples=200, budget_pt=0, algorithm="min_max"),
    "mixed wrongly": _job("mixed:mixed", _TFLITE, budget_pt=-1),
}
_JOBS |= {
    name: {**_JOBS[name], "data": name.split()[0]}
    for name in _JOBS
    if name.startswith(("narrow", "uint8"))
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tflite_jobs.made(tmp_path_factory.mktemp("tflite"))


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[str, Any]:
    return tflite_jobs.run(folder, "first", _JOBS)


@pytest.mark.parametrize("name", ["convert", "convert2", "convert saved"])
def test_a_float_conversion_agrees_with_its_source(results: dict[str, Any], name: str) -> None:
    found = results[name]
    assert found["notes"]["agreement"]["max_abs"] < 1e-4
    assert found["accuracy"] > 0.9
    assert set(found["dtypes"]) <= {"float32", "int32"}


def test_a_conversion_that_differs_by_more_than_allowed_is_refused(results: dict[str, Any]) -> None:
    found = results["convert strictly"]
    assert found["reason"] == "CONVERSION_DIFFERS"
    assert not found["left"]


def test_operators_that_tflite_has_not_are_named(results: dict[str, Any]) -> None:
    found = results["convert odd"]
    assert found["reason"] == "UNSUPPORTED_OPERATOR"
    assert "MatrixDeterminant" in found["message"]
    assert not found["left"]


@pytest.mark.parametrize("source", ["keras", "tflite"])
@pytest.mark.parametrize(
    ("name", "smaller", "loss", "input_"),
    [
        ("dynamic", 3.2, 0.01, "float32"),
        ("float16", 1.8, 0.005, "float32"),
        ("int8", 3.2, 0.01, "int8"),
        ("int8 float", 3.2, 0.01, "float32"),
        ("int8 uint8", 3.2, 0.01, "uint8"),
        ("int16x8", 3.0, 0.01, "float32"),
        ("int4", 4.0, 0.03, "float32"),
        ("int4 static", 4.0, 0.03, "int8"),
        ("int4 weights", 4.0, 0.03, "float32"),
        ("int4 blocks", 4.0, 0.03, "float32"),
    ],
)
def test_quantized_models_are_smaller_and_nearly_as_right(
    results: dict[str, Any], source: str, name: str, smaller: float, loss: float, input_: str
) -> None:
    whole, found = results["convert"], results[f"{name} {source}"]
    assert whole["size"] / found["size"] > smaller, found
    assert found["accuracy"] > whole["accuracy"] - loss
    assert found["input"] == found["output"] == input_


@pytest.mark.parametrize("name", ["int8 keras", "int8 tflite", "int8 two", "int8 saved"])
def test_int8_leaves_nothing_in_float(results: dict[str, Any], name: str) -> None:
    assert results[name]["notes"]["fallback"] == []
    assert "float32" not in results[name]["dtypes"]


@pytest.mark.parametrize("kind", ["tf", "litert"])
def test_operators_without_an_integer_form_are_refused_or_named(
    results: dict[str, Any], kind: str
) -> None:
    assert results[f"strict {kind}"]["reason"] == "UNSUPPORTED_OPERATOR"
    assert "SIN" in results[f"strict {kind}"]["message"].upper()
    assert not results[f"strict {kind}"]["left"]
    assert [one.split()[0] for one in results[f"fallback {kind}"]["notes"]["fallback"]] == ["SIN"]


@pytest.mark.parametrize("source", ["keras", "tflite"])
def test_layers_are_chosen_by_name_and_kind(results: dict[str, Any], source: str) -> None:
    kept = results[f"int8 without dense {source}"]["notes"]["fallback"]
    assert [one.split()[0] for one in kept] == ["FULLY_CONNECTED", "FULLY_CONNECTED"]
    kept = results[f"dynamic dense {source}"]["notes"]["fallback"]
    assert sorted(one.split()[0] for one in kept) == ["CONV_2D", "CONV_2D", "DEPTHWISE_CONV_2D"]


@pytest.mark.parametrize("source", ["keras", "tflite"])
@pytest.mark.parametrize(
    ("name", "seen"), [("narrow", "(n, 4, 8, 1)"), ("uint8 data", "uint8 (n, 8, 8, 1)")]
)
def test_calibration_data_that_do_not_fit_are_refused(
    results: dict[str, Any], source: str, name: str, seen: str
) -> None:
    found = results[f"{name} {source}"]
    assert found["reason"] == "DATA_INVALID"
    assert seen in found["message"]
    assert "float32 (n, 8, 8, 1)" in found["message"]
    assert not found["left"]


@pytest.mark.parametrize(
    ("name", "reason", "words"),
    [
        ("no layer", "USAGE", "no layer is called '*nothing*'; there are "),
        ("no kind", "USAGE", "LSTM"),
        ("nothing left", "USAGE", "nothing to quantize"),
        ("twice", "MODEL_UNSUPPORTED", "quantized already"),
        ("twice16", "MODEL_UNSUPPORTED", "float16 already"),
        ("blocks static", "USAGE", "needs activations=dynamic"),
        ("mixed wrongly", "USAGE", "budget_pt is -1"),
    ],
)
def test_what_cannot_be_done_is_said(
    results: dict[str, Any], name: str, reason: str, words: str
) -> None:
    assert results[name]["reason"] == reason
    assert words in results[name]["message"]
    assert not results[name]["left"]


def test_models_that_old_runtimes_refuse_are_told(results: dict[str, Any]) -> None:
    for name in ("dynamic keras", "dynamic tflite", "int4 tflite", "int4 static tflite"):
        assert "tflite-runtime 2.14" in results[name]["notes"]["warnings"][0]
    assert results["dynamic tflite"]["versions"]["FULLY_CONNECTED"] == 12
    assert results["int4 static tflite"]["versions"]["CONV_2D"] == 8
    for name in ("float16 tflite", "int8 tflite"):
        assert "warnings" not in results[name]["notes"]


@pytest.mark.parametrize("name", ["mixed", "mixed keras", "mixed exactly"])
def test_mixed_precision_keeps_to_its_budget(results: dict[str, Any], name: str) -> None:
    notes = results[name]["notes"]
    lost = notes["validation"]
    allowed = 0 if name == "mixed exactly" else 0.5
    assert lost["drop_pt"] + 1.645 * lost["standard_error"] <= allowed + 1e-9
    assert (lost["unit"], lost["examples"], notes["sensitivity_examples"]) == ("pt", 400, 200)
    rows = notes["sensitivity"]
    assert [one["operator"] for one in rows] == [
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "CONV_2D",
        "FULLY_CONNECTED",
        "FULLY_CONNECTED",
    ]
    for one in rows:
        fewer = one["precisions"]
        assert set(fewer) == ({"int8"} if one["operator"].startswith("DEPTH") else {"int4", "int8"})
        if len(fewer) > 1:
            assert fewer["int4"]["output_error"] > fewer["int8"]["output_error"] > 0


def test_mixed_precision_is_smaller_than_int8(results: dict[str, Any]) -> None:
    assert results["mixed"]["size"] < results["dynamic tflite"]["size"]
    assert results["convert"]["size"] / results["mixed"]["size"] > 3.6
    assert results["mixed"]["accuracy"] > results["convert"]["accuracy"] - 0.02


def test_the_same_again_is_the_same_file(folder: Path, results: dict[str, Any]) -> None:
    again = tflite_jobs.run(folder, "again", {name: _JOBS[name] for name in _AGAIN})
    assert {name: again[name]["digest"] for name in _AGAIN} == {
        name: results[name]["digest"] for name in _AGAIN
    }
