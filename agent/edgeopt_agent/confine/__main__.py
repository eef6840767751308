"""`python -m edgeopt_agent.confine`: which mechanisms work here, found out by trying each.

Prints JSON: `{"mechanisms": […], "missing": […], "read": […]}`. With a Confinement as its argument it
confines itself as a worker would, imports what a worker does, and prints `confined`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from edgeopt_agent.confine import _landlock, _limits, _privileges, _reach, _seccomp
from edgeopt_agent.confine._confinement import Confinement
from edgeopt_agent.errors import Unavailable


def main() -> None:
    """Answers on standard output."""
    if len(sys.argv) > 1:
        confinement = Confinement.parse(sys.argv[1])
        confinement.enter()
        import_module("edgeopt_agent.worker.events")
        confinement.seal()
        print("confined", flush=True)  # noqa: T201 - the answer
        return
    trials = {"landlock": _try_landlock, "seccomp": _try_seccomp, "rlimits": _try_rlimits}
    reasons = {name: _in_a_child(trial) for name, trial in trials.items()}
    answer = {
        "mechanisms": [name for name, reason in reasons.items() if not reason],
        "missing": [f"{name}: {reason}" for name, reason in reasons.items() if reason],
        "read": [str(path) for path in _reach.installed()],
    }
    print(json.dumps(answer), flush=True)  # noqa: T201 - the answer


def _try_landlock() -> None:
    _need_linux()
    _privileges.no_new_privileges()
    _landlock.restrict([Path("/usr")], [], [])
    try:
        list(Path("/").iterdir())
    except PermissionError:
        return
    raise Unavailable("in force, but it refuses nothing")


def _try_seccomp() -> None:
    _need_linux()
    _privileges.no_new_privileges()
    _seccomp.install()
    try:
        socket.socket(socket.AF_UNIX).close()
    except PermissionError:
        return
    raise Unavailable("in force, but it refuses nothing")


def _need_linux() -> None:
    if not sys.platform.startswith(("linux", "android")):
        raise Unavailable("only on Linux")


def _try_rlimits() -> None:
    _limits.set_limits(2**40, 0)


def _in_a_child(trial: Callable[[], None]) -> str:
    """Why it does not work here; "" where it does. Some systems kill for the very question."""
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        try:
            trial()
        except Exception as error:  # noqa: BLE001 - the child ends here, whatever it was
            os.write(send, (str(error) or type(error).__name__).encode())
            os._exit(1)
        os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        reason = pipe.read().decode()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        return f"trying it ends with {signal.Signals(-code).name}"
    return reason if code else ""


if __name__ == "__main__":
    main()
