"""Which mechanisms work on this device: found out once, in child processes, by really trying."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeopt_agent.confine import bubblewrap
from edgeopt_agent.confine._confinement import MECHANISMS, Confinement, ConfinementError
from edgeopt_agent.environment import child_environment
from edgeopt_agent.errors import Unavailable

_TRIAL = [sys.executable, "-m", "edgeopt_agent.confine"]
# Two starts of Python from a slow card.
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Found:
    """What works here."""

    # Of MECHANISMS, in that order.
    mechanisms: tuple[str, ...]
    # Why others do not, each in a few words that begin with its name.
    missing: tuple[str, ...]
    # What a worker must be able to read.
    read: tuple[str, ...]


@functools.cache
def found() -> Found:
    """Tries every mechanism; takes some 0.2 s on a PC and a second on a board, once per agent.

    Raises:
        ConfinementError: when the trial itself fails, so that nothing is known. It is not remembered.
    """
    try:
        answer = json.loads(_run(_TRIAL))
        inside = tuple(answer["mechanisms"])
        missing = list(answer["missing"])
        read = tuple(answer["read"])
    except (Unavailable, OSError, ValueError, KeyError, TypeError) as error:
        raise ConfinementError(
            f"what confines a worker here could not be tried: {error}"
        ) from error
    reason = _bubblewrap_fails(Confinement(inside, read))
    if reason:
        missing.insert(0, f"bubblewrap: {reason}")
    works = {*inside, *([] if reason else ["bubblewrap"])}
    return Found(tuple(name for name in MECHANISMS if name in works), tuple(missing), read)


def _bubblewrap_fails(confinement: Confinement) -> str:
    """Why a worker cannot start inside of it; "" where it can."""
    try:
        with tempfile.TemporaryDirectory(prefix="edgeopt-") as name:
            scratch = Path(name, "scratch")
            scratch.mkdir()
            inner = Confinement(confinement.mechanisms, (*confinement.read, name), str(scratch))
            # What is below /tmp would be there twice.
            outer = Confinement(confinement.mechanisms, confinement.read, str(scratch))
            _run(bubblewrap.wrap([*_TRIAL, str(inner)], outer, Path(name)))
    except (Unavailable, OSError) as error:
        return str(error)
    return ""


def _run(command: Sequence[str]) -> str:
    try:
        ended = subprocess.run(
            command,
            # Not where the user stands: a numpy.py there would be imported.
            cwd="/",
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"its trial did not end within {_TIMEOUT_S:g} s") from error
    if ended.returncode or not ended.stdout:
        last = ended.stderr.strip().splitlines()[-1:] or [f"exit code {ended.returncode}"]
        raise Unavailable(last[0].removeprefix("bwrap: ")[:200])
    return ended.stdout
