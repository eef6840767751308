"""The service for real: installed over SSH onto a board that boots systemd (tests/board.py)."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tiny
from board import Board

EdgeoptHost = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    with Board(tmp_path) as started:
        monkeypatch.setenv("EDGEOPT_SSH", started.client.command)
        yield started


def answers(edgeopt_host: EdgeoptHost) -> bool:
    return edgeopt_host("device", "info", "b1").returncode == 0


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize("user", ["root", "pi"])
def test_a_service_from_installation_to_removal(
    board: Board, edgeopt_host: EdgeoptHost, tmp_path: Path, user: str
) -> None:
    """Of the system for root, and of its own for a user who may not become root."""
    if user != "root":
        board.run("useradd", "--create-home", "--password", "'*'", user)
    manager = (
        "systemctl" if user == "root" else "XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user"
    )

    def service(*words: str) -> str:
        return board.run(manager, *words, "edgeopt-agent", user=user).stdout.strip()

    if user != "root":
        # Another's, which is none of ours to take away.
        board.run("install", "-d", "/var/lib/edgeopt-agent", "/opt/edgeopt-agent/venv")
    before = set(board.root.rglob("*edgeopt-agent*"))
    add = ("device", "add", "b1", "--ssh", f"{user}@board", "--offline", "--runtime=onnx")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        failed = edgeopt_host(*add, f"--listen-port={port}")
        # pi may not read the log of this board, and is told how to see for itself.
        why = "is the port taken?" if user == "root" else "there to see why"
        assert (failed.returncode, why in failed.stderr) == (4, True), failed.stderr

    # The same command again goes on.
    added = edgeopt_host(*add, f"--listen-port={port}")
    assert added.returncode == 0, added.stderr
    assert "onnxruntime" in added.stdout
    assert service("is-active") == "active"

    # A model runs confined under the unit's own limits.
    assert re.search(r"Confinement .*landlock, seccomp", added.stdout), added.stdout
    model = tiny.relu(tmp_path / "relu.onnx")
    pushed = edgeopt_host("push", model, "--device=b1", "--quick", "--dim=batch=1")
    assert pushed.returncode == 0, (pushed.stderr, pushed.stdout)

    if user == "root":
        rated = board.run("systemd-analyze", "security", "--no-pager", "edgeopt-agent").stdout
        (exposure,) = re.findall(r"Overall exposure level for [a-z.-]+: ([0-9.]+)", rated)
        assert float(exposure) <= 3.0

    # A crash.
    pid = int(service("show", "--value", "--property=MainPID"))
    board.run("kill", "-9", str(pid))
    wait_for(lambda: int(service("show", "--value", "--property=MainPID")) not in {0, pid})
    wait_for(lambda: answers(edgeopt_host))

    # A power cut, and a boot.
    board.restart()
    wait_for(lambda: answers(edgeopt_host))

    # A stop.
    service("stop")
    ended = service("show", "--property=Result,ExecMainStatus").split()
    assert set(ended) == {"Result=success", "ExecMainStatus=0"}

    gone = edgeopt_host("device", "uninstall", "b1")
    assert gone.returncode == 0, gone.stderr
    assert set(board.root.rglob("*edgeopt-agent*")) == before
    assert list((board.root / "var/lib/systemd").glob("linger/*")) == []
    assert board.run("id", "edgeopt-agent").returncode != 0
