from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import model_files
from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize import formats


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_files.made("keras", tmp_path_factory.mktemp("keras"))


@pytest.fixture(scope="module")
def seen(files: Path) -> dict[str, Any]:
    (files / "renamed3").write_bytes((files / "whole3.keras").read_bytes())
    (files / "renamed2").write_bytes((files / "whole2.h5").read_bytes())
    (files / "broken.py").write_text("raise ValueError('no luck')\n", encoding="utf-8")
    whole: dict[str, dict[str, str]] = {
        f"whole{n}.{suffix}": {} for n in "23" for suffix in ("keras", "h5")
    }
    return model_files.seen(
        files,
        {
            **whole,
            **{
                name: {}
                for name in ("renamed2", "renamed3", "saved2", "saved3", "own.keras", "two.keras")
            },
            "with code": {"reference": "own.keras", "code": "layers.py"},
            "broken code": {"reference": "own.keras", "code": "broken.py"},
        },
    )


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize(("version", "framework"), [("2", "tf_keras 2"), ("3", "keras 3")])
def test_both_keras_load_and_give_what_they_gave(
    files: Path, seen: dict[str, Any], version: str, framework: str, suffix: str
) -> None:
    found = seen[f"whole{version}.{suffix}"]
    assert found["format"] == "keras"
    assert found["description"]["framework"].startswith(framework)
    np.testing.assert_allclose(
        found["outputs"]["class"], np.load(files / f"y{version}.npy"), rtol=1e-5, atol=1e-6
    )


def test_a_description_counts(seen: dict[str, Any]) -> None:
    found = seen["whole3.keras"]["description"]
    assert found["inputs"] == [{"name": "image", "shape": [None, 6, 6, 1], "dtype": "float32"}]
    assert found["outputs"] == [{"name": "class", "shape": [None, 3], "dtype": "float32"}]
    parameters = (9 * 4 + 4) + (64 * 3 + 3)
    assert found["parameters"] == parameters
    assert found["weight_bytes"] == 4 * parameters
    assert found["macs"] == 16 * 4 * 9 + 64 * 3
    assert found["operators"] == {"Conv2D": 1, "Dense": 1, "Flatten": 1, "InputLayer": 1}
    assert seen["whole2.h5"]["description"]["macs"] == found["macs"]


def test_files_without_the_usual_name_are_told_by_content(seen: dict[str, Any]) -> None:
    for name in ("renamed2", "renamed3"):
        assert seen[name]["format"] == "keras"
    assert seen["renamed2"]["description"]["framework"].startswith("tf_keras")


def test_saved_models_run_through_their_signature(files: Path, seen: dict[str, Any]) -> None:
    assert seen["saved2"]["format"] == seen["saved3"]["format"] == "saved_model"
    (outputs,) = seen["saved2"]["outputs"].values()
    np.testing.assert_allclose(outputs, np.load(files / "y2.npy"), rtol=1e-5, atol=1e-6)
    assert seen["saved3"]["description"]["macs"] == seen["whole3.keras"]["description"]["macs"]
    assert seen["saved3"]["description"]["parameters"] == 40 + 195


def test_a_class_that_is_missing_is_named(seen: dict[str, Any]) -> None:
    assert seen["own.keras"]["reason"] == "MODEL_INVALID"
    assert "the class Doubling" in seen["own.keras"]["error"]
    assert "--code" in seen["own.keras"]["error"]


def test_code_defines_the_class_with_what_it_imports(files: Path, seen: dict[str, Any]) -> None:
    np.testing.assert_allclose(
        seen["with code"]["outputs"]["class"], np.load(files / "own.npy"), rtol=1e-5, atol=1e-6
    )
    into = files / "into" / "with code" / "own.keras"
    assert {one.name for one in (into / "code").iterdir()} == {"layers.py", "shapes.py"}


def test_code_that_fails_says_so(seen: dict[str, Any]) -> None:
    assert seen["broken code"]["error"] == "importing broken.py failed with ValueError: no luck"


def test_data_that_do_not_fit_are_refused(seen: dict[str, Any]) -> None:
    assert seen["two.keras"]["reason"] == "DATA_INVALID"
    assert "left float32 (n, 2), right float32 (n, 3)" in seen["two.keras"]["error"]


@pytest.mark.parametrize("name", ["alone2.weights.h5", "alone3.weights.h5"])
def test_weights_alone_are_refused(files: Path, name: str) -> None:
    with pytest.raises(
        EdgeoptError, match=r"holds weights without a model: .*model\.save"
    ) as raised:
        formats.open_model(files / name, into=files)
    assert raised.value.reason == "MODEL_INVALID"


@pytest.mark.parametrize("name", ["pickled2.keras", "pickled2.h5", "pickled3.keras", "pickled3.h5"])
def test_pickled_functions_are_never_executed(files: Path, name: str) -> None:
    with pytest.raises(
        EdgeoptError, match="a Lambda layer with a pickled Python function"
    ) as raised:
        formats.open_model(files / name, into=files)
    assert raised.value.reason == "MODEL_INVALID"


def test_a_truncated_file_is_damaged(files: Path, tmp_path: Path) -> None:
    for name in ("whole3.keras", "whole2.h5"):
        cut = tmp_path / name
        cut.write_bytes((files / name).read_bytes()[:2000])
        with pytest.raises(EdgeoptError, match="damaged or truncated"):
            formats.open_model(cut, into=tmp_path)


def test_options_of_other_formats_are_refused(files: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--weights is for FILE\.py:FACTORY"):
        formats.open_model(files / "whole3.keras", into=tmp_path, weights=files / "x.npy")
    with pytest.raises(UsageError, match="--code is for Keras models"):
        formats.open_model(files / "saved3", into=tmp_path, code=files / "layers.py")
