"""Starts workers and stays with them: a crash, a hang or a kill ends the worker, never the agent."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from edgeopt.agent.v1 import agent_pb2, benchmark_pb2
from edgeopt_agent.errors import WorkerError
from edgeopt_agent.worker.events import read_events

# A runtime's last words; more than this is not read by anybody.
_STDERR_BYTES = 64 * 1024
_PIPE_BYTES = 2**20
_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGABRT, signal.SIGFPE}


async def run_worker(
    benchmark: benchmark_pb2.Benchmark,
    folder: Path,
    launch: int,
    on_event: Callable[[agent_pb2.WatchBenchmarkResponse], None],
    *flags: str,
) -> None:
    """Runs one launch in a fresh process and hands on what it reports, as it comes.

    Cancelling this coroutine kills the worker and all it started.

    Raises:
        WorkerError: when the launch gave no result; the reason says why.
    """
    receive, send = _wide_pipe()
    oom_kills = _oom_kills()
    try:
        process = await asyncio.create_subprocess_exec(
            *_command(folder, send, launch, flags),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=[send],
            start_new_session=True,
            env={**os.environ, "ORT_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1"},
        )
    except OSError:
        os.close(receive)
        raise
    finally:
        os.close(send)
    assert process.stdin is not None  # noqa: S101 - it was asked for above
    assert process.stderr is not None  # noqa: S101
    stderr = asyncio.create_task(_tail(process.stderr))
    failure: benchmark_pb2.Failure | None = None
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.write(benchmark.SerializeToString())
            process.stdin.write_eof()
        async with _reading(receive) as reader:
            async for response in read_events(reader):
                if response.event.HasField("benchmark"):
                    failure = response.event.benchmark.failure
                else:
                    on_event(response)
        code = await process.wait()
    finally:
        _kill_group(process)
        await process.wait()
        words = await stderr
    if failure is not None:
        raise WorkerError(failure.reason, failure.message, **dict(failure.metadata))
    if code != 0:
        raise _death(code, words, oom_killed=_oom_kills() > oom_kills)


def _command(folder: Path, events: int, launch: int, flags: Sequence[str]) -> list[str]:
    worker = [sys.executable, "-m", "edgeopt_agent.worker", str(folder)]
    return [*worker, "--events", str(events), "--launch", str(launch), *flags]


def _wide_pipe() -> tuple[int, int]:
    """A pipe that holds much, so that a launch's samples cost the agent few wake-ups."""
    receive, send = os.pipe()
    # Linux only, and an unprivileged user may have used up their share of pipe memory.
    with contextlib.suppress(AttributeError, OSError):
        fcntl.fcntl(receive, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return receive, send


@contextlib.asynccontextmanager
async def _reading(descriptor: int) -> AsyncIterator[asyncio.StreamReader]:
    reader = asyncio.StreamReader(limit=_PIPE_BYTES)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    try:
        yield reader
    finally:
        transport.close()


async def _tail(stream: asyncio.StreamReader) -> str:
    kept = b""
    while data := await stream.read(_STDERR_BYTES):
        kept = (kept + data)[-_STDERR_BYTES:]
    return kept.decode(errors="replace")


def _kill_group(process: asyncio.subprocess.Process) -> None:
    # The worker leads a group of its own, so this reaches what a runtime has started, too.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _death(code: int, words: str, *, oom_killed: bool) -> WorkerError:
    last = _last_line(words)
    said = f"; its last words: {last}" if last else ""
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
            f"the runtime crashed the worker with {name}; the model may be damaged, or use what this "
            f"device's CPU lacks{said}",
            signal=name,
        )
    hint = ", which is what a kernel out of memory does" if number == signal.SIGKILL else ""
    return WorkerError(
        "WORKER_KILLED", f"something killed the worker with {name}{hint}{said}", signal=name
    )


def _last_line(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _oom_kills() -> int:
    """How many processes the kernel has killed for memory since boot, cgroup limits included."""
    try:
        text = Path("/proc/vmstat").read_text()
    except OSError:  # Android denies it
        return 0
    return next(
        (int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), 0
    )
