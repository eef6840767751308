"""Which format a file is: its content decides, and what is no model is said to be none."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tiny
from edgeopt_host.errors import UsageError
from edgeopt_host.modelfile import ModelFile

TFLITE = b"\x1c\x00\x00\x00TFL3" + b"\0" * 100


def fault(path: Path) -> str:
    model = ModelFile.open(path)
    assert model.format is None
    return str(model.fault)


def test_onnx_is_recognized_with_its_digest(tmp_path: Path) -> None:
    path = tiny.relu(tmp_path / "relu.onnx")
    model = ModelFile.open(path)
    assert (model.format, model.companions, model.note) == ("onnx", (), None)
    assert model.digest.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert model.size_bytes == path.stat().st_size


def test_the_content_decides_and_a_wrong_name_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(TFLITE)
    model = ModelFile.open(path)
    assert model.format == "tflite"
    assert (
        model.note
        == "model.onnx is tflite by its content, whatever its name says, and runs as such"
    )


def test_external_data_belong_to_the_model(tmp_path: Path) -> None:
    path = tiny.matmul(tmp_path / "m.onnx", 8, external=True)
    model = ModelFile.open(path)
    ((name, file, digest),) = model.companions
    assert (name, file.name, digest.size_bytes) == ("m.onnx.data", "m.onnx.data", 8 * 8 * 4)
    assert model.size_bytes == path.stat().st_size + digest.size_bytes
    file.unlink()
    assert "external data in 'm.onnx.data', which cannot be read" in fault(path)


def test_external_data_outside_the_models_folder_are_refused(tmp_path: Path) -> None:
    path = tiny.matmul(tmp_path / "m.onnx", 8, external=True)
    model = onnx.load(str(path), load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../secret"
    path.write_bytes(model.SerializeToString())
    assert "outside its own folder" in fault(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.tflite", b"", "is empty"),
        ("text.tflite", b"This is not a model at all.\n", "is not a model"),
        ("random.bin", bytes(range(7, 200)), "is not a model"),
        ("random.onnx", bytes(range(7, 200)), "damaged or truncated ONNX"),
        ("zip.ptl", b"PK\x03\x04 and then nothing", "damaged or truncated PyTorch file"),
    ],
)
def test_what_is_no_model_is_said_to_be_none(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert message in fault(path)


def test_a_truncated_onnx_is_refused(tmp_path: Path) -> None:
    path = tiny.matmul(tmp_path / "m.onnx", 32)
    path.write_bytes(path.read_bytes()[:-500])
    assert "damaged or truncated ONNX" in fault(path)


def test_weights_without_code_are_told_from_a_module(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", b"")
    assert "weights without code" in fault(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", b"")
    assert "no PyTorch mobile or TorchScript file" in fault(path)


@pytest.mark.parametrize("path", ["/nowhere/model.onnx", "/", "/dev/zero"])
def test_a_path_that_cannot_be_read_is_wrong_usage(path: str) -> None:
    with pytest.raises(UsageError, match="cannot read the model"):
        ModelFile.open(Path(path))


def test_a_plug_ins_runtime_takes_any_file(tmp_path: Path) -> None:
    path = tmp_path / "model.odd"
    path.write_bytes(b"odd")
    assert ModelFile.open(path, "odd-runtime").format == "odd-runtime"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    content=st.binary(max_size=300),
    head=st.sampled_from([b"", b"PK\x03\x04", TFLITE[:8], b"\x08\x08"]),
)
def test_no_content_ends_in_anything_but_a_model_or_a_sentence(
    tmp_path: Path, content: bytes, head: bytes
) -> None:
    path = tmp_path / "any.onnx"
    path.write_bytes(head + content)
    model = ModelFile.open(path)
    assert (model.format is None) == (model.fault is not None)
    assert "\n" not in str(model.fault)
