"""bubblewrap: namespaces in which a worker finds no network, no other process and few files."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeopt_agent.confine import _reach
from edgeopt_agent.confine._confinement import Confinement
from edgeopt_agent.errors import Unavailable

_PROGRAM = "bwrap"
# A shell's convention, which bubblewrap keeps: 128 and the signal's number.
_SIGNALLED = 128
_LAST_SIGNAL = 64


def find() -> str:
    """Where it is.

    Raises:
        Unavailable: where it is not installed.
    """
    program = shutil.which(_PROGRAM)
    if program is None:
        linux = sys.platform.startswith(("linux", "android"))
        hint = "not installed (on Debian: apt install bubblewrap)" if linux else "only on Linux"
        raise Unavailable(hint)
    return program


def wrap(command: Sequence[str], confinement: Confinement, folder: Path) -> list[str]:
    """The command with bubblewrap around it.

    The root is built up from nothing, read-only: what is not named here does not exist inside.
    Without a session of its own, because the launcher made one and ends the worker by its group.

    Args:
        command: what to run.
        confinement: what it may read, and its scratch folder.
        folder: the job's files, which it may read, too.
    """
    arguments = ["--unshare-all", "--die-with-parent", "--cap-drop", "ALL"]
    for path in confinement.read:
        arguments += ["--ro-bind", path, path]
    arguments += ["--proc", "/proc", "--ro-bind", "/sys", "/sys", "--dev", "/dev"]
    # bubblewrap makes some of them itself, as the kernel's.
    for device in _reach.devices():
        arguments += ["--dev-bind", str(device), str(device)]
    arguments += ["--ro-bind", str(folder), str(folder)]
    arguments += ["--bind", confinement.scratch, confinement.scratch]
    arguments += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", confinement.scratch, "--"]
    return [find(), *arguments, *command]


def exit_code(code: int) -> int:
    """The wrapped command's own, negative for a signal, from bubblewrap's."""
    if _SIGNALLED < code <= _SIGNALLED + _LAST_SIGNAL:
        return _SIGNALLED - code
    return code
