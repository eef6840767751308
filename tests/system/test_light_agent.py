"""The agent where only its base dependencies are installed, as on a new board."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import psutil
import pytest

from conftest import AgentProcess
from edgeopt_host.client import Agent

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "scripts" / "constraints.txt"


@pytest.fixture(scope="session")
def base_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with edgeopt and no extra."""
    venv = tmp_path_factory.mktemp("base")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    python = venv / "bin" / "python"
    subprocess.run(
        [*pip, "--python", python, "install", "-c", CONSTRAINTS, ROOT],
        check=True,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
    )
    return python


def test_probe_tells_the_device_and_names_the_extras_to_install(base_python: Path) -> None:
    ended = subprocess.run(
        [base_python, "-m", "edgeopt_agent", "probe"], capture_output=True, text=True, check=True
    )
    device = json.loads(ended.stdout)
    assert device["cpu"]["logical_cores"] == os.cpu_count()
    assert device["memory"]["total_bytes"] == psutil.virtual_memory().total
    reasons = {runtime["name"]: runtime["unavailable_reason"] for runtime in device["runtimes"]}
    for name, extra in {"onnx": "onnx", "ptl": "torch", "tflite": "tflite"}.items():
        assert reasons[name].startswith("not installed")
        assert reasons[name].endswith(f"pip install 'edgeopt[{extra}]'")
    for sensor in device["sensors"]:
        assert sensor["channels"] or sensor["unavailable_reason"]


def test_it_serves_and_refuses_models_with_a_reason(
    base_python: Path, start_agent: Callable[..., AgentProcess]
) -> None:
    agent = start_agent(python=base_python)
    with grpc.insecure_channel(agent.address) as channel:
        facts = Agent("board", channel).device()
    # Plug-ins of these tests need nothing.
    real = [runtime for runtime in facts.runtimes if runtime.name not in {"faulty", "slowed"}]
    assert all(runtime.unavailable_reason for runtime in real)
    assert facts.storage_free_bytes > 0


def test_the_host_is_not_there(base_python: Path) -> None:
    """It is in the wheel, but what it needs is not installed: it says so rather than crash."""
    ended = subprocess.run(
        [base_python, "-m", "edgeopt_host.cli", "runs", "list"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 4
    assert "pip install 'edgeopt[host]'" in ended.stderr
    assert "Traceback" not in ended.stderr
