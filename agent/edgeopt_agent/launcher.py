"""Starts workers and stays with them: a crash, a hang or a kill ends a worker, not the agent."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import logging
import math
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from google.protobuf.message import DecodeError

from edgeopt.agent.v1 import agent_pb2, benchmark_pb2
from edgeopt_agent import confine, reports
from edgeopt_agent.confine import Confinement
from edgeopt_agent.environment import child_environment
from edgeopt_agent.errors import WorkerError
from edgeopt_agent.facts import memory
from edgeopt_agent.scratch import new_scratch, take_file
from edgeopt_agent.worker.events import Oversized, read_events

OnEvent = Callable[[agent_pb2.WatchBenchmarkResponse], None]

# Files that passes make, by the pass.
MADE_BY = {"outputs": "outputs.npz", "evaluate": "predictions.npz"}
# A runtime's last words; more than this is not kept.
_KEPT_STDERR_BYTES = 64 * 1024
# What a runtime may print in one launch before it counts as a flood.
_MAX_STDERR_BYTES = 256 * 2**20
_PIPE_BYTES = 2**20
# How long what a dead worker has written may take to be read. Not longer, because a process that
# left the worker's group may hold the other ends for ever.
_DRAIN_S = 2.0
_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGABRT, signal.SIGFPE}
# What C++ says on its way to SIGABRT when an allocation fails.
_NO_MEMORY = "std::bad_alloc"
_REASON = re.compile(r"[A-Z][A-Z0-9_]{0,62}")
_MAX_MESSAGE = 2000
# How this process was started, which is how its workers start.
_SCHEDULING = confine.Scheduling.now()
_log = logging.getLogger(__name__)


async def run_worker(
    benchmark: benchmark_pb2.Benchmark,
    folder: Path,
    launch: int,
    on_event: OnEvent,
    *,
    subject: int = 0,
    kind: str = "",
    turns: int | None = None,
    allowed_code: Collection[str] = (),
    state_dir: Path | None = None,
    mechanisms: Collection[str] = confine.MECHANISMS,
    memory_bytes: int | None = None,
) -> None:
    """Runs one launch in a fresh, confined process and hands on what it reports, as it comes.

    The worker may read `folder` and change a folder below it that is new and is gone afterwards;
    the file that a pass makes is moved to `folder`. Cancelling this coroutine kills the worker and
    all that it started.

    Args:
        benchmark: the task.
        folder: the job's folder, with the model's files.
        launch: the number that its events get.
        on_event: called with every event.
        subject: whose: an index into the benchmark's.
        kind: "profile" or another of worker/passes.py, instead of a launch.
        turns: descriptor from which the worker learns when it is its turn; always, without.
        allowed_code: kinds of models that are code and may run: "torchscript", "delegates".
        state_dir: the agent's, which no model may read; two folders above `folder` if left out.
        mechanisms: of those that work here, which to use; tests leave some out.
        memory_bytes: what the worker may allocate; what the device has if left out.

    Raises:
        WorkerError: when the launch gave no result; the reason says why.
    """
    confined = await asyncio.to_thread(
        _confinement, benchmark, subject, folder, state_dir, mechanisms, memory_bytes, allowed_code
    )
    task = folder / f"benchmark-{subject}"
    task.write_bytes(benchmark.SerializeToString())
    async with new_scratch(folder) as scratch:
        confinement = dataclasses.replace(confined, scratch=str(scratch))
        options = [f"--allow={code}" for code in sorted(allowed_code)]
        await _Worker(task, confinement, launch, subject, kind, options, turns, on_event).run()
        if made := MADE_BY.get(kind):
            take_file(scratch / made, folder / made)


def _confinement(
    benchmark: benchmark_pb2.Benchmark,
    index: int,
    folder: Path,
    state_dir: Path | None,
    mechanisms: Collection[str],
    memory_bytes: int | None,
    allowed_code: Collection[str],
) -> Confinement:
    """What this launch is confined by, beside its scratch folder.

    Raises:
        WorkerError: CONFINEMENT_FAILED when that could not be found out.
    """
    try:
        found = confine.found()
    except confine.ConfinementError as error:
        raise WorkerError("CONFINEMENT_FAILED", str(error)) from error
    subject = benchmark.subjects[index]
    read = [Path(path) for path in found.read]
    if "delegates" in allowed_code:
        libraries = [Path(provider.name) for provider in subject.providers]
        read += [library.parent for library in libraries if library.is_file()]
    private = [state_dir or folder.parents[1], Path("~/.ssh").expanduser()]
    readable = [str(path) for path in confine.without(read, private)]
    room = memory.read(Path("/"))
    if memory_bytes is None:
        memory_bytes = room.limit_bytes or room.total_bytes
    # No worker gets there before its agent ends it.
    threads = max(subject.threads * max(1, benchmark.plan.streams), os.cpu_count() or 1)
    return Confinement(
        mechanisms=tuple(name for name in found.mechanisms if name in mechanisms),
        read=(*readable, str(folder)),
        memory_bytes=memory_bytes,
        threads_now=confine.threads_of_this_user(),
        cpu_s=math.ceil(benchmark.plan.timeout_ns / 1e9 * threads),
    )


@dataclass(frozen=True)
class _Worker:
    """A process that is about to be started."""

    # The benchmark, in the job's folder.
    task: Path
    confinement: Confinement
    launch: int
    subject: int
    # Of the pass; empty for a launch.
    kind: str
    options: Sequence[str]
    turns: int | None
    on_event: OnEvent

    async def run(self) -> None:
        """Stays with it until it, and all that it started, has ended.

        Raises:
            WorkerError: when it gave no result.
        """
        oom_kills = _oom_kills()
        with _pipe() as (events, events_end), _pipe() as (errors, errors_end):
            with self.task.open("rb") as stdin, events_end, errors_end:
                process = await self._start(stdin, events_end, errors_end)
            reading = asyncio.create_task(self._hand_on(events, process))
            last_words = asyncio.create_task(_tail(errors, process))
            try:
                code = await process.wait()
                await asyncio.wait([reading, last_words], timeout=_DRAIN_S)
            finally:
                _kill_group(process)
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(process.wait(), _DRAIN_S)
                # Whoever has them open still lives: with bubblewrap, death comes from parent to
                # child.
                await asyncio.wait([reading, last_words], timeout=_DRAIN_S)
                reading.cancel()
                last_words.cancel()
                await asyncio.wait([reading, last_words])
        if self._is_wrapped:
            code = confine.bubblewrap.exit_code(code)
        words, flooded = last_words.result()
        if flooded:
            raise WorkerError(
                "WORKER_FAILED",
                f"the worker printed more than {_MAX_STDERR_BYTES >> 20} MiB and was ended; a "
                f"runtime that logs this much cannot be measured{_quoted_words(words)}",
            )
        reported = False if reading.cancelled() else reading.result()
        if code != 0:
            raise _death(code, words, oom_killed=_oom_kills() > oom_kills)
        if not reported:
            raise WorkerError(
                "WORKER_FAILED", f"the worker ended without a result{_quoted_words(words)}"
            )

    async def _start(
        self, stdin: IO[bytes], events: IO[bytes], errors: IO[bytes]
    ) -> asyncio.subprocess.Process:
        scratch = self.confinement.scratch
        folder, inherited = self.task.parent, [events.fileno()]
        command = [sys.executable, "-m", "edgeopt_agent.worker", str(folder)]
        command += ["--confinement", str(self.confinement), "--events", str(events.fileno())]
        command += ["--launch", str(self.launch), "--subject", str(self.subject), *self.options]
        if self.kind:
            command += ["--pass", self.kind]
        if self.turns is not None:
            command += ["--turns", str(self.turns)]
            inherited.append(self.turns)
        if self._is_wrapped:
            command = confine.bubblewrap.wrap(command, self.confinement, folder)
        folders = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
        _restore_scheduling()
        # No pipe is asyncio's own: Process.wait would wait for their ends, too.
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=stdin,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=errors,
            pass_fds=inherited,
            start_new_session=True,
            cwd=scratch,
            env={**child_environment(), **dict.fromkeys(folders, scratch)},
        )

    async def _hand_on(self, pipe: IO[bytes], process: asyncio.subprocess.Process) -> bool:
        """Hands on the worker's events; whether a result was among them.

        Raises:
            WorkerError: with the failure that the worker told, or when it told nonsense or too much,
                or what `on_event` does not take.
        """
        reported = False
        try:
            async with _reading(pipe) as reader:
                async for response in read_events(reader):
                    event = response.event
                    if event.HasField("benchmark"):
                        # The last that a worker has to say, whatever it goes on to do.
                        raise _told(event.benchmark.failure)
                    if reports.take(event, self.kind, in_turns=self.turns is not None):
                        reported |= reports.is_result(event, self.kind)
                        event.launch, event.subject = self.launch, self.subject
                        self.on_event(response)
        except WorkerError:
            _kill_group(process)
            raise
        except (DecodeError, Oversized) as error:
            _kill_group(process)
            what = "what is no event: " if isinstance(error, DecodeError) else ""
            raise WorkerError("WORKER_FAILED", f"the worker reported {what}{error}") from error
        return reported

    @property
    def _is_wrapped(self) -> bool:
        return "bubblewrap" in self.confinement.mechanisms


def _restore_scheduling() -> None:
    """Lets no worker inherit what an earlier one, or anybody, made of the agent."""
    try:
        changed = _SCHEDULING.restore()
    except confine.PriorityError as error:
        raise WorkerError(
            "WORKER_FAILED",
            f"the agent was started with another priority than it has now, which would change the "
            f"figures, and may not go back ({error}); restart the agent",
        ) from error
    if changed:
        _log.warning("the agent's scheduling had been changed and is set back: %s", changed)


def _told(failure: benchmark_pb2.Failure) -> WorkerError:
    """The failure that a worker reports, as far as it is one."""
    reason = failure.reason if _REASON.fullmatch(failure.reason) else "WORKER_FAILED"
    return WorkerError(reason, failure.message[:_MAX_MESSAGE])


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


async def _tail(pipe: IO[bytes], process: asyncio.subprocess.Process) -> tuple[str, bool]:
    """The last of what comes, also when this is cancelled before the end; whether it was a flood."""
    kept = b""
    total = 0
    with contextlib.suppress(asyncio.CancelledError):
        async with _reading(pipe) as reader:
            while data := await reader.read(_PIPE_BYTES):
                kept = (kept + data)[-_KEPT_STDERR_BYTES:]
                total += len(data)
                if total > _MAX_STDERR_BYTES:
                    _kill_group(process)
                    break
    return kept.decode(errors="replace"), total > _MAX_STDERR_BYTES


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
    if number == signal.SIGABRT and _NO_MEMORY in words:
        return WorkerError(
            "OUT_OF_MEMORY",
            "the runtime could not get the memory this model asks for; "
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
