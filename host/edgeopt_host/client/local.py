"""The device `local`: an agent started for the length of a command, on a private unix socket."""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from edgeopt_host import _files, paths
from edgeopt_host.errors import Cancelled, DeviceError

_START_S = 20.0
_STOP_S = 5.0
_POLL_S = 0.2
_PREFIX = "edgeopt-local-"


class LocalAgent:
    """Starts the agent on entry and stops it on exit; blobs stay for the next command.

    Commands take turns: two benchmarks at once would disturb each other.
    """

    address: str

    def __init__(
        self,
        on_wait: Callable[[str], None] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._on_wait = on_wait
        self._stop = stop or threading.Event()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> LocalAgent:  # noqa: PYI034 - Self needs Python 3.11
        with contextlib.ExitStack() as stack:
            state = (paths.data_dir() / "local-agent").absolute()
            stack.enter_context(_turn(state, self._on_wait, self._stop))
            _await_predecessor(state, self._stop)
            # Socket paths hold 107 bytes: a short folder of its own, open to its owner only.
            folder = stack.enter_context(_folder())
            self.address = f"unix:{folder}/agent.sock"
            stack.enter_context(_process(self.address, state, self._stop))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder for the socket, locked while it is in use; what killed processes left is removed."""
    _remove_leftovers()
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir="/tmp"))
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            break
        # Another process took it for a dead one's, in the moment before it was locked.
        os.close(lock)
    try:
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


def _remove_leftovers() -> None:
    for folder in Path("/tmp").glob(f"{_PREFIX}*"):  # noqa: S108 - see `_folder`
        with contextlib.suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(lock).st_uid == os.getuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _remove(folder)
            finally:
                os.close(lock)


def _remove(folder: Path) -> None:
    """Removes what is ours in it, and the folder unless somebody put more there."""
    with contextlib.suppress(OSError):
        (folder / "agent.sock").unlink(missing_ok=True)
        folder.rmdir()


@contextlib.contextmanager
def _turn(
    state: Path, on_wait: Callable[[str], None] | None, stop: threading.Event
) -> Iterator[None]:
    try:
        _files.make_private(state)
        lock = (state / "turn").open("w")
    except OSError as error:
        raise DeviceError(
            f"the local agent's folder {state} cannot be written: {error.strerror}"
        ) from error
    with lock:
        if not _locked(lock):
            if on_wait is not None:
                on_wait(
                    "another edgeopt-host command is using the device local; waiting for its end"
                )
            # Asked again and again: a thread that sleeps in flock hears of no Ctrl-C.
            while not _locked(lock):
                _raise_if_set(stop)
                stop.wait(_POLL_S)
        yield


def _await_predecessor(state: Path, stop: threading.Event) -> None:
    """The agent of a command that was killed takes a moment to end its worker, and then itself."""
    deadline = time.monotonic() + _START_S
    # An agent locks the folder of its state.
    lock = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while not _locked(lock) and time.monotonic() < deadline:
            _raise_if_set(stop)
            stop.wait(_POLL_S)
    finally:
        os.close(lock)


def _locked(lock: IO[str] | int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise DeviceError(f"the local agent's folder cannot be locked: {error.strerror}") from error
    return True


def _raise_if_set(stop: threading.Event) -> None:
    if stop.is_set():
        raise Cancelled("cancelled before the local agent was there")


@contextlib.contextmanager
def _process(address: str, state: Path, stop: threading.Event) -> Iterator[None]:
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
            # Python imports from where it is started: a numpy.py in the user's folder is not ours.
            cwd=state,
            env=_environment(),
        )
        try:
            _await_first_line(process, log, stop)
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


def _environment() -> dict[str, str]:
    """This process's, with nothing in it that depends on the working directory."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}
    if path := os.environ.get("PYTHONPATH"):
        # An empty entry would be the working directory, too.
        entries = [str(Path(entry).absolute()) for entry in path.split(os.pathsep) if entry]
        environment["PYTHONPATH"] = os.pathsep.join(entries)
    return environment


def _await_first_line(
    process: subprocess.Popen[bytes], log: IO[bytes], stop: threading.Event
) -> None:
    deadline = time.monotonic() + _START_S
    with selectors.DefaultSelector() as selector:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        selector.register(process.stdout, selectors.EVENT_READ)
        line = b""
        while not line and time.monotonic() < deadline:
            _raise_if_set(stop)
            if selector.select(_POLL_S):
                line = process.stdout.readline()
                break
    if line.startswith(b"listening on "):
        return
    process.kill()
    process.wait()
    log.seek(0)
    words = log.read().decode(errors="replace").strip().splitlines()
    reason = words[-1] if words else f"it said nothing within {_START_S:g} s"
    raise DeviceError(f"the local agent did not start: {reason}", "AGENT_NOT_STARTED")
