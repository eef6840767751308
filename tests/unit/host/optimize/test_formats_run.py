from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import models
import tiny
from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize import formats
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.formats import tflite
from edgeopt_host.optimize.formats.predict import bind, real, stored
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.tensors import TensorSpec


def opened(path: Path) -> Model:
    return formats.open_model(path, into=path.parent)


def random(*shape: int, dtype: str = "float32") -> Examples:
    return Examples({"": np.random.default_rng(0).random(shape).astype(dtype)})


@pytest.mark.filterwarnings("ignore")  # of torch's lite interpreter
def test_formats_of_one_network_agree_and_count_alike() -> None:
    examples = random(5, 3, 24, 24)
    lite, onnx_ = opened(models.build("rnet.ptl")), opened(models.build("rnet.onnx"))
    assert (lite.format, onnx_.format) == (Format.PTL, Format.ONNX)
    one, two = formats.predict(lite, examples, batch=2), formats.predict(onnx_, examples)
    for name in ("boxes", "scores"):
        np.testing.assert_allclose(one[name], two[name], rtol=1e-4, atol=1e-6)
    first, second = formats.describe(lite, examples), formats.describe(onnx_)
    assert first.parameters == second.parameters == 100_178
    # Convolutions of 28, 48 and 64 filters, and three matrix products.
    convolutions = 22**2 * 28 * 27 + 9**2 * 48 * 28 * 9 + 3**2 * 64 * 48 * 4
    assert first.macs == second.macs == convolutions + 576 * 128 + 128 * 2 + 128 * 4
    assert dict(first.dtypes) == dict(second.dtypes) == {"float32": 100_178}
    assert first.weight_bytes == 4 * 100_178
    assert [one.shape for one in second.inputs] == [(None, 3, 24, 24)]


def test_a_net_of_free_size_has_macs_by_example() -> None:
    pnet = opened(models.build("pnet.onnx"))
    assert formats.describe(pnet).macs is None
    small = formats.describe(pnet, random(1, 3, 12, 12)).macs
    assert small == 10**2 * 10 * 27 + 3**2 * 16 * 90 + 32 * 144 + 2 * 32 + 4 * 32


def test_tflite_is_read_to_its_weights() -> None:
    quantized = opened(models.fetch("fer", "emotion_model_quantized.tflite"))
    found = formats.describe(quantized)
    assert found.dtypes["int8"] == 51_200
    # As of the .hdf5 that it was made of; seven of its weights are stored quantized.
    assert found.macs == 10_163_392
    assert found.operators["CONV_2D"] == 15
    outputs = formats.predict(quantized, random(3, 64, 64, 1))
    assert {name: array.shape for name, array in outputs.items()} == {"Identity": (3, 7)}


def test_makers_tflite_and_onnx_agree_in_batches() -> None:
    examples = random(3, 43844, 1)
    one = formats.predict(opened(models.fetch("basic-pitch", "nmp.tflite")), examples, batch=2)
    two = formats.predict(opened(models.fetch("basic-pitch", "nmp.onnx")), examples, batch=2)
    assert one.keys() == two.keys()
    for name, array in one.items():
        np.testing.assert_allclose(array, two[name], atol=1e-4)


def test_inputs_without_a_batch_axis_get_one_example_at_a_time() -> None:
    model = opened(models.fetch("silero-vad", "silero_vad.onnx"))
    rng = np.random.default_rng(0)
    arrays = {
        "input": rng.random((3, 512), np.float32),
        "state": np.zeros((3, 2, 1, 128), np.float32),
        "sr": np.full(3, 16000),
    }
    outputs = formats.predict(model, Examples(arrays))
    assert outputs["output"].shape == (3, 1)
    assert outputs["stateN"].shape == (3, 2, 1, 128)
    first = formats.predict(model, Examples({name: array[:1] for name, array in arrays.items()}))
    np.testing.assert_allclose(outputs["stateN"][0], first["stateN"][0], rtol=1e-5)
    assert formats.describe(model).macs is None  # it branches


def test_fixed_batches_are_padded(tmp_path: Path) -> None:
    examples = random(5, 4)
    path = tiny.relu(tmp_path / "fixed.onnx", (2, 4))
    (outputs,) = formats.predict(opened(path), examples).values()
    np.testing.assert_array_equal(outputs, examples.inputs[""])


def test_a_model_that_only_says_it_takes_batches_gets_single_examples(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.array([1, 4]), "shape")],
    )
    path = tmp_path / "m.onnx"
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, str(path))
    examples = random(5, 2, 2)
    np.testing.assert_array_equal(
        formats.predict(opened(path), examples)["y"], examples.inputs[""].reshape(5, 4)
    )


def test_external_data_belong_to_the_model(tmp_path: Path) -> None:
    model = opened(tiny.matmul(tmp_path / "m.onnx", 8, external=True))
    assert model.size_bytes > 8 * 8 * 4
    found = formats.describe(model)
    assert (found.parameters, found.macs) == (64, 64)
    (tmp_path / "m.onnx.data").write_bytes(np.zeros(64, np.float32).tobytes())
    assert opened(tmp_path / "m.onnx").digest != model.digest


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (random(2, 5), r"input x takes float32 \(n, 4\), the data are float32 \(n, 5\)"),
        (random(2, 4, dtype="uint8"), r"takes float32 \(n, 4\), the data are uint8 \(n, 4\)"),
        (Examples({"a": np.ones((2, 4)), "b": np.ones(2)}), r"the data have a float64 \(n, 4\), b"),
    ],
)
def test_data_that_do_not_fit_are_refused(tmp_path: Path, examples: Examples, message: str) -> None:
    model = opened(tiny.relu(tmp_path / "m.onnx"))
    with pytest.raises(EdgeoptError, match=message) as raised:
        formats.predict(model, examples)
    assert raised.value.reason == "DATA_INVALID"


def test_wider_types_are_cast(tmp_path: Path) -> None:
    model = opened(tiny.relu(tmp_path / "m.onnx"))
    assert formats.predict(model, random(2, 4, dtype="float64"))["y"].dtype == np.float32
    ids = opened(tiny.relu(tmp_path / "i.onnx", ("n", 4), TensorProto.INT32))
    assert formats.predict(ids, random(2, 4, dtype="int64"))["y"].dtype == np.int32


def test_inputs_are_bound_by_name_then_by_shape() -> None:
    specs = [
        TensorSpec("serving_default_a:0", (None, 2), "float32"),
        TensorSpec("b", (None, 3), "float32"),
    ]
    two, three = np.ones((4, 2), np.float32), np.ones((4, 3), np.float32)
    assert bind(specs, Examples({"b": three, "a": two})) == {"serving_default_a:0": "a", "b": "b"}
    assert bind(specs, Examples({"p": three, "q": two})) == {"serving_default_a:0": "q", "b": "p"}


def test_quantized_tensors_take_and_give_real_values() -> None:
    spec = TensorSpec("x", (None, 2), "int8", 0.5, -3)
    kept = stored(spec, np.array([[1.0, -0.75], [900, -900]], np.float32))
    np.testing.assert_array_equal(kept, np.array([[-1, -5], [127, -128]], np.int8))
    np.testing.assert_array_equal(real(spec, kept[:1]), np.array([[1.0, -1.0]], np.float32))


def test_what_cannot_run_says_why(tmp_path: Path) -> None:
    with pytest.raises(EdgeoptError, match="FlyToTheMoon") as raised:
        formats.open_runner(opened(tiny.unknown_operator(tmp_path / "m.onnx")))
    assert raised.value.reason in {"UNSUPPORTED_OPERATOR", "MODEL_INVALID"}
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(models.fetch("fer", "emotion_model_quantized.tflite").read_bytes()[:5000])
    with pytest.raises(EdgeoptError, match="LiteRT cannot load cut") as raised:
        formats.open_runner(opened(cut))
    assert raised.value.reason == "MODEL_INVALID"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04 no archive", "damaged or truncated zip"),
        (b"\x89HDF\r\n\x1a\n no file", "damaged or truncated HDF5"),
        (b'\x10\0\0\0\0\0\0\0{"a":1}' + b" " * 20, "safetensors"),
        (b"plain text", "is no model that edgeopt knows"),
    ],
)
def test_files_that_are_no_models(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(EdgeoptError, match=message) as raised:
        opened(tmp_path / "m")
    assert raised.value.reason == "MODEL_INVALID"


def test_folders_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(EdgeoptError, match=r"without saved_model\.pb"):
        opened(tmp_path)
    (tmp_path / "checkpoint").touch()
    with pytest.raises(EdgeoptError, match="a TensorFlow checkpoint, which is weights alone"):
        opened(tmp_path)


def test_nothing_runs_a_program_of_executorch_here(tmp_path: Path) -> None:
    (tmp_path / "m.pte").write_bytes(b"\x10\0\0\0ET12 and so on")
    model = opened(tmp_path / "m.pte")
    assert model.format is Format.PTE
    with pytest.raises(EdgeoptError, match="nothing on this host runs") as raised:
        formats.open_runner(model)
    assert raised.value.reason == "MODEL_UNSUPPORTED"


def test_operators_of_tflite_tell_which_tensors_are_constant() -> None:
    found: list[Any] = tflite.operators(models.fetch("fer", "emotion_model_quantized.tflite"))
    first = found[0]
    assert first.name == "CONV_2D"
    assert [one.constant for one in first.inputs] == [False, True, True]
    assert first.inputs[1].shape == (8, 3, 3, 1)
