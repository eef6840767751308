from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize import _child

HERE = "child_functions"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


def call(name: str, **arguments: Any) -> Any:
    return _child.call(f"{HERE}:{name}", arguments)


def test_what_a_function_returns_comes_back_whatever_it_prints(tmp_path: Path) -> None:
    log = tmp_path / "log"
    told: list[tuple[float, str]] = []
    result = _child.call(
        f"{HERE}:chatty",
        {"value": {"a": [1, None, "µ"]}},
        log=log,
        progress=lambda share, text: told.append((share, text)),
    )
    assert result == {"a": [1, None, "µ"]}
    assert told == [(0.5, "half")]
    assert "to stdout" in log.read_text()
    assert "from below Python" in log.read_text()


@pytest.mark.parametrize(
    ("what", "reason", "said"),
    [
        (
            "segfault",
            "CONVERTER_CRASHED",
            "the process died (of SIGSEGV) in a library, which left no message",
        ),
        ("kill", "CONVERTER_CRASHED", "the process died (of SIGKILL)"),
        ("exit", "CONVERTER_CRASHED", "died (with exit code 3)"),
        ("memory", "OUT_OF_MEMORY", "memory ran out (MemoryError)"),
        ("bad_alloc", "OUT_OF_MEMORY", "memory ran out (RuntimeError: std::bad_alloc)"),
        ("full", "DISK_FULL", "the disk is full"),
        ("missing", "LIBRARY_MISSING", "this needs the package nowhere_to_be_found"),
        ("library", "STEP_FAILED", "a library failed with ValueError: first line"),
        ("own", "DATA_INVALID", "as it was raised"),
    ],
)
def test_every_end_of_a_child_is_a_typed_error(what: str, reason: str, said: str) -> None:
    with pytest.raises(EdgeoptError) as error:
        call("died", what=what)
    assert error.value.reason == reason
    assert said in error.value.message
    assert "\n" not in error.value.message


def test_wrong_use_stays_wrong_use() -> None:
    with pytest.raises(UsageError, match="used wrongly"):
        call("misused")


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    started = tmp_path / "started"
    program = (
        "import sys; from edgeopt_host.optimize import _child; "
        f"_child.call('{HERE}:sleep', {{'file': sys.argv[1]}})"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(started)]) as parent:
        while not (started.exists() and started.read_text()):
            time.sleep(0.02)
        child = psutil.Process(int(started.read_text()))
        parent.kill()
    # Where nobody waits for orphans, one that is gone stays as a zombie.
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.02)
