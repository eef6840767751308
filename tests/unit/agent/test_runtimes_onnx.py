"""The ONNX adapter on real models, and on small ones made here for the cases that bite."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgeopt_agent import runtimes
from edgeopt_agent.errors import Unavailable
from edgeopt_agent.runtimes import ModelError, ProviderRequest, Settings, TensorSpec, _onnx
from models import fetch

DOUBLE = (
    '<ir_version: 8, opset_import: ["": 17]>'
    " double (float[N, 3] x) => (float[N, 3] y) { y = Add(x, x) }"
)


@pytest.fixture(scope="module")
def runtime() -> runtimes.Runtime:
    return runtimes.load("onnx")


def write_model(path: Path, text: str) -> Path:
    """A model from ONNX's own text form."""
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    return path


def infer(session: runtimes.Session, feeds: dict[str, Any]) -> dict[str, Any]:
    session.prepare(feeds)
    session.infer()
    return session.outputs()[0]


def test_telemetry_is_off(runtime: runtimes.Runtime) -> None:
    assert runtime.info.implementation == "onnxruntime"
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    assert "AzureExecutionProvider" not in runtime.info.providers


@pytest.mark.parametrize(
    ("name", "spec", "shape", "output"),
    [
        (
            "ch_PP-OCRv4_det_infer.onnx",
            ("p2o.DynamicDimension.0", 3, "p2o.DynamicDimension.1", "p2o.DynamicDimension.2"),
            (1, 3, 96, 160),
            (1, 1, 96, 160),
        ),
        (
            "ch_PP-OCRv4_rec_infer.onnx",
            ("p2o.DynamicDimension.0", 3, None, "p2o.DynamicDimension.1"),
            (2, 3, 48, 96),
            (2, 12, 6625),
        ),
        (
            "ch_ppocr_mobile_v2.0_cls_infer.onnx",
            (None, 3, None, None),
            (1, 3, 48, 192),
            (1, 2),
        ),
    ],
)
def test_text_recognition(
    runtime: runtimes.Runtime,
    name: str,
    spec: tuple[Any, ...],
    shape: tuple[int, ...],
    output: tuple[int, ...],
) -> None:
    session = runtime.open(fetch("rapidocr-onnxruntime", name), Settings())
    assert session.inputs == [TensorSpec("x", spec, "float32")]
    ((_, array),) = infer(session, {"x": np.ones(shape, np.float32)}).items()
    assert array.shape == output
    assert np.isfinite(array).all()


def test_speech_detection_with_state(runtime: runtimes.Runtime, tmp_path: Path) -> None:
    session = runtime.open(
        fetch("silero-vad", "silero_vad.onnx"), Settings(threads=1, profile_dir=tmp_path)
    )
    assert session.inputs == [
        TensorSpec("input", (None, None), "float32"),
        TensorSpec("state", (2, None, 128), "float32"),
        TensorSpec("sr", (), "int64"),
    ]
    feeds = {
        "input": np.zeros((1, 576), np.float32),
        "state": np.zeros((2, 1, 128), np.float32),
        "sr": np.array(16000),
    }
    outputs = infer(session, feeds)
    assert outputs["output"].shape == (1, 1)
    assert outputs["stateN"].shape == (2, 1, 128)
    operators = {operator.name: operator for operator in session.profile(4)}
    assert operators["If_0"].type == "If"
    assert {"Conv", "LSTM"} <= {operator.type for operator in operators.values()}
    feeds["input"] = np.zeros((1, 100), np.float32)
    session.prepare(feeds)
    with pytest.raises(RuntimeError, match="Invalid input shape") as caught:
        session.infer()
    assert "stft/Conv" in runtimes.readable(caught.value)


def test_same_network_as_tflite_and_onnx(runtime: runtimes.Runtime) -> None:
    feeds = {
        "serving_default_input_2:0": np.random.default_rng(5)
        .uniform(-0.5, 0.5, (1, 43844, 1))
        .astype(np.float32)
    }
    by_onnx = infer(runtime.open(fetch("basic-pitch", "nmp.onnx"), Settings()), feeds)
    tflite = runtimes.load("tflite")
    by_tflite = infer(tflite.open(fetch("basic-pitch", "nmp.tflite"), Settings()), feeds)
    assert by_onnx.keys() == by_tflite.keys()
    for name, array in by_onnx.items():
        np.testing.assert_allclose(array, by_tflite[name], atol=1e-4)


def test_profile_counts_a_branch_once() -> None:
    def event(name: str, ts: int, dur: int) -> dict[str, Any]:
        arguments = {"op_name": name, "provider": "CPUExecutionProvider", "node_index": "7"}
        return {"name": f"{name}_kernel_time", "ts": ts, "dur": dur, "args": arguments}

    # As ONNX Runtime logs: when a node ends. The loop holds the branch, the branch the sum.
    inference = [
        event("Mul", 0, 10),
        event("Add", 30, 5),
        event("If", 25, 15),
        event("Loop", 20, 40),
    ]
    later = [{**e, "ts": e["ts"] + 100} for e in inference]
    operators = _onnx._operators(inference + later, 2)
    assert {o.name: o.duration_ns for o in operators} == {
        "Mul": 10_000,
        "Add": 5_000,
        "If": 10_000,
        "Loop": 25_000,
    }
    assert {o.calls for o in operators} == {1}


@pytest.mark.parametrize("level", ["disabled", "basic", "extended", "all"])
def test_graph_optimization(runtime: runtimes.Runtime, tmp_path: Path, level: str) -> None:
    session = runtime.open(
        fetch("rapidocr-onnxruntime", "ch_ppocr_mobile_v2.0_cls_infer.onnx"),
        Settings(graph_optimization=level, profile_dir=tmp_path),
    )
    infer(session, {"x": np.zeros((1, 3, 48, 192), np.float32)})
    operators = session.profile(1)
    assert all(operator.provider == "CPUExecutionProvider" for operator in operators)
    norms = [operator for operator in operators if operator.type == "BatchNormalization"]
    assert bool(norms) == (level == "disabled")


def test_unknown_graph_optimization(runtime: runtimes.Runtime, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", DOUBLE)
    with pytest.raises(ModelError, match=r"'extreme'.*extended") as caught:
        runtime.open(model, Settings(graph_optimization="extreme"))
    assert caught.value.reason == "SETTING_UNSUPPORTED"


def test_profile_needs_to_be_asked_for(runtime: runtimes.Runtime, tmp_path: Path) -> None:
    session = runtime.open(write_model(tmp_path / "m.onnx", DOUBLE), Settings())
    infer(session, {"x": np.ones((1, 3), np.float32)})
    with pytest.raises(Unavailable):
        session.profile(1)


def test_missing_provider(runtime: runtimes.Runtime, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", DOUBLE)
    cuda, cpu = ProviderRequest("CUDAExecutionProvider"), ProviderRequest("CPUExecutionProvider")
    with pytest.raises(ModelError, match=r"CUDAEx.* it has .*CPUEx") as caught:
        runtime.open(model, Settings(providers=[cuda]))
    assert caught.value.reason == "PROVIDER_UNAVAILABLE"
    session = runtime.open(model, Settings(providers=[cuda, cpu]))
    infer(session, {"x": np.ones((1, 3), np.float32)})
    placement = session.placement()
    assert placement.requested_provider == "CUDAExecutionProvider, CPUExecutionProvider"
    assert placement.actual_provider == "CPUExecutionProvider"
    assert placement.fallback == (
        "CUDAExecutionProvider is not available here: CPUExecutionProvider executes the model"
    )


def test_external_data(runtime: runtimes.Runtime, tmp_path: Path) -> None:
    model = onnx.load(fetch("basic-pitch", "nmp.onnx"))
    path = tmp_path / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=100)
    feeds = {"serving_default_input_2:0": np.ones((1, 43844, 1), np.float32)}
    outputs = infer(runtime.open(path, Settings()), feeds)
    whole = infer(runtime.open(fetch("basic-pitch", "nmp.onnx"), Settings()), feeds)
    for name, array in outputs.items():
        np.testing.assert_array_equal(array, whole[name])
    (tmp_path / "m.data").unlink()
    with pytest.raises(ModelError, match=r"m\.data") as caught:
        runtime.open(path, Settings())
    assert caught.value.reason == "MODEL_INVALID"


@pytest.mark.parametrize(
    ("header", "body", "reason", "words"),
    [
        ('8, opset_import: ["": 17, "com.acme": 1]', "com.acme.Frob(x)", "UNSUPPORTED_OPERATOR",
         "com.acme:Frob"),
        ('8, opset_import: ["": 17]', "Frob(x)", "UNSUPPORTED_OPERATOR", "Frob"),
        ('99, opset_import: ["": 17]', "Relu(x)", "MODEL_INVALID", "IR version: 99"),
        ('8, opset_import: ["": 99]', "Relu(x)", "MODEL_INVALID", "Opset 99"),
    ],
)  # fmt: skip
def test_model_that_is_too_new_or_foreign(
    runtime: runtimes.Runtime, tmp_path: Path, header: str, body: str, reason: str, words: str
) -> None:
    text = f"<ir_version: {header}> m (float[2] x) => (float[2] y) {{ y = {body} }}"
    with pytest.raises(ModelError) as caught:
        runtime.open(write_model(tmp_path / "m.onnx", text), Settings())
    assert caught.value.reason == reason
    assert words in str(caught.value)
    assert "onnxruntime::" not in str(caught.value)


@pytest.mark.parametrize(
    "array", [np.array(["é", "bb"], dtype=object), np.array(["é", "bb"]), np.array([b"a", b"bb"])]
)
def test_strings(runtime: runtimes.Runtime, tmp_path: Path, array: Any) -> None:
    text = (
        '<ir_version: 8, opset_import: ["": 17]> m (string[N] x) => (string[N] y) {y=Identity(x)}'
    )
    session = runtime.open(write_model(tmp_path / "m.onnx", text), Settings())
    assert session.inputs == [TensorSpec("x", ("N",), "string")]
    outputs = infer(session, {"x": array})
    assert outputs["y"].dtype.kind == "U"
    assert outputs["y"].tolist() == [w.decode() if isinstance(w, bytes) else w for w in array]


def test_outputs_that_are_no_tensors(runtime: runtimes.Runtime, tmp_path: Path) -> None:
    text = (
        '<ir_version: 8, opset_import: ["": 17, "ai.onnx.ml": 3]>'
        " m (float[N, 3] x) => (seq(map(int64, float)) maps, float[N, 3] y)"
        " { maps = ai.onnx.ml.ZipMap <classlabels_int64s = [1, 2, 3]> (x) y = Identity(x) }"
    )
    session = runtime.open(write_model(tmp_path / "m.onnx", text), Settings())
    session.prepare({"x": np.ones((1, 3), np.float32)})
    session.infer()
    tensors, left_out = session.outputs()
    assert list(tensors) == ["y"]
    assert left_out == ["maps"]


def test_errors_are_not_printed(tmp_path: Path) -> None:
    """What a session reports is an exception; standard error stays empty."""
    model = fetch("silero-vad", "silero_vad.onnx")
    script = (
        "import sys, numpy as np; from pathlib import Path; from edgeopt_agent import runtimes\n"
        "session = runtimes.load('onnx').open(Path(sys.argv[1]), runtimes.Settings())\n"
        "session.prepare({'input': np.zeros((1, 9), 'f'), 'state': np.zeros((2, 1, 128), 'f'),"
        " 'sr': np.array(16000)})\n"
        "try: session.infer()\n"
        "except RuntimeError: print('refused')\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", script, str(model)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert (child.stdout, child.stderr) == ("refused\n", "")
