"""What a step did to a model: real models, real digits."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from sklearn.metrics import accuracy_score

import digits
import tiny
from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize import _child, cache
from edgeopt_host.optimize.data import prepare
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.evaluate import evaluation, job
from edgeopt_host.optimize.evaluate.host import UNTIMED
from edgeopt_host.optimize.evaluate.size import Size, files
from edgeopt_host.optimize.model import Format, Model

EXAMPLES = 1797 - digits.TRAINED
KEYS = {
    "size", "parameters", "macs", "dtypes", "operators", "scores", "drop", "agreement", "robustness",
    "host", "warnings", "metric",
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("digits")
    prepare(
        str(digits.npz(folder / "digits.npz")), folder / "data", calibration=100, validation=0.2
    )
    return str(folder / "data")


def told(path: Path, format_: Format = Format.ONNX) -> dict[str, Any]:
    return Model.of(path, format_).document()


def run(
    model: Path, original: Path, data: str | None, metric: str | None = None, **settings: Any
) -> dict[str, Any]:
    settings.setdefault("outputs_cache", str(model.parent / "outputs"))
    document = job.run(told(model), told(original), data, metric, **settings)
    assert set(document) == KEYS
    return json.loads(json.dumps(document, allow_nan=False))  # type: ignore[no-any-return]


def test_the_original(tmp_path: Path, data: str) -> None:
    model = digits.classifier(tmp_path / "a.onnx")
    steps: list[float] = []
    found = run(model, model, data, top_k=[2, 20], progress=lambda share, _: steps.append(share))
    x, y = digits.images()
    w, b = digits.weights()
    logits = x.reshape(len(x), -1) @ w + b
    right = accuracy_score(y[digits.TRAINED :], logits[digits.TRAINED :].argmax(1))
    test = found["scores"]["test"]
    assert test["value"] == pytest.approx(right)
    assert test["examples"] == EXAMPLES
    assert test["ci95"][0] < right < test["ci95"][1]
    assert list(test["top_k"]) == ["2"]
    assert right < test["top_k"]["2"] <= 1
    assert test["report"]["accuracy"] == pytest.approx(right)
    assert test["report"]["3"]["support"] == (y[digits.TRAINED :] == 3).sum()
    # Learnt by heart, some of it.
    assert found["scores"]["train"]["value"] > right
    assert found["scores"]["validation"]["report"] is None
    assert found["drop"] is None
    assert found["agreement"] is None
    assert found["parameters"] == 650
    assert found["size"]["compression_ratio"] == 1
    assert found["operators"]["Gemm"] == 1
    host = found["host"]
    assert host["framework"].startswith("onnxruntime")
    assert (host["runs"], host["threads"]) == (100, 1)
    assert host["fps"] == pytest.approx(1000 / host["mean_ms"])
    age = dt.datetime.now(dt.timezone.utc) - dt.datetime.fromisoformat(host["time"])
    assert dt.timedelta(0) <= age < dt.timedelta(hours=1)
    assert host["machine"] == platform.node()
    assert found["metric"] == {"name": "accuracy", "unit": "pt"}
    assert found["warnings"] == []
    assert steps == sorted(steps)
    for row in found["robustness"]:
        assert row["value"] == row["original_value"]
        assert row["examples"] == EXAMPLES
    losses = {(row["corruption"], row["severity"]): row["drop"] for row in found["robustness"]}
    assert set(losses) == {
        (name, severity)
        for name in ("noise", "blur", "brightness", "missing")
        for severity in (1, 2)
    }
    assert losses["missing", 2] > 5


def test_a_step_that_costs_a_little(tmp_path: Path, data: str) -> None:
    original = digits.classifier(tmp_path / "a.onnx")
    model = digits.classifier(tmp_path / "b.onnx", noise=0.15, output="Identity:0")
    found = run(model, original, data)
    before = run(original, original, data)
    drop = found["drop"]
    values = [one["scores"]["test"]["value"] for one in (before, found)]
    assert drop["value"] == pytest.approx(100 * (values[0] - values[1]))
    assert drop["low"] < drop["value"] < drop["high"]
    assert (drop["unit"], drop["examples"]) == ("pt", EXAMPLES)
    assert found["agreement"]["examples"] == EXAMPLES
    assert 0.8 < found["agreement"]["argmax_same"] < 1
    assert 0 < found["agreement"]["mean_abs"] < found["agreement"]["max_abs"] < 1
    assert found["host"] is None
    row = found["robustness"][0]
    assert row["original_value"] == before["robustness"][0]["value"]
    assert row["drop_original"] == before["robustness"][0]["drop"]
    assert row["drop"] == pytest.approx(100 * (values[1] - row["value"]))


def test_a_collapse_is_warned_of(tmp_path: Path, data: str) -> None:
    original = digits.classifier(tmp_path / "a.onnx")
    found = run(digits.classifier(tmp_path / "b.onnx", scale=-1), original, data)
    (warning,) = found["warnings"]
    assert warning.startswith("the accuracy collapsed: it fell by")
    assert warning.endswith("which is what guessing gives")


def test_nan_is_counted_and_told(tmp_path: Path, data: str) -> None:
    original = digits.classifier(tmp_path / "a.onnx")
    found = run(digits.classifier(tmp_path / "b.onnx", scale=np.nan), original, data)
    assert found["scores"]["test"]["value"] == 0
    assert found["agreement"]["max_abs"] is None
    assert (
        f"the model gives NaN or infinite values for {EXAMPLES} of {EXAMPLES} test examples"
        in found["warnings"]
    )


def test_the_originals_outputs_are_computed_once(tmp_path: Path, data: str) -> None:
    original = digits.classifier(tmp_path / "a.onnx")
    model = digits.classifier(tmp_path / "b.onnx", noise=0.15)
    folder = tmp_path / "outputs"
    kept = told(original)
    first = run(model, original, data)
    files_ = {path: path.read_bytes() for path in folder.iterdir()}
    # Not opened again: neither is a model any more.
    size = original.stat().st_size
    original.write_bytes(b"\0" * size)
    again = job.run(told(model), kept, data, None, outputs_cache=str(folder))
    again["size"], first["size"] = None, None
    assert again == first
    assert {path: path.read_bytes() for path in folder.iterdir()} == files_
    # A damaged file is no reason to fail: of the model, it is made again.
    for path in folder.iterdir():
        if path.stat().st_size < 50_000:
            path.write_bytes(path.read_bytes()[:-30])
    digits.classifier(original)
    assert run(model, original, data)["scores"] == first["scores"]


def test_outputs_of_other_versions_or_code_are_not_taken(
    tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = digits.classifier(tmp_path / "a.onnx")
    folder = tmp_path / "outputs"
    first = run(model, model, data, robustness=False, host=False)
    kept = set(folder.iterdir())
    assert run(model, model, data, robustness=False, host=False) == first
    assert set(folder.iterdir()) == kept
    now = cache.runtime_versions()
    monkeypatch.setattr(cache, "runtime_versions", lambda: now | {"onnxruntime": "0.0.1"})
    assert run(model, model, data, robustness=False, host=False) == first
    assert len(set(folder.iterdir())) == 2 * len(kept)


def test_a_fresh_run_computes_outputs_again(tmp_path: Path, data: str) -> None:
    original = digits.classifier(tmp_path / "a.onnx")
    model = digits.classifier(tmp_path / "b.onnx", noise=0.15)
    folder = tmp_path / "outputs"
    expected = run(model, original, data)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    # Outputs that are wrong, in files that are whole.
    for path in folder.iterdir():
        with np.load(path) as archive:
            arrays = dict(archive)
        np.savez(path, **{n: a if n == "names" else a * np.float32(0) for n, a in arrays.items()})
    assert run(model, original, data)["scores"] != expected["scores"]
    assert run(model, original, data, fresh=True) == expected
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    assert run(model, original, data) == expected


def test_random_outputs_are_of_the_inputs_that_were_fed(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((32, 4), np.float32)
    given = [
        Examples({"": x}),
        Examples({"x": x}),
        Examples({"": x.astype(np.float64)}),
        Examples({"": x.reshape(32, 2, 2)}),
        Examples({"": x + 1}),
    ]
    assert len({evaluation.digest(one) for one in given}) == len(given)
    assert evaluation.digest(Examples({"": x.copy()})) == evaluation.digest(given[0])
    # Of two seeds, in files of their own.
    model = digits.classifier(tmp_path / "a.onnx")
    other = digits.classifier(tmp_path / "b.onnx", noise=0.15)
    first = run(other, model, None, seed=1)
    assert run(other, model, None, seed=2)["agreement"] != first["agreement"]
    assert len(list((tmp_path / "outputs").iterdir())) == 4


def test_the_original_is_timed_alone(tmp_path: Path, data: str) -> None:
    model = digits.classifier(tmp_path / "a.onnx")
    found = run(model, model, data, robustness=False, host=False)
    assert found["host"] is None
    assert found["warnings"] == []
    for given in (data, None):
        timed = job.time_host(told(model), given)
        assert timed is not None
        assert (timed["runs"], timed["machine"]) == (100, platform.node())
    free = model.with_name("free.onnx")
    onnx.save(_free(onnx.load(str(model))), str(free))
    assert job.time_host(told(free), None) is None
    assert UNTIMED in run(free, free, None)["warnings"]


def _free(model: onnx.ModelProto) -> onnx.ModelProto:
    """With an input of which only the number of axes is known."""
    for number, axis in enumerate(model.graph.input[0].type.tensor_type.shape.dim):
        axis.dim_param = f"n{number}"
    return model


def test_of_what_nothing_here_runs_the_size_is_told(tmp_path: Path, data: str) -> None:
    original = digits.classifier(tmp_path / "a.onnx")
    (tmp_path / "b.pte").write_bytes(original.read_bytes()[:1000])
    found = job.run(
        told(tmp_path / "b.pte", Format.PTE),
        told(original),
        data,
        None,
        outputs_cache=str(tmp_path / "outputs"),
    )
    assert set(found) == KEYS
    assert found["size"]["bytes"] == 1000
    assert found["size"]["compression_ratio"] == original.stat().st_size / 1000
    (warning,) = found["warnings"]
    assert "nothing on this host runs pte models" in warning
    unknown = ("parameters", "macs", "drop", "agreement", "host")
    assert all(found[key] is None for key in unknown)
    assert found["scores"] == found["dtypes"] == found["operators"] == {}
    assert found["robustness"] == []
    assert not (tmp_path / "outputs").exists()


def test_labels_that_do_not_fit_the_outputs(tmp_path: Path, data: str) -> None:
    model = digits.classifier(tmp_path / "a.onnx", classes=7)
    with pytest.raises(EdgeoptError, match=r"no output tells 10 classes of .*'digit' \[") as caught:
        run(model, model, data)
    assert caught.value.reason == "DATA_INVALID"


def test_without_labels_answers_are_compared(tmp_path: Path) -> None:
    file = digits.npz(tmp_path / "x.npz", y_train=None, y_test=None)
    prepare(str(file), tmp_path / "data")
    original = digits.classifier(tmp_path / "a.onnx")
    found = run(
        digits.classifier(tmp_path / "b.onnx", noise=0.15), original, str(tmp_path / "data")
    )
    test = found["scores"]["test"]
    assert test["value"] == found["agreement"]["argmax_same"]
    assert test["report"] is None
    assert found["drop"]["value"] == pytest.approx(100 * (1 - test["value"]))
    rows = [row for row in found["robustness"] if row["severity"] == 2]
    assert all(0 < row["drop_original"] < 60 for row in rows)


def test_values_have_scores_too(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(1, 1, (500, 4)).astype(np.float32)
    noise = np.random.default_rng(1).normal(0, 0.1, (500, 4))
    y = np.maximum(x, 0) + noise
    np.savez(tmp_path / "x.npz", x_train=x[:200], y_train=y[:200], x_test=x[200:], y_test=y[200:])
    prepare(str(tmp_path / "x.npz"), tmp_path / "data")
    model = tiny.relu(tmp_path / "a.onnx")
    found = run(model, model, str(tmp_path / "data"))
    assert found["scores"]["test"]["value"] == pytest.approx(-np.abs(noise[200:]).mean(), abs=1e-6)
    # A table has no neighbours to blur with.
    assert {row["corruption"] for row in found["robustness"]} == {"noise", "brightness", "missing"}


def test_without_data_outputs_are_compared_for_random_inputs(tmp_path: Path) -> None:
    original = digits.classifier(tmp_path / "a.onnx")
    found = run(digits.classifier(tmp_path / "b.onnx", noise=0.01), original, None)
    assert found["scores"] == {}
    assert found["drop"] is None
    assert found["robustness"] == []
    assert found["agreement"]["examples"] == 32
    assert found["agreement"]["max_abs"] > 0
    assert run(original, original, None)["host"]["runs"] == 100


def test_a_metric_of_ones_own(tmp_path: Path, data: str) -> None:
    (tmp_path / "own.py").write_text(
        "def exact(outputs, labels):\n    return outputs['digit'].argmax(1) == labels\n"
    )
    original = digits.classifier(tmp_path / "a.onnx")
    # Under the original's name of the output.
    model = digits.classifier(tmp_path / "b.onnx", noise=0.15, output="Identity")
    found = run(model, original, data, f"{tmp_path}/own.py:exact", robustness=False)
    expected = run(model, original, data, "accuracy", robustness=False)
    assert found["scores"]["test"]["value"] == expected["scores"]["test"]["value"]
    assert found["drop"] == expected["drop"]


def test_it_runs_in_a_process_of_its_own(tmp_path: Path, data: str) -> None:
    model = digits.classifier(tmp_path / "a.onnx")
    seen: list[str] = []
    found = _child.call(
        "edgeopt_host.optimize.evaluate.job:run",
        {
            "model": told(model),
            "original": told(model),
            "data": data,
            "metric": None,
            "outputs_cache": str(tmp_path / "outputs"),
        },
        progress=lambda _share, text: seen.append(text),
    )
    assert found["scores"]["test"]["value"] > 0.9
    assert "test examples" in seen


def test_sizes_are_of_all_files(tmp_path: Path) -> None:
    path = tiny.matmul(tmp_path / "a.onnx", 64, external=True)
    beside = tmp_path / "a.onnx.data"
    model = Model.of(path, Format.ONNX, (beside,))
    assert list(files(model)) == [path, beside]
    found = Size.of(model)
    whole = path.read_bytes() + beside.read_bytes()
    assert found.bytes == len(whole)
    # But for what zlib makes of pieces.
    assert found.gzip_bytes == pytest.approx(len(gzip.compress(whole, 9)), abs=16)
    assert Size.of(model) == found
    folder = tmp_path / "folder"
    folder.mkdir()
    onnx.save(onnx.load(str(path)), str(folder / "all.onnx"))
    (folder / "code.py").write_bytes(b"x" * 1000)
    other = Size.of(Model.of(folder, Format.TORCH))
    assert other.bytes == 1000 + (folder / "all.onnx").stat().st_size
    assert found.document(other)["compression_ratio"] == other.bytes / found.bytes
    assert other.megabytes == other.bytes / 2**20
