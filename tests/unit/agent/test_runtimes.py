"""The registry of runtimes, what adapters share, and the probe of a device's runtimes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeopt.agent.v1 import device_pb2
from edgeopt_agent import probe, runtimes
from edgeopt_agent.errors import Unavailable
from edgeopt_agent.runtimes import ModelError, TensorSpec, check_feeds
from edgeopt_agent.runtimes._tensors import as_tensor

PLUG_IN = """
from edgeopt_agent.runtimes import Runtime, RuntimeInfo

class Echo(Runtime):
    def __init__(self):
        self.info = RuntimeInfo("echo-runtime", "0.1", ("CPU",))

    def open(self, model, settings):
        raise NotImplementedError
"""


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with a runtime of its own, installed for this process and its children."""
    (tmp_path / "echo_runtime.py").write_text(PLUG_IN)
    info = tmp_path / "echo_runtime-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: echo-runtime\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[edgeopt.runtimes]\necho = echo_runtime:Echo\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.fixture
def without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that shadows packages in children."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def probe_one(name: str, **options: float) -> device_pb2.RuntimeFacts:
    (facts,) = asyncio.run(probe.probe_runtimes([name], **options))
    return facts


def test_names_are_there_whether_they_work_or_not() -> None:
    assert set(runtimes.names()) >= {"onnx", "ptl", "tflite"}
    with pytest.raises(Unavailable, match=r"'caffe'.*onnx, ptl, tflite"):
        runtimes.load("caffe")


@pytest.mark.usefixtures("plug_in")
def test_a_third_party_registers_its_runtime() -> None:
    assert "echo" in runtimes.names()
    assert runtimes.load("echo").info.implementation == "echo-runtime"
    assert probe_one("echo").version == "0.1"


def test_probe_imports_nothing_heavy_here() -> None:
    script = (
        "import asyncio, sys; from edgeopt_agent import probe\n"
        "facts = asyncio.run(probe.probe_runtimes(['onnx', 'tflite']))\n"
        "assert not {'numpy', 'onnxruntime', 'ai_edge_litert'} & sys.modules.keys()\n"
        "print(*[f.implementation for f in facts])\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert child.stdout.split()[0] == "onnxruntime"


def test_probe_names_the_extra_of_a_missing_package(without: Path) -> None:
    (without / "onnxruntime.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'onnxruntime'\", name='onnxruntime')\n"
    )
    assert probe_one("onnx").unavailable_reason == (
        "not installed (No module named 'onnxruntime'): pip install 'edgeopt[onnx]'"
    )


def test_probe_of_an_old_tflite_runtime(without: Path) -> None:
    """It imports beside numpy 2, and would fail with its first model."""
    for package in ("ai_edge_litert", "tflite_runtime"):
        (without / package).mkdir()
    (without / "ai_edge_litert" / "__init__.py").write_text(
        "raise ModuleNotFoundError('No module named ai_edge_litert')\n"
    )
    (without / "tflite_runtime" / "__init__.py").touch()
    (without / "tflite_runtime" / "interpreter.py").touch()
    info = without / "tflite_runtime-2.14.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tflite-runtime\nVersion: 2.14.0\n")
    reason = probe_one("tflite").unavailable_reason
    if int(np.__version__.split(".")[0]) > 1:
        assert "numpy" in reason
        assert "edgeopt[tflite-runtime]" in reason
    else:
        assert reason == ""


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGILL)", "its import died by SIGILL"),
        ("import time\ntime.sleep(60)", "its import did not end within 2 s"),
        ("raise OSError('libgomp.so.1: no such file')",
         "its import fails with OSError: libgomp.so.1: no such file"),
        ("import os\nos._exit(3)", "its import ended with 3: no output"),
    ],
)  # fmt: skip
def test_probe_survives_an_import(without: Path, source: str, reason: str) -> None:
    (without / "onnxruntime.py").write_text(source)
    assert probe_one("onnx", timeout_s=2).unavailable_reason == reason


def test_readable() -> None:
    error = RuntimeError(
        "tflite/kernels/reshape.cc:94 num_elements != num_output_elements (3 != 4)"
        "Node number 5 (RESHAPE) failed to prepare.\n"
    )
    assert runtimes.readable(error) == (
        "num_elements != num_output_elements (3 != 4) Node number 5 (RESHAPE) failed to prepare"
    )
    assert runtimes.readable(ValueError()) == "ValueError"
    assert len(runtimes.readable(ValueError("word " * 1000))) < 310


def test_check_feeds() -> None:
    specs = [
        TensorSpec("x", ("batch", 2), "float32"),
        TensorSpec("words", None, "string"),
        TensorSpec("n", (), "int64"),
    ]
    feeds = {"x": np.zeros((5, 2), "float32"), "words": np.array([["a"]]), "n": np.array(3)}
    check_feeds(specs, feeds)
    with pytest.raises(
        ModelError, match=r"input 'x' \(float32, \[batch, 2\]\) does not take float32 \[5, 3\]"
    ):
        check_feeds(specs, feeds | {"x": np.zeros((5, 3), "float32")})
    with pytest.raises(ModelError, match=r"'words' \(string, of any rank\) does not take int64"):
        check_feeds(specs, feeds | {"words": np.zeros(3, "int64")})


def test_string_outputs_need_no_pickle() -> None:
    array = as_tensor(np.array([[b"a", "\u00e9"]], dtype=object))
    assert array.dtype == "<U1"
    assert array.tolist() == [["a", "\u00e9"]]
    assert as_tensor(np.float32(2)).shape == ()
