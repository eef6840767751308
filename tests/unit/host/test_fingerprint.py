"""What may be compared with what."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from edgeopt_host.fingerprint import Fingerprint
from edgeopt_host.run import Run, Tensor
from sample_runs import measured_run

_REQUEST: dict[str, Any] = {
    "plan": {"launches": 3, "warmup_s": 1.0, "duration_s": 2.0},
    "execution": {
        "runtime": None,
        "threads": None,
        "providers": [{"name": "libgpu.so", "runtime": "tflite", "options": {}}],
        "xnnpack": True,
        "graph_optimization": None,
        "quantized_engine": None,
    },
}


def _run(change: Callable[[Run], None] | None = None) -> Run:
    run = measured_run(request=copy.deepcopy(_REQUEST))
    if change is not None:
        change(run)
    return run


def _set(path: str, value: object) -> Callable[[Run], None]:
    def change(run: Run) -> None:
        *parents, last = path.split(".")
        target: Any = run
        for name in parents:
            target = target[name] if isinstance(target, dict) else getattr(target, name)
        if isinstance(target, dict):
            target[last] = value
        else:
            setattr(target, last, value)

    return change


def _differences(change: Callable[[Run], None]) -> list[str]:
    return Fingerprint.of(_run()).differences(Fingerprint.of(_run(change)))


def test_the_same_again_is_comparable() -> None:
    assert _differences(lambda _: None) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("device.name", "pi4b", "the device was pi4, now pi4b"),
        ("device.board", None, "the board was Raspberry Pi 4 Model B Rev 1.4, now unknown"),
        ("device.cpu", "Cortex-A76", "the CPU was Cortex-A72, now Cortex-A76"),
        ("device.architecture", "armv7l", "the architecture was aarch64, now armv7l"),
        ("device.cores", 2, "the number of cores was 4, now 2"),
        ("device.usable_cores", 2, "the number of usable cores was unknown, now 2"),
        ("device.memory_bytes", 8 * 2**30, "the memory was 4.0 GB, now 8.0 GB"),
        ("device.os", "Debian 13", "the system was Debian GNU/Linux 12 (bookworm), now Debian 13"),
        ("device.kernel", "6.12.1", "the kernel was 6.6.31, now 6.12.1"),
        ("device.emulated", True, "the emulation was off, now on"),
        (
            "runtime.version",
            "2.2.0",
            "the runtime was ai-edge-litert 2.1.0, now ai-edge-litert 2.2.0",
        ),
        ("runtime.threads", 1, "the number of threads was 4, now 1"),
        ("runtime.requested_provider", None, "the provider was GPU, now the default"),
        ("request.execution.xnnpack", False, "the XNNPACK setting was the default, now off"),
        (
            "request.execution.providers",
            [{"name": "libgpu.so", "runtime": "tflite", "options": {"b": "2", "a": "1"}}],
            "the set of provider options was empty, now libgpu.so:a=1,b=2",
        ),
        ("state.governor", "performance", "the governor was ondemand, now performance"),
        ("shape.batch", 8, "the batch was 2, now 8"),
        ("shape.streams", 1, "the number of streams was 3, now 1"),
        ("shape.rate_hz", None, "the rate was 30.5 Hz, now back to back"),
        (
            "shape.inputs",
            [Tensor("image", [1, 96, 96, 3], "float32")],
            "the size of what is fed was 49152 values, now 27648 values",
        ),
        ("request.plan.warmup_s", 0.3, "the warm-up was whole, now short"),
        ("request.plan.duration_s", 600.0, "the length of a launch was short, now long"),
        (
            "state.temperature_c.start",
            60.0,
            "the temperature at the start was 48 °C, now 60 °C",
        ),
        (
            "state.temperature_c.start",
            None,
            "the temperature at the start was 48 °C, now unknown",
        ),
    ],
)
def test_what_differs_is_named_with_both_values(path: str, value: object, said: str) -> None:
    assert _differences(_set(path, value)) == [said]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.sha256", "cd" * 32),
        ("model.name", "candidate.tflite"),
        ("model.size_bytes", 1),
        ("labels", {}),
        ("command", "edgeopt-host gate run"),
        ("device.agent_version", "9.9"),
        ("device.python", "3.14.0"),
        ("device.memory_bytes", 4 * 2**30 - 3 * 2**20),
        ("runtime.actual_provider", "CPU"),
        ("runtime.delegated_share", 0.5),
        ("runtime.quantized_engine", None),
        ("request.plan.launches", 30),
        ("request.plan.duration_s", 1.0),
        ("request.execution.graph_optimization", "all"),  # of another runtime
        # A quantized candidate, made by a converter that turns channels around.
        ("shape.inputs", [Tensor("serving_default:0", [1, 3, 128, 128], "int8")]),
        ("state.temperature_c.start", 57.0),
        ("state.temperature_c.end", 80.0),
    ],
)
def test_what_a_comparison_is_about_is_no_difference(path: str, value: object) -> None:
    assert _differences(_set(path, value)) == []


def test_another_runtime_is_one_sentence() -> None:
    def to_onnx(run: Run) -> None:
        run.runtime.name, run.runtime.implementation = "onnx", "onnxruntime"
        run.runtime.version = "1.32.0"

    assert _differences(to_onnx) == ["the runtime was ai-edge-litert 2.1.0, now onnxruntime 1.32.0"]


def test_graph_optimization_is_of_onnx() -> None:
    def onnx(level: str | None) -> Fingerprint:
        run = _run(_set("request.execution.graph_optimization", level))
        run.runtime.name = "onnx"
        return Fingerprint.of(run)

    assert onnx(None).differences(onnx("basic")) == [
        "the graph optimization was the default, now basic"
    ]


def test_changes_are_short_and_leave_the_temperature_out() -> None:
    hot = _run(_set("state.temperature_c.start", 90.0))
    hot.device.kernel = "6.12.1"
    assert Fingerprint.of(_run()).changes(Fingerprint.of(hot)) == ["kernel 6.6.31 → 6.12.1"]


def test_runs_that_do_not_tell_what_was_asked() -> None:
    """Of the first release."""
    before, now = Fingerprint.of(_run()), Fingerprint.of(measured_run(request=None))
    assert before.differences(now) == [
        "the warm-up was whole, now unknown",
        "the length of a launch was short, now unknown",
    ]
    assert now.differences(Fingerprint.of(measured_run(request=None))) == []
