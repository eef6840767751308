"""The PyTorch adapter on real models made for the lite interpreter, and on TorchScript."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt_agent import runtimes
from edgeopt_agent.runtimes import ModelError, Settings, TensorSpec
from models import build, fetch

TORCHSCRIPT = Settings(allowed_code=frozenset({"torchscript"}))
# Saves a small module; saving warns, and quantized kernels are chosen by a global setting.
MAKE = """
import json, sys, torch
job = json.loads(sys.argv[1])

class Plain(torch.nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor):
        return {"sum": x + y, "low": y.to(torch.bfloat16)}

class Mixed(torch.nn.Module):
    def forward(self, x: torch.Tensor):
        return x * 2, 7, [x, x]

class Quantized(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(16, 4)
    def forward(self, x: torch.Tensor):
        return self.layer(x)

module = {"plain": Plain, "mixed": Mixed, "quantized": Quantized}[job["kind"]]().eval()
if job["kind"] == "quantized":
    torch.manual_seed(0)
    torch.backends.quantized.engine = "qnnpack"
    module = torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear})
extra = {"edgeopt.json": json.dumps(job["signature"])} if "signature" in job else {}
script = torch.jit.script(module)
if job["lite"]:
    script._save_for_lite_interpreter(job["path"], _extra_files=extra)
else:
    torch.jit.save(script, job["path"], _extra_files=extra)
"""


@pytest.fixture(scope="module")
def ptl() -> runtimes.Runtime:
    return runtimes.load("ptl")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    def make(kind: str, *, lite: bool = True, **job: Any) -> Path:
        path = tmp_path / "m.ptl"
        # torch.jit.script reads sources, so there has to be a file.
        script = tmp_path / "make.py"
        script.write_text(MAKE)
        job |= {"kind": kind, "lite": lite, "path": str(path)}
        subprocess.run(
            [sys.executable, "-W", "ignore", str(script), json.dumps(job)],
            check=True,
            capture_output=True,
        )
        return path

    return make


def signature(**changes: Any) -> dict[str, Any]:
    return {
        "schema": "edgeopt.signature/1",
        "inputs": [{"name": "x", "shape": ["batch", 16], "dtype": "float32"}],
        "outputs": [],
        "quantized_engine": None,
        **changes,
    }


def infer(session: runtimes.Session, feeds: dict[str, Any]) -> dict[str, Any]:
    session.prepare(feeds)
    session.infer()
    return session.outputs()[0]


def rewrite(model: Path, old: bytes, new: bytes) -> None:
    """Replaces bytes in every member of the archive."""
    with zipfile.ZipFile(model) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(model, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content.replace(old, new))


@pytest.mark.parametrize(
    ("name", "spatial", "shape", "outputs"),
    [
        ("pnet.ptl", ("height", "width"), (1, 3, 64, 48),
         {"boxes": (1, 4, 27, 19), "scores": (1, 2, 27, 19)}),
        ("rnet.ptl", (24, 24), (5, 3, 24, 24), {"boxes": (5, 4), "scores": (5, 2)}),
        ("onet.ptl", (48, 48), (2, 3, 48, 48),
         {"boxes": (2, 4), "landmarks": (2, 10), "scores": (2, 2)}),
    ],
)  # fmt: skip
def test_face_detector(
    ptl: runtimes.Runtime,
    name: str,
    spatial: tuple[Any, ...],
    shape: tuple[int, ...],
    outputs: dict[str, tuple[int, ...]],
) -> None:
    session = ptl.open(build(name), Settings())
    assert session.inputs == [TensorSpec("image", ("batch", 3, *spatial), "float32")]
    image = np.random.default_rng(2).uniform(-1, 1, shape).astype(np.float32)
    results = infer(session, {"image": image})
    assert {key: array.shape for key, array in results.items()} == outputs
    np.testing.assert_allclose(results["scores"].sum(axis=1), 1, atol=1e-5)
    assert not any(array.flags.writeable is False for array in results.values())


def test_same_network_as_ptl_and_onnx(ptl: runtimes.Runtime) -> None:
    feeds = {"image": np.random.default_rng(4).uniform(-1, 1, (2, 3, 224, 224)).astype(np.float32)}
    by_ptl = infer(ptl.open(build("efficientnet-lite0.ptl"), Settings()), feeds)["logits"]
    onnx = runtimes.load("onnx")
    by_onnx = infer(onnx.open(build("efficientnet-lite0.onnx"), Settings()), feeds)["logits"]
    np.testing.assert_allclose(by_ptl, by_onnx, atol=1e-4)
    assert (by_ptl.argmax(axis=1) == by_onnx.argmax(axis=1)).all()


def test_torchscript_with_control_flow(ptl: runtimes.Runtime) -> None:
    """A file the lite interpreter cannot express runs as what it is, full TorchScript."""
    session = ptl.open(fetch("silero-vad", "silero_vad.jit"), TORCHSCRIPT)
    assert session.inputs is None
    (score,) = infer(session, {"x": np.zeros((1, 512), np.float32), "sr": np.array(16000)}).values()
    assert score.shape == (1, 1)
    session.prepare({"x": np.zeros((1, 5), np.float32), "sr": np.array(16000)})
    with pytest.raises(Exception, match="too short") as caught:
        session.infer()
    assert runtimes.readable(caught.value) == "builtins.ValueError: Input audio chunk is too short"


def test_torchscript_that_nobody_allowed(ptl: runtimes.Runtime) -> None:
    with pytest.raises(ModelError, match=r"--allow torchscript.*docs/security\.md") as caught:
        ptl.open(fetch("silero-vad", "silero_vad.jit"), Settings())
    assert caught.value.reason == "CODE_NOT_ALLOWED"


@pytest.mark.parametrize("lite", [True, False])
def test_inputs_without_a_signature(
    ptl: runtimes.Runtime, make: Callable[..., Path], *, lite: bool
) -> None:
    session = ptl.open(make("plain", lite=lite), Settings() if lite else TORCHSCRIPT)
    assert session.inputs is None
    x, y = np.arange(3, dtype=np.float32), np.ones(3, np.float32)
    outputs = infer(session, {"first": x, "second": y})
    assert outputs.keys() == {"sum", "low"}
    np.testing.assert_array_equal(outputs["sum"], x + y)
    assert outputs["low"].dtype == np.float32  # numpy has no bfloat16
    with pytest.raises(ModelError) as caught:
        session.prepare({"first": np.array(["text"])})
    assert caught.value.reason == "INPUT_MISMATCH"


def test_outputs_that_are_no_tensors(ptl: runtimes.Runtime, make: Callable[..., Path]) -> None:
    session = ptl.open(make("mixed"), Settings())
    session.prepare({"x": np.ones(2, np.float32)})
    session.infer()
    tensors, left_out = session.outputs()
    assert list(tensors) == ["output0", "output2.0", "output2.1"]
    assert left_out == ["output1"]
    inputs = [{"name": "x", "shape": [None], "dtype": "float32"}]
    stored = signature(inputs=inputs, outputs=["twice", "n", "same", "again"])
    session = ptl.open(make("mixed", signature=stored), Settings())
    assert session.inputs == [TensorSpec("x", (None,), "float32")]
    session.prepare({"x": np.ones(2, np.float32)})
    session.infer()
    tensors, left_out = session.outputs()
    assert (list(tensors), left_out) == (["twice", "same", "again"], ["n"])


def test_quantized_engine(ptl: runtimes.Runtime, make: Callable[..., Path]) -> None:
    feeds = {"x": np.random.default_rng(6).random((3, 16)).astype(np.float32)}
    others = [engine for engine in ptl.info.providers if engine != "qnnpack"]
    assert "qnnpack" in ptl.info.providers
    model = make("quantized", signature=signature(quantized_engine="qnnpack"))
    session = ptl.open(model, Settings())
    outputs = infer(session, feeds)
    assert session.placement().quantized_engine == "qnnpack"
    assert session.placement().fallback == ""
    for engine in others[:1]:
        session = ptl.open(model, Settings(quantized_engine=engine))
        other = infer(session, feeds)
        assert session.placement().quantized_engine == engine
        np.testing.assert_allclose(outputs["output0"], other["output0"], atol=0.05)
    with pytest.raises(ModelError, match=r"'warp'.*qnnpack") as caught:
        ptl.open(model, Settings(quantized_engine="warp"))
    assert caught.value.reason == "SETTING_UNSUPPORTED"


def test_quantized_engine_that_is_not_here(
    ptl: runtimes.Runtime, make: Callable[..., Path]
) -> None:
    model = make("quantized", signature=signature(quantized_engine="warp"))
    session = ptl.open(model, Settings())
    placement = session.placement()
    assert placement.quantized_engine in ptl.info.providers
    assert placement.fallback == (
        "the file asks for the quantized engine warp, which is not here: "
        f"{placement.quantized_engine} is used"
    )


def test_signature_of_another_time(ptl: runtimes.Runtime, make: Callable[..., Path]) -> None:
    model = make("mixed", signature=signature(schema="edgeopt.signature/2"))
    with pytest.raises(ModelError, match="signature/2") as caught:
        ptl.open(model, Settings())
    assert caught.value.reason == "MODEL_INVALID"


def test_operator_of_another_torch(ptl: runtimes.Runtime, make: Callable[..., Path]) -> None:
    model = make("mixed")
    rewrite(model, b"aten::mul", b"aten::nul")
    with pytest.raises(ModelError, match="operator aten::nul") as caught:
        ptl.open(model, Settings())
    assert caught.value.reason == "UNSUPPORTED_OPERATOR"


def test_operator_of_optimize_for_mobile(ptl: runtimes.Runtime, make: Callable[..., Path]) -> None:
    model = make("plain", lite=False)
    rewrite(model, b"torch.add", b"ops.prepacked.linear_clamp_run")
    with pytest.raises(ModelError, match=r"prepacked::linear_clamp_run.*2\.13") as caught:
        ptl.open(model, TORCHSCRIPT)
    assert caught.value.reason == "UNSUPPORTED_OPERATOR"


def test_weights_only(ptl: runtimes.Runtime, tmp_path: Path) -> None:
    model = tmp_path / "weights.ptl"
    with zipfile.ZipFile(model, "w") as archive:
        archive.writestr("weights/data.pkl", b"")
        archive.writestr("weights/version", b"3\n")
    with pytest.raises(ModelError, match="no program") as caught:
        ptl.open(model, Settings())
    assert caught.value.reason == "MODEL_INVALID"
    with pytest.raises(ModelError, match="zip") as caught:
        ptl.open(fetch("facenet-pytorch", "pnet.pt"), Settings())
    assert caught.value.reason == "MODEL_INVALID"
