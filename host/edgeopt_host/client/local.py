"""The device `local`: an agent started for the length of a command, on a private unix socket."""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from edgeopt_host import paths
from edgeopt_host.errors import DeviceError

_START_S = 20.0
_STOP_S = 5.0


class LocalAgent:
    """Starts the agent on entry and stops it on exit; blobs stay for the next command.

    Commands take turns: two benchmarks at once would disturb each other.
    """

    address: str

    def __init__(self, on_wait: Callable[[str], None] | None = None) -> None:
        self._on_wait = on_wait
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> LocalAgent:  # noqa: PYI034 - Self needs Python 3.11
        with contextlib.ExitStack() as stack:
            state = paths.data_dir() / "local-agent"
            stack.enter_context(_turn(state, self._on_wait))
            # Socket paths hold 107 bytes: a short folder of its own, open to its owner only.
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeopt-", dir="/tmp"))
            self.address = f"unix:{folder}/agent.sock"
            stack.enter_context(_process(self.address, state))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@contextlib.contextmanager
def _turn(state: Path, on_wait: Callable[[str], None] | None) -> Iterator[None]:
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (state / "turn").open("w")
    except OSError as error:
        raise DeviceError(
            f"the local agent's folder {state} cannot be written: {error.strerror}"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if on_wait is not None:
                on_wait(
                    "another edgeopt-host command is using the device local; waiting for its end"
                )
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _process(address: str, state: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "edgeopt_agent", "serve", "--listen", address]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*command, "--state-dir", str(state), "--until-stdin-closes"],
            # The pipe closes however this process ends, and the agent with it.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            # Ctrl-C is the host's to handle: it cancels first, then stops the agent.
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            _await_first_line(process, log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _await_first_line(process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    with selectors.DefaultSelector() as selector:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        selector.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if selector.select(deadline - time.monotonic()) else b""
    if line.startswith(b"listening on "):
        return
    process.kill()
    process.wait()
    log.seek(0)
    words = log.read().decode(errors="replace").strip().splitlines()
    reason = words[-1] if words else f"it said nothing within {_START_S:g} s"
    raise DeviceError(f"the local agent did not start: {reason}", "AGENT_NOT_STARTED")
