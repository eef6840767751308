"""Whole runs on real ONNX models: what is made, kept, told and refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomlkit

import digits
from edgeopt_host.errors import Cancelled, EdgeoptError, UsageError
from edgeopt_host.optimize.run import optimize
from edgeopt_host.optimize.watcher import Watcher


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEOPT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return digits.classifier(tmp_path / "digits.onnx")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return digits.npz(tmp_path / "digits.npz")


def steps(history: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {step["id"]: step for step in history["steps"]}


def test_a_run_makes_models_and_tells_what_each_step_did(model: Path, data: Path) -> None:
    before = model.read_bytes()
    history = optimize(
        model,
        data=str(data),
        steps="quantize:int8; quantize:float16,from=original",
        out="out",
        robustness=False,
    )
    assert model.read_bytes() == before
    made = steps(history)
    assert [step["status"] for step in made.values()] == ["done", "done"]
    assert made["quantize-int8"]["used"] == {"calibration": 200}
    assert made["quantize-float16"]["from"] == "original"
    scores = {name: step["evaluation"]["scores"]["test"] for name, step in made.items()}
    assert all(score["examples"] == 797 and score["value"] > 0.9 for score in scores.values())
    for step in made.values():
        assert (Path("out") / step["model"]["path"]).stat().st_size == step["model"]["size_bytes"]
        assert step["evaluation"]["drop"]["low"] <= step["evaluation"]["drop"]["value"]
    assert json.loads(Path("out/history.json").read_text()) == history
    assert "quantize-int8" in Path("out/report.html").read_text()


def test_the_recipe_alone_repeats_a_run_after_model_and_data_are_gone(
    model: Path, data: Path, tmp_path: Path
) -> None:
    first = optimize(model, data=str(data), steps="quantize:int8", out="out", robustness=False)
    recipe = tomlkit.parse(Path("out/recipe.toml").read_text())
    assert recipe["model"]["path"] == "../digits.onnx"
    model.unlink()
    data.unlink()
    again = optimize(recipe="out/recipe.toml", out="again", fresh=True)
    assert (
        steps(again)["quantize-int8"]["model"]["sha256"]
        == (steps(first)["quantize-int8"]["model"]["sha256"])
    )
    assert not steps(again)["quantize-int8"]["cached"]
    shutil.rmtree(tmp_path / "home")
    with pytest.raises(UsageError, match=r"digits\.onnx"):
        optimize(recipe="out/recipe.toml", out="third")


def test_a_recipe_whose_model_changed_takes_the_one_it_was_made_with(
    model: Path, tmp_path: Path
) -> None:
    first = optimize(model, steps="quantize:float16", out="out")
    digits.classifier(model, scale=0.5)
    again = optimize(recipe="out/recipe.toml", out="out")
    assert again["model"]["sha256"] == first["model"]["sha256"]
    other = optimize(model, recipe="out/recipe.toml", out="out")
    assert other["model"]["sha256"] != first["model"]["sha256"]
    shutil.rmtree(tmp_path / "home")
    digits.classifier(model, scale=0.25)
    with pytest.raises(UsageError, match="is not what the recipe was made with"):
        optimize(recipe="out/recipe.toml", out="out")


def test_what_was_made_is_kept_by_model_data_parameters_and_seed(model: Path, data: Path) -> None:
    def cached(source: Path, chain: str = "quantize:int8", **more: Any) -> bool:
        history = optimize(source, data=str(data), steps=chain, out="out", robustness=False, **more)
        return bool(history["steps"][0]["cached"])

    assert not cached(model)
    assert cached(model)
    assert not cached(model, "quantize:int8,per_channel=false")
    assert not cached(model, seed=1)
    assert not cached(model, calibration=100)
    # Another model under the same name never gets the first one's result.
    digits.classifier(model, scale=0.5)
    assert not cached(model)


def test_a_run_that_was_interrupted_goes_on_from_the_last_finished_step(
    model: Path, data: Path
) -> None:
    class Impatient(Watcher):
        def done(self, what: str, text: str) -> None:  # noqa: ARG002 - of the protocol
            if what == "quantize-float16":
                raise Cancelled("interrupted")

    chain = "quantize:int8; quantize:float16,from=original"
    with pytest.raises(Cancelled):
        optimize(
            model, data=str(data), steps=chain, out="out", robustness=False, watcher=Impatient()
        )
    left = json.loads(Path("out/history.json").read_text())
    assert [step["status"] for step in left["steps"]] == ["done", "interrupted"]
    again = optimize(model, data=str(data), steps=chain, out="out", robustness=False)
    assert [step["cached"] for step in again["steps"]] == [True, False]
    assert [step["status"] for step in again["steps"]] == ["done", "done"]


def test_a_step_that_fails_ends_what_builds_on_it_and_nothing_else(model: Path) -> None:
    history = optimize(
        model,
        steps="quantize:dynamic,operators=Nonsense,id=bad; quantize:float16,id=after; "
        "quantize:float16,from=original,id=other",
        out="out",
    )
    made = steps(history)
    assert made["bad"]["error"]["message"]
    assert "Nonsense" in made["bad"]["error"]["message"]
    assert made["after"]["error"]["reason"] == "SOURCE_FAILED"
    assert made["other"]["status"] == "done"
    assert [path.name for path in Path("out/models").iterdir()] == ["3-other.onnx"]


def test_without_data_what_needs_none_is_made_and_outputs_are_compared(model: Path) -> None:
    history = optimize(model, steps="quantize:float16", out="out")
    step = steps(history)["quantize-float16"]
    assert (history["data"], step["evaluation"]["scores"]) == (None, {})
    assert step["evaluation"]["agreement"]["max_abs"] < 0.01


def test_options_win_over_a_recipe(model: Path, data: Path) -> None:
    optimize(model, data=str(data), steps="quantize:int8", out="out", robustness=False)
    again = optimize(recipe="out/recipe.toml", out="again", calibration=50)
    assert steps(again)["quantize-int8"]["used"] == {"calibration": 50}
    assert again["original"]["robustness"] == []


def test_an_unknown_device_is_refused_first(model: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        optimize(model, steps="quantize:dynamic", out="out", devices=("nowhere",))
    assert not Path("out").exists()


def test_a_collapse_is_told_loudly_and_kept(tmp_path: Path) -> None:
    x, _ = digits.images()
    # Calibrated on pictures a thousand times too dark, every real one saturates.
    dark = digits.npz(tmp_path / "dark.npz", x_train=x[: digits.TRAINED] / 1000)
    history = optimize(
        digits.classifier(tmp_path / "m.onnx"),
        data=str(dark),
        steps="quantize:int8,method=minmax",
        out="out",
        robustness=False,
    )
    step = steps(history)["quantize-int8"]
    assert step["status"] == "done"
    assert step["evaluation"]["drop"]["value"] > 10
    assert any("collapsed" in warning for warning in step["evaluation"]["warnings"])
    assert any("differ" in warning for warning in history["warnings"])


def test_models_are_measured_on_devices_against_the_original(model: Path, data: Path) -> None:
    history = optimize(
        model,
        data=str(data),
        steps="quantize:dynamic",
        out="out",
        devices=("local",),
        robustness=False,
    )
    (device,) = history["devices"]
    assert (device["name"], device["format"], device["reference"]) == ("local", "onnx", "original")
    original, dynamic = device["models"]
    assert (original["step"], original["speedup"]) == ("original", None)
    assert dynamic["p50_latency_ms"] > 0
    assert dynamic["speedup"]["low"] < dynamic["speedup"]["value"] < dynamic["speedup"]["high"]
    accuracy = steps(history)["quantize-dynamic"]["evaluation"]["scores"]["test"]["value"]
    assert dynamic["accuracy"]["value"] == pytest.approx(accuracy, abs=0.005)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"y_test": np.full(797, 12), "y_train": None, "x_train": None}, "10"),
        ({"x_test": np.full((797, 8, 8, 1), np.nan, np.float32)}, "x_test"),
        ({"x_test": np.zeros((797, 9, 9, 1), np.float32)}, "[9, 9, 1]"),
    ],
)
def test_data_that_do_not_fit_are_refused(
    arrays: dict[str, Any], said: str, model: Path, tmp_path: Path
) -> None:
    bad = digits.npz(tmp_path / "bad.npz", **arrays)
    with pytest.raises(EdgeoptError) as error:
        optimize(model, data=str(bad), steps="quantize:dynamic", out="out")
    assert error.value.reason == "DATA_INVALID"
    assert said in error.value.message
    assert "\n" not in error.value.message


def test_a_place_that_cannot_be_written_is_refused_first(model: Path) -> None:
    Path("out").write_text("mine")
    with pytest.raises(UsageError, match="cannot write into out"):
        optimize(model, steps="quantize:dynamic", out="out")
    assert Path("out").read_text() == "mine"
