from __future__ import annotations

import argparse
import ctypes
import os
import re
import select
import signal
import sys
from pathlib import Path

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent.confine import Confinement, ConfinementError
from edgeopt_agent.errors import Unavailable
from edgeopt_agent.worker.events import EventWriter

_PR_SET_PDEATHSIG = 1
# Those of passes.py, which needs numpy.
PASSES = ("energy", "evaluate", "profile", "outputs")
# How C++, torch and ONNX Runtime say that an allocation failed.
_NO_MEMORY = re.compile(r"bad_alloc|(can't|cannot|failed to) allocate memory", re.IGNORECASE)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m edgeopt_agent.worker")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, required=True, help="descriptor to write events to")
    parser.add_argument("--launch", type=int, required=True)
    parser.add_argument("--confinement", type=Confinement.parse, required=True)
    parser.add_argument("--allow", action="append", default=[], help="kinds of code that may run")
    parser.add_argument(
        "--subject", type=int, default=0, help="index into the benchmark's subjects"
    )
    parser.add_argument("--turns", type=int, help="descriptor that tells when it is its turn")
    parser.add_argument("--pass", dest="pass_", choices=PASSES, help="instead of a launch")
    arguments = parser.parse_args()
    _expendable(arguments.events)
    # What a runtime prints must not look like an event, nor fill a pipe that nobody reads.
    os.dup2(2, 1)
    emit = EventWriter(arguments.events, arguments.launch, arguments.subject)
    benchmark = benchmark_pb2.Benchmark.FromString(sys.stdin.buffer.read())
    try:
        arguments.confinement.enter()
        ended = _run(arguments, benchmark, emit)
    except ConfinementError as error:
        emit.fail("CONFINEMENT_FAILED", f"the worker opened no model, because {error}")
        return 1
    except MemoryError:
        emit.fail("OUT_OF_MEMORY", "the worker could not get the memory this model asks for")
        return 1
    except OSError as error:
        emit.fail("WORKER_FAILED", f"the worker was refused what it needs: {error}")
        return 1
    sys.stdout.flush()
    # Skip the destructors of runtimes: some crash in them, long after the result was sent.
    os._exit(ended)


def _run(
    arguments: argparse.Namespace, benchmark: benchmark_pb2.Benchmark, emit: EventWriter
) -> int:
    """The exit code."""
    try:
        from edgeopt_agent.runtimes import ModelError
        from edgeopt_agent.worker import passes
        from edgeopt_agent.worker.launch import Launch
        from edgeopt_agent.worker.task import Task
        from edgeopt_agent.worker.turns import Turns
    except ImportError as error:
        emit.fail(
            "RUNTIME_UNAVAILABLE", f"this device lacks numpy, which every runtime needs: {error}"
        )
        return 1
    task = Task(
        benchmark,
        arguments.subject,
        arguments.folder,
        emit,
        arguments.confinement,
        frozenset(arguments.allow),
    )
    try:
        if arguments.pass_:
            passes.BY_NAME[arguments.pass_](task)
        else:
            Launch(task, Turns(arguments.turns, emit)).measure()
    except ModelError as error:
        emit.fail("OUT_OF_MEMORY" if _NO_MEMORY.search(str(error)) else error.reason, str(error))
        return 1
    except Unavailable as error:
        emit.fail("RUNTIME_UNAVAILABLE", f"{task.subject.runtime}: {error}")
        return 1
    return 0


def _expendable(events: int) -> None:
    """Dies with its agent, and is the first to go when memory runs out."""
    if sys.platform in {"linux", "android"}:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # An agent that died before leaves a pipe that nobody reads. (Not getppid: in a namespace of
    # bubblewrap's, the parent is another one.)
    pipe = select.poll()
    pipe.register(events, 0)
    if any(happened & (select.POLLERR | select.POLLHUP) for _, happened in pipe.poll(0)):
        sys.exit("the agent has ended")
    if sys.platform not in {"linux", "android"}:
        return
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        return


if __name__ == "__main__":
    sys.exit(main())
