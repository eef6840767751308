"""`edgeopt-host gate run` for real: tiny models on this machine, and the exit codes of a gate."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny

EdgeoptHost = Callable[..., subprocess.CompletedProcess[str]]
HEAD = 'schema = "edgeopt.policy/1"\n[gate]\nbudget_s = 6\nabsolute_budget_s = 6\n'
LOCAL = ("--device", "local")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models in the working folder with the same input, one many times as slow as the other."""
    monkeypatch.chdir(tmp_path)
    tiny.relu(tmp_path / "quick.onnx", (1, 1024))
    tiny.matmul(tmp_path / "slow.onnx", 1024)
    return tmp_path


def policy(*rules: str) -> str:
    """Writes rules such as `metric = "load_ms"; max = 1`; returns the file's name."""
    tables = ["[[rule]]\n" + rule.replace("; ", "\n") + "\n" for rule in rules]
    Path("policy.toml").write_text(HEAD + "".join(tables), "utf-8")
    return "policy.toml"


def decided(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert ended.stdout, ended.stderr
    document: dict[str, Any] = json.loads(ended.stdout)
    assert document["schema"] == "edgeopt.gate/1"
    return document


@pytest.mark.usefixtures("folder")
def test_a_quicker_model_passes_and_a_slower_one_fails(edgeopt_host: EdgeoptHost) -> None:
    rules = policy(
        'metric = "p50_latency_ms"; max_regression = "10%"', 'metric = "size_mb"; max = 50'
    )
    models = ("--candidate", "quick.onnx", "--baseline", "slow.onnx")
    ended = edgeopt_host(
        "gate", "run", rules, *models, *LOCAL, "--junit", "j.xml", "--html", "h.html",
        "--markdown", "m.md", "--label", "branch=main", "--format", "json",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    document = decided(ended)
    p50, size = document["rules"]
    # docs/reference/gate-json.md: the keys of edgeopt.gate/1; others rely on each of them.
    assert set(document) == {
        "schema", "verdict", "rules", "runs", "policy", "time", "command", "candidate", "baseline",
        "warnings",
    }  # fmt: skip
    assert set(p50) == {
        "metric", "device", "required", "verdict", "estimate", "ci", "limit", "looks", "device_seconds",
        "reason", "kind", "unit", "candidate", "baseline", "condition", "advice",
    }  # fmt: skip
    assert (p50["verdict"], p50["limit"], p50["looks"]) == ("pass", 1.1, 1)
    assert p50["ci"][0] <= p50["estimate"] <= p50["ci"][1] < 1.1
    assert 0 < p50["device_seconds"] < 12
    assert (size["verdict"], size["unit"]) == ("pass", "MB")
    assert "<testsuite" in Path("j.xml").read_text("utf-8")
    assert "quick.onnx" in Path("h.html").read_text("utf-8")
    assert "pass" in Path("m.md").read_text("utf-8")
    listed = edgeopt_host("runs", "list", "--label", "branch=main", "--format", "json")
    assert {run["id"] for run in json.loads(listed.stdout)["runs"]} == set(document["runs"])
    assert len(document["runs"]) == 2

    swapped = ("--candidate", "slow.onnx", "--baseline", "quick.onnx")
    failed = edgeopt_host("gate", "run", rules, *swapped, *LOCAL)
    assert failed.returncode == 1, failed.stderr
    assert "✗ fail" in failed.stdout
    assert failed.stdout.endswith("✗ fail: 1 of 2 required rules failed\n")


@pytest.mark.usefixtures("folder")
def test_absolute_limits_and_accuracy(edgeopt_host: EdgeoptHost) -> None:
    # What comes in goes out: the first class is always the answer.
    x = np.zeros((40, 1024), np.float32)
    x[:, 0] = 1
    y = np.zeros(40, np.int64)
    y[30:] = 1
    np.savez("data.npz", x_test=x, y_test=y)
    rules = policy(
        'metric = "load_ms"; max = 60000',
        'metric = "p95_latency_ms"; max = 1000; required = false',
        'metric = "size_mb"; max = 0.00001; required = false',
        'metric = "throughput_per_s"; min = 0.001',
        'metric = "peak_memory_mb"; max = 1; required = false',
        'metric = "accuracy"; min = 0.2',
    )
    ended = edgeopt_host(
        "gate", "run", rules, "--candidate", "quick.onnx", "--data", "data.npz", *LOCAL,
        "--format", "json",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    document = decided(ended)
    found = {rule["metric"]: rule for rule in document["rules"]}
    # Of a tail, seconds on a busy machine need not tell enough: only that it does not fail is sure.
    tail = found.pop("p95_latency_ms")
    assert tail["verdict"] != "fail"
    assert 0 < tail["candidate"] < 1000
    assert {metric: rule["verdict"] for metric, rule in found.items()} == {
        "load_ms": "pass",
        "size_mb": "fail",
        "throughput_per_s": "pass",
        "peak_memory_mb": "fail",
        "accuracy": "pass",
    }
    size = Path("quick.onnx").stat().st_size / 2**20
    assert found["size_mb"]["estimate"] == found["size_mb"]["candidate"] == size > 0.00001
    assert found["accuracy"]["candidate"] == 0.75
    assert document["baseline"] is None
    # Latency and memory are of one benchmark, accuracy of another.
    assert len(document["runs"]) == 2


@pytest.mark.usefixtures("folder")
def test_a_stored_run_and_a_named_baseline(edgeopt_host: EdgeoptHost) -> None:
    rules = policy('metric = "p50_latency_ms"; max_regression = "50%"')
    quick = ("--warmup", "1", "--duration", "0.2", "--launches", "4", "--format", "json")
    ids = {}
    for model in ("quick.onnx", "slow.onnx"):
        (run,) = json.loads(edgeopt_host("push", model, *LOCAL, *quick).stdout)["runs"]
        ids[model] = run["id"]
    assert edgeopt_host("baseline", "set", "main", ids["quick.onnx"]).returncode == 0

    gate = ("gate", "run", rules, "--baseline", "main", "--format", "json")
    for candidate in ((ids["slow.onnx"],), ("slow.onnx", *LOCAL)):
        ended = edgeopt_host(*gate, "--candidate", *candidate)
        (rule,) = decided(ended)["rules"]
        # Where the machine tells its temperature, that may have changed meanwhile.
        reason = rule["reason"] or ""
        expected = ("fail", 1) if "temperature" not in reason else ("not_measurable", 4)
        assert (rule["verdict"], ended.returncode) == expected, reason

    ended = edgeopt_host(*gate, "--candidate", "slow.onnx", *LOCAL, "--graph-opt", "basic")
    (rule,) = decided(ended)["rules"]
    assert (rule["verdict"], ended.returncode) == ("not_measurable", 4)
    assert "graph optimization was the default, now basic" in rule["reason"]


@pytest.mark.usefixtures("folder")
def test_what_cannot_be_measured_is_4(edgeopt_host: EdgeoptHost, tmp_path: Path) -> None:
    rules = policy(
        'metric = "p50_latency_ms"; max_regression = "10%"', 'metric = "size_mb"; max = 9'
    )
    tiny.unknown_operator(tmp_path / "odd.onnx")
    models = ("--candidate", "odd.onnx", "--baseline", "quick.onnx")
    ended = edgeopt_host("gate", "run", rules, *models, *LOCAL, "--format", "json")
    document = decided(ended)
    assert (ended.returncode, document["verdict"]) == (4, "not_measurable")
    assert all("FlyToTheMoon" in rule["reason"] for rule in document["rules"])

    added = edgeopt_host(
        "device", "add", "gone", "unix:/nowhere/agent.sock", "--tag=lab", "--no-check"
    )
    assert added.returncode == 0, added.stderr
    models = ("--candidate", "quick.onnx", "--baseline", "quick.onnx")
    away = edgeopt_host("gate", "run", rules, *models, "--tag", "lab")
    assert away.returncode == 4
    assert "! not measurable" in away.stdout
    assert "gone: p50_latency_ms" in away.stdout
