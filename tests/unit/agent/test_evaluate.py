"""Outputs for labelled examples: what is fed, and what is written."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import tiny
from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent.runtimes import ModelError, Quantization, TensorSpec
from edgeopt_agent.worker import evaluate
from edgeopt_agent.worker.task import Task
from models import fetch

Evaluate = Callable[..., tuple[dict[str, np.ndarray[Any, Any]], benchmark_pb2.Predictions]]
WAKE_WORD = "serving_default_input_audio:0"


@pytest.fixture
def evaluated(tmp_path: Path) -> Evaluate:
    """Evaluates a model, made at a path, on arrays; what was written, and what was told."""

    def run(
        make: Callable[[Path], object],
        arrays: dict[str, np.ndarray[Any, Any]] | None = None,
        *,
        name: str = "m.onnx",
        runtime: str = "onnx",
    ) -> tuple[dict[str, np.ndarray[Any, Any]], benchmark_pb2.Predictions]:
        model = tmp_path / "subjects" / "0" / "model" / name
        model.parent.mkdir(parents=True, exist_ok=True)
        make(model)
        if arrays is not None:
            np.savez_compressed(tmp_path / "data.npz", **arrays)  # type: ignore[arg-type]
        subject = benchmark_pb2.Subject(runtime=runtime, threads=1)
        subject.files.add(name=name)
        events: list[benchmark_pb2.BenchmarkEvent] = []
        task = Task(benchmark_pb2.Benchmark(subjects=[subject]), 0, tmp_path, events.append)
        evaluate.evaluate(task)
        told = events[-1].predictions
        made = tmp_path / "predictions.npz"
        return (dict(np.load(made)) if made.exists() else {}), told

    return run


def wake_word(path: Path) -> None:
    path.write_bytes(fetch("pymicro-wakeword", "okay_nabu.tflite").read_bytes())


def model_of(
    nodes: Sequence[onnx.NodeProto], inputs: dict[str, Any], outputs: dict[str, Any]
) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        given = [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()]
        told = [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()]
        graph = helper.make_graph(nodes, "made", given, told)
        opset = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))

    return make


ADD = model_of(
    [helper.make_node("Add", ["a", "b"], ["sum"])],
    {"a": (TensorProto.FLOAT, ("n", 2)), "b": (TensorProto.FLOAT, ("n", 2))},
    {"sum": (TensorProto.FLOAT, ("n", 2))},
)
X = np.linspace(-1, 1, 20, dtype=np.float32).reshape(5, 4)


def test_one_example_after_the_other(evaluated: Evaluate) -> None:
    outputs, told = evaluated(tiny.relu, {"x_test": X, "y_test": np.arange(5)})
    np.testing.assert_array_equal(outputs["y"], np.maximum(X, 0))
    assert told.examples == 5
    assert told.unavailable_reason == ""


@pytest.mark.parametrize("batch", [2, 5, 7])
def test_a_model_of_a_fixed_batch_is_filled_up(evaluated: Evaluate, batch: int) -> None:
    outputs, _ = evaluated(lambda path: tiny.relu(path, (batch, 4)), {"x_test": X})
    np.testing.assert_array_equal(outputs["y"], np.maximum(X, 0))


def test_an_input_may_be_one_example_without_a_leading_dimension(evaluated: Evaluate) -> None:
    outputs, _ = evaluated(lambda path: tiny.relu(path, (4,)), {"x_test": X})
    np.testing.assert_array_equal(outputs["y"], np.maximum(X, 0))
    outputs, _ = evaluated(lambda path: tiny.relu(path, ()), {"x_test": X[:, 0]})
    np.testing.assert_array_equal(outputs["y"], np.maximum(X[:, 0], 0))


def test_several_inputs_by_their_names(evaluated: Evaluate) -> None:
    a, b = np.ones((3, 2), np.float32), np.arange(6, dtype=np.float32).reshape(3, 2)
    outputs, _ = evaluated(ADD, {"x_test.b": b, "x_test.a": a, "x_train": np.zeros(1)})
    np.testing.assert_array_equal(outputs["sum"], a + b)


def test_rows_of_data_that_lie_column_by_column(evaluated: Evaluate, tmp_path: Path) -> None:
    outputs, _ = evaluated(tiny.relu, {"x_test": np.asfortranarray(X)})
    np.testing.assert_array_equal(outputs["y"], np.maximum(X, 0))
    with zipfile.ZipFile(tmp_path / "data.npz") as archive:
        assert b"'fortran_order': True" in archive.read("x_test.npy")[:128]


def test_integer_models_take_and_give_what_their_integers_stand_for(
    evaluated: Evaluate,
) -> None:
    spectrogram = np.random.default_rng(2).uniform(0, 26, (6, 3, 40)).astype(np.float32)
    floats, _ = evaluated(wake_word, {"x_test": spectrogram}, name="m.tflite", runtime="tflite")
    scale, zero_point = 0.10196078568696976, -128
    integers = np.clip(np.rint(spectrogram / scale) + zero_point, -128, 127).astype(np.int8)
    same, _ = evaluated(wake_word, {"x_test": integers}, name="m.tflite", runtime="tflite")
    (output,) = floats
    assert floats[output].dtype == np.float32
    assert floats[output].shape == (6, 1)
    np.testing.assert_array_equal(floats[output], same[output])
    # A uint8 probability in steps of 1/256.
    steps = floats[output] * 256
    np.testing.assert_array_equal(steps, np.rint(steps))
    assert 0 <= floats[output].min() <= floats[output].max() < 1


def test_floats_are_quantized_as_the_model_says() -> None:
    spec = TensorSpec("x", (3,), "int8", Quantization(0.1, -128))
    fed = evaluate._converted(np.array([-1.0, 0, 0.16, 25.5, 99], np.float64), spec)
    assert fed.dtype == np.int8
    assert fed.tolist() == [-128, -128, -126, 127, 127]
    held = evaluate._dequantize(np.array([-128, 0], np.int8), spec.quantization)
    np.testing.assert_allclose(held, [0, 12.8], rtol=1e-6)


def test_integers_become_floats_of_the_same_value(evaluated: Evaluate) -> None:
    x = np.array([[0, 1, 2, 255]], np.uint8)
    outputs, _ = evaluated(tiny.relu, {"x_test": x})
    assert outputs["y"].tolist() == [[0, 1, 2, 255]]


@pytest.mark.parametrize(
    ("x", "dtype"),
    [
        (np.array([[0, 0, 0, 255]], np.uint8), TensorProto.INT8),
        (np.array([[0, 0, 0, 2**24 + 1]], np.int64), TensorProto.FLOAT),
        (np.array([[0, 0, 0, 0.5]], np.float32), TensorProto.INT32),
        (np.array([["a", "b", "c", "d"]]), TensorProto.FLOAT),
    ],
)
def test_no_value_is_changed_on_its_way(
    evaluated: Evaluate, x: np.ndarray[Any, Any], dtype: int
) -> None:
    with pytest.raises(ModelError, match=rf"'x'.*does not take the values.*{x.dtype}"):
        evaluated(lambda path: tiny.relu(path, dtype=dtype), {"x_test": x})


@pytest.mark.parametrize(
    ("make", "arrays", "reason", "message"),
    [
        (
            tiny.relu,
            {"x_test": X[:, :3]},
            "INPUT_MISMATCH",
            r"shape \[3\], input 'x'.*\[batch, 4\]",
        ),
        (tiny.relu, {"y_test": X}, "INPUT_MISMATCH", "neither x_test nor x_test.NAME"),
        (
            tiny.relu,
            {"x_test.z": X},
            "INPUT_REQUIRED",
            "has x_test.z, but nothing for the input 'x'",
        ),
        (tiny.relu, {"x_test": X[:0]}, "INPUT_MISMATCH", r"\[0\] examples"),
        (tiny.relu, {"x_test": np.float32(1)}, "INPUT_MISMATCH", "the first axis is the example"),
        (ADD, {"x_test": X[:, :2]}, "INPUT_REQUIRED", "nothing for the input 'a'"),
        (
            ADD,
            {"x_test.a": X[:, :2], "x_test.b": X[1:, :2]},
            "INPUT_MISMATCH",
            r"\[4, 5\] examples",
        ),
        (
            ADD,
            {"x_test.a": X[:, :2], "x_test.b": X[:, :2], "x_test.c": X},
            "INPUT_MISMATCH",
            r"has x_test.c, but the model's inputs are \['a', 'b'\]",
        ),
    ],
)
def test_what_does_not_go_together_is_named(
    evaluated: Evaluate,
    make: Callable[[Path], object],
    arrays: dict[str, np.ndarray[Any, Any]],
    reason: str,
    message: str,
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        evaluated(make, arrays)
    assert caught.value.reason == reason


@pytest.mark.parametrize("damage", ["no archive", "truncated", "pickled", "short"])
def test_a_damaged_file_is_refused(evaluated: Evaluate, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "data.npz"
    np.savez(file, x_test=X.astype(object) if damage == "pickled" else X)
    if damage == "no archive":
        file.write_bytes(b"no archive")
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:200])
    elif damage == "short":
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (900, 4)}".ljust(117) + b"\n"
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("x_test.npy", b"\x93NUMPY\x01\x00v\x00" + header + X.tobytes())
    with pytest.raises(ModelError, match="cannot be read"):
        evaluated(tiny.relu)


def test_outputs_that_are_too_large_are_not_written(
    evaluated: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "_MAX_BYTES", 5 * 16 - 1)
    outputs, told = evaluated(tiny.relu, {"x_test": X})
    assert outputs == {}
    assert "outputs of 5 examples are larger than" in told.unavailable_reason


def test_outputs_of_a_size_that_varies_are_not_written(evaluated: Evaluate) -> None:
    nonzero = model_of(
        [helper.make_node("NonZero", ["x"], ["y"])],
        {"x": (TensorProto.FLOAT, ("n", 4))},
        {"y": (TensorProto.INT64, (2, "found"))},
    )
    x = np.array([[1, 0, 0, 0], [1, 1, 0, 0]], np.float32)
    outputs, told = evaluated(nonzero, {"x_test": x})
    assert outputs == {}
    assert "output 'y' has the shape [2, 2] for example 1" in told.unavailable_reason


def test_an_output_without_an_axis_for_its_examples(evaluated: Evaluate) -> None:
    total = model_of(
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)],
        {"x": (TensorProto.FLOAT, (2, 4))},
        {"y": (TensorProto.FLOAT, ())},
    )
    _, told = evaluated(total, {"x_test": X})
    assert "no axis for the 2 examples of an inference" in told.unavailable_reason
