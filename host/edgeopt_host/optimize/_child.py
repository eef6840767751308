"""Functions run in processes of their own: converters crash, frameworks fight over threads.

The child gets its job on standard input, which stays open as long as its parent lives. It answers on
what was its standard output, a line of JSON at a time; whatever libraries print goes to the log.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from edgeopt_host.errors import Cancelled, EdgeoptError, UsageError
from edgeopt_host.optimize.technique import Progress

# Before anything is imported: no telemetry, no search for accelerators, no greeting.
_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONHASHSEED": "0",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_ENABLE_ONEDNN_OPTS": "0",
}
_NO_MEMORY = ("bad_alloc", "allocate memory", "out of memory", "OOM when allocating")
_UNEXPECTED = {"STEP_FAILED", "METRIC_FAILED"}
_LONGEST = 400


def call(
    function: str,
    arguments: Mapping[str, Any],
    *,
    log: Path | None = None,
    progress: Progress | None = None,
) -> Any:
    """Runs a function in a child and returns what it returned.

    Args:
        function: "module:name".
        arguments: by keyword; JSON. It gets `progress` besides when it was given here.
        log: what the child and its libraries print is added to this file.
        progress: called with what the child tells of how far it is.

    Raises:
        EdgeoptError: what the child raised; CONVERTER_CRASHED when it died, OUT_OF_MEMORY, DISK_FULL,
            LIBRARY_MISSING, STEP_FAILED for what its libraries raised.
        Cancelled: after Ctrl-C, when the child is gone.
    """
    killed_before = _oom_kills()
    job = {"function": function, "arguments": dict(arguments), "progress": progress is not None}
    with _opened(log) as out:
        child = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=out,
            env={**os.environ, **_ENVIRONMENT},
            # Ctrl-C reaches this process alone, which then ends the child.
            start_new_session=True,
        )
        try:
            answer = _talk(child, job, progress)
        except KeyboardInterrupt:
            raise Cancelled("interrupted") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            _close(child)
    if "result" in answer:
        return answer["result"]
    if "error" in answer:
        told = answer["error"]
        kind = UsageError if told["usage"] else EdgeoptError
        where = f"; more is in {log}" if log and told["reason"] in _UNEXPECTED else ""
        raise kind(f"{told['message']}{where}", told["reason"])
    raise _died(child.returncode, log, out_of_memory=_oom_kills() > killed_before)


@contextlib.contextmanager
def _opened(log: Path | None) -> Iterator[IO[bytes]]:
    with log.open("ab") if log else tempfile.TemporaryFile() as file:
        yield file


def _talk(
    child: subprocess.Popen[bytes], job: Mapping[str, Any], progress: Progress | None
) -> dict[str, Any]:
    """What the child answers at its end; empty when it died before."""
    if child.stdin is None or child.stdout is None:
        raise TypeError("a child is talked to through pipes")
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(json.dumps(job).encode() + b"\n")
        child.stdin.flush()
    answer: dict[str, Any] = {}
    for line in child.stdout:
        told = json.loads(line)
        if "progress" in told:
            if progress is not None:
                progress(*told["progress"])
        else:
            answer = told
            break
    if not answer:
        child.wait()
    return answer


def _close(child: subprocess.Popen[bytes]) -> None:
    child.wait()
    for pipe in (child.stdin, child.stdout):
        # What a child that died did not read is lost.
        with contextlib.suppress(BrokenPipeError):
            if pipe is not None:
                pipe.close()


def _died(code: int, log: Path | None, *, out_of_memory: bool) -> EdgeoptError:
    where = f"; what it printed is in {log}" if log else ""
    if code == -signal.SIGKILL and out_of_memory:
        return EdgeoptError(
            "the system killed the process because memory ran out: give it a smaller model or fewer "
            f"examples, or a machine with more memory{where}",
            "OUT_OF_MEMORY",
        )
    how = f"of {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return EdgeoptError(
        f"the process died ({how}) in a library, which left no message{where}", "CONVERTER_CRASHED"
    )


def _oom_kills() -> int:
    """How many processes the kernel has killed for want of memory; 0 where it does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0


def _main() -> None:
    # Nothing but answers goes where the parent listens.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def say(**told: Any) -> None:
        answers.write(json.dumps(told) + "\n")
        answers.flush()

    arguments = job["arguments"]
    if job["progress"]:
        arguments["progress"] = lambda share, text="": say(progress=[float(share), str(text)])
    module, _, name = job["function"].partition(":")
    try:
        result = getattr(import_module(module), name)(**arguments)
        say(result=result)
    except BaseException as error:  # noqa: BLE001 - whatever a library raises is told
        import traceback

        traceback.print_exc()
        say(error=_told(error))
    sys.stdout.flush()
    # Frameworks' own ends crash and hang.
    os._exit(0)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    # With what it has started: pip, or a converter in an environment of its own.
    os.killpg(0, signal.SIGKILL)


def _told(error: BaseException) -> dict[str, Any]:
    named = error if isinstance(error, EdgeoptError) else _named(error)
    usage = isinstance(named, UsageError)
    return {"reason": named.reason, "message": named.message, "usage": usage}


def _named(error: BaseException) -> EdgeoptError:
    """What a library raised, in a sentence."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:_LONGEST]
    why = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, MemoryError) or any(sign in str(error) for sign in _NO_MEMORY):
        return EdgeoptError(
            f"memory ran out ({why}): give it a smaller model or fewer examples, or a machine with more",
            "OUT_OF_MEMORY",
        )
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    if full or "No space left on device" in str(error):
        return EdgeoptError(
            f"the disk is full ({text}): make room and run it again, it goes on where it was",
            "DISK_FULL",
        )
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("edgeopt"):
        return EdgeoptError(
            f"this needs the package {error.name}: pip install 'edgeopt[optimize]'",
            "LIBRARY_MISSING",
        )
    return EdgeoptError(f"a library failed with {why}", "STEP_FAILED")


if __name__ == "__main__":
    _main()
