"""Starts workers and stays with them: a crash, a hang or a kill ends a worker, not the agent."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from google.protobuf.message import DecodeError

from edgeopt.agent.v1 import agent_pb2, benchmark_pb2
from edgeopt_agent.errors import WorkerError
from edgeopt_agent.worker.events import read_events

OnEvent = Callable[[agent_pb2.WatchBenchmarkResponse], None]

# A runtime's last words; more than this is not read by anybody.
_STDERR_BYTES = 64 * 1024
_PIPE_BYTES = 2**20
# How long what a dead worker has written may take to be read. Not longer, because a process that
# left the worker's group may hold the other ends for ever.
_DRAIN_S = 2.0
_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGABRT, signal.SIGFPE}


async def run_worker(
    benchmark: benchmark_pb2.Benchmark,
    folder: Path,
    launch: int,
    on_event: OnEvent,
    *flags: str,
    allowed_code: frozenset[str] = frozenset(),
) -> None:
    """Runs one launch in a fresh process and hands on what it reports, as it comes.

    Cancelling this coroutine kills the worker's process group.

    Raises:
        WorkerError: when the launch gave no result; the reason says why.
    """
    oom_kills = _oom_kills()
    task = folder / "benchmark"
    task.write_bytes(benchmark.SerializeToString())
    with _pipe() as (events, events_end), _pipe() as (errors, errors_end):
        with task.open("rb") as stdin, events_end, errors_end:
            # No pipe is asyncio's own: Process.wait would wait for their ends, too.
            process = await asyncio.create_subprocess_exec(
                *_command(folder, events_end.fileno(), launch, flags),
                stdin=stdin,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=errors_end,
                pass_fds=[events_end.fileno()],
                start_new_session=True,
                cwd=folder,
                env=child_environment(),
            )
        reading = asyncio.create_task(_hand_on(events, on_event, process))
        last_words = asyncio.create_task(_tail(errors))
        try:
            code = await process.wait()
            await asyncio.wait([reading, last_words], timeout=_DRAIN_S)
        finally:
            _kill_group(process)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), _DRAIN_S)
            reading.cancel()
            last_words.cancel()
            await asyncio.wait([reading, last_words])
    words = last_words.result() if not last_words.cancelled() else ""
    reported = False if reading.cancelled() else reading.result()
    if code != 0:
        raise _death(code, words, oom_killed=_oom_kills() > oom_kills)
    if not reported:
        raise WorkerError(
            "WORKER_FAILED", f"the worker ended without a result{_quoted_words(words)}"
        )


def child_environment() -> dict[str, str]:
    """For every Python process the agent starts: nothing is imported from where it stands."""
    return {
        **os.environ,
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _command(folder: Path, events: int, launch: int, flags: Sequence[str]) -> list[str]:
    worker = [sys.executable, "-m", "edgeopt_agent.worker", str(folder)]
    return [*worker, "--events", str(events), "--launch", str(launch), *flags]


async def _hand_on(pipe: IO[bytes], on_event: OnEvent, process: asyncio.subprocess.Process) -> bool:
    """Hands on the worker's events; whether a result or a profile was among them.

    Raises:
        WorkerError: with the failure that the worker told, or when it told nonsense.
    """
    reported = False
    try:
        async with _reading(pipe) as reader:
            async for response in read_events(reader):
                kind = response.event.WhichOneof("event")
                if kind == "benchmark":
                    failure = response.event.benchmark.failure
                    raise WorkerError(failure.reason, failure.message, **dict(failure.metadata))
                reported |= kind in {"result", "profile", "outputs"}
                on_event(response)
    except DecodeError as error:
        _kill_group(process)
        message = f"the worker reported what is no event: {error}"
        raise WorkerError("WORKER_FAILED", message) from error
    return reported


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """A pipe that holds much, so that a launch's samples cost the agent few wake-ups."""
    receive, send = os.pipe()
    with (
        os.fdopen(receive, "rb", buffering=0) as reader,
        os.fdopen(send, "wb", buffering=0) as writer,
    ):
        # Linux only, and an unprivileged user may have used up their share of pipe memory.
        with contextlib.suppress(AttributeError, OSError):
            fcntl.fcntl(receive, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        yield reader, writer


@contextlib.asynccontextmanager
async def _reading(pipe: IO[bytes]) -> AsyncIterator[asyncio.StreamReader]:
    reader = asyncio.StreamReader(limit=_PIPE_BYTES)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    try:
        yield reader
    finally:
        transport.close()


async def _tail(pipe: IO[bytes]) -> str:
    """The last of what comes, also when this is cancelled before the end."""
    kept = b""
    with contextlib.suppress(asyncio.CancelledError):
        async with _reading(pipe) as reader:
            while data := await reader.read(_STDERR_BYTES):
                kept = (kept + data)[-_STDERR_BYTES:]
    return kept.decode(errors="replace")


def _kill_group(process: asyncio.subprocess.Process) -> None:
    # The worker leads a group of its own, so this reaches what a runtime has started, too.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _death(code: int, words: str, *, oom_killed: bool) -> WorkerError:
    said = _quoted_words(words)
    if code > 0:
        return WorkerError("WORKER_FAILED", f"the worker ended with exit code {code}{said}")
    number = -code
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    if number == signal.SIGKILL and oom_killed:
        return WorkerError(
            "OUT_OF_MEMORY",
            "the kernel killed the worker (SIGKILL) because memory ran out; "
            "use a smaller model, shape or batch",
            signal=name,
        )
    if number in _CRASHES:
        return WorkerError(
            "WORKER_CRASHED",
            f"the runtime crashed the worker with {name}; the model may be damaged, or use what "
            f"this device's CPU lacks{said}",
            signal=name,
        )
    hint = ", which is what a kernel out of memory does" if number == signal.SIGKILL else ""
    message = f"something killed the worker with {name}{hint}{said}"
    return WorkerError("WORKER_KILLED", message, signal=name)


def _quoted_words(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    # What a runtime says when all is well explains no death.
    lines = [line for line in lines if not line.startswith("INFO:")]
    return f"; its last words: {lines[-1][:300]}" if lines else ""


def _oom_kills() -> int:
    """How many processes the kernel has killed for memory since boot, cgroup limits included."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:  # Android denies it
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
