"""Real parts for all tests: a home of their own, agents as processes, the command line as one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

# A loaded machine must not make a property false.
settings.register_profile("edgeopt", deadline=None)
settings.load_profile("edgeopt")

PLUGINS = Path(__file__).parent / "plugins"


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that no other test sees, and none of the user's settings."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("EDGEOPT_HOME", str(folder))
    monkeypatch.delenv("EDGEOPT_DATABASE_URL", raising=False)
    return folder


@dataclass
class AgentProcess:
    """An agent in a process of its own."""

    address: str
    state_dir: Path
    process: subprocess.Popen[str]


@pytest.fixture
def start_agent(tmp_path: Path) -> Iterator[Callable[..., AgentProcess]]:
    """Starts `edgeopt-agent serve` with more arguments; it also knows the plug-in runtime `faulty`."""
    with contextlib.ExitStack() as stack:

        def start(
            *arguments: str,
            state_dir: Path | None = None,
            wrap: tuple[str, ...] = (),
            python: Path = Path(sys.executable),
        ) -> AgentProcess:
            state_dir = state_dir or tmp_path / "state"
            if not any(argument.startswith("--listen") for argument in arguments):
                # tmp_path is longer than socket paths may be.
                folder = stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp"))
                arguments = (*arguments, f"--listen=unix:{folder}/agent.sock")
            command = [python, "-m", "edgeopt_agent", "serve", "--state-dir", state_dir]
            process = subprocess.Popen(
                [*wrap, *map(str, command), *arguments],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(PLUGINS)},
            )
            stack.callback(_stop, process)
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("listening on ")
            return AgentProcess(line.removeprefix("listening on ").strip(), state_dir, process)

        yield start


@pytest.fixture
def agent(start_agent: Callable[..., AgentProcess]) -> AgentProcess:
    return start_agent()


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(20)
    assert process.stdout is not None
    process.stdout.close()


@pytest.fixture
def edgeopt_host() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line and returns its exit code, output and errors."""

    def run(*arguments: str | Path, **kwargs: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgeopt_host.cli", *map(str, arguments)]
        env = {**os.environ, "PYTHONPATH": str(PLUGINS), "COLUMNS": "100"}
        return subprocess.run(  # type: ignore[call-overload, no-any-return]
            command, capture_output=True, text=True, env=env, check=False, timeout=300, **kwargs
        )

    return run
