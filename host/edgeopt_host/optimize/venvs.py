"""Virtual environments of their own for converters whose requirements fit nothing else.

    python = venvs.ensure("pte", ["executorch==1.5.1"], size="1.5 GB", progress=progress)

One is made when it is first asked for, under the host's data folder, and kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from edgeopt_host import paths
from edgeopt_host._files import locked, make_private, write_whole
from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize.technique import Progress

# Last of all, when everything is installed; it lists what.
_COMPLETE = "edgeopt-requirements.txt"
_NEWEST = 20
_ASK_VERSION = "import sys; print(*sys.version_info[:2])"


def ensure(
    name: str,
    requirements: Sequence[str],
    python: str = sys.executable,
    *,
    size: str,
    progress: Progress | None = None,
) -> Path:
    """The Python of an environment with these packages, which is made if there is none.

    Two processes that want the same one make it once; what an interrupted one left is removed.

    Args:
        name: of what it is for; part of its folder's name.
        requirements: as pip takes them, with exact versions.
        python: the interpreter it is made with.
        size: about how much room it takes, as told to the user.
        progress: called with what is being installed.

    Raises:
        EdgeoptError: LIBRARY_MISSING with pip's last line, when it cannot be made.
    """
    say = progress or (lambda _share, _text: None)
    about = [*requirements, ".".join(map(str, _version(python))), platform.machine()]
    digest = hashlib.sha256("\n".join(about).encode()).hexdigest()[:12]
    parent = paths.data_dir() / "venvs"
    make_private(parent)
    folder = parent / f"{name}-{digest}"
    inside = folder / "bin" / "python"
    if (folder / _COMPLETE).exists():
        return inside
    # One at a time: the lock is the folder's that all of them are in.
    with locked(parent):
        if (folder / _COMPLETE).exists():
            return inside
        if folder.exists():
            shutil.rmtree(folder)
        say(0.0, f"making an environment for {name}, once: {size} in {folder}")
        try:
            _run([python, "-m", "venv", str(folder)], name, say)
            command = [
                str(inside),
                "-m",
                "pip",
                "install",
                "--no-input",
                "--disable-pip-version-check",
            ]
            _run([*command, *requirements], name, say)
            write_whole(folder / _COMPLETE, "\n".join([*requirements, ""]))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return inside


def find_python(*, minimum: tuple[int, int]) -> str:
    """A Python of that version or later: this one, or the oldest such on PATH.

    Raises:
        EdgeoptError: LIBRARY_MISSING when there is none.
    """
    if sys.version_info[:2] >= minimum:
        return sys.executable
    major, first = minimum
    for minor in range(first, _NEWEST):
        found = shutil.which(f"python{major}.{minor}")
        if found is None:
            continue
        # A stand-in of a version manager may have nothing behind it.
        with contextlib.suppress(EdgeoptError):
            _version(found)
            return found
    raise EdgeoptError(
        f"this needs Python {major}.{first} or later beside the one that runs edgeopt, and none is on PATH: "
        f"install python{major}.{first}",
        "LIBRARY_MISSING",
    )


def _version(python: str) -> tuple[int, int]:
    try:
        answer = subprocess.run(
            [python, "-c", _ASK_VERSION], capture_output=True, check=True, text=True
        )
        major, minor = answer.stdout.split()
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise EdgeoptError(f"{python} is no Python that runs", "LIBRARY_MISSING") from error
    return int(major), int(minor)


def _run(command: Sequence[str], name: str, say: Progress) -> None:
    last: deque[str] = deque(maxlen=40)
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            for line in process.stdout or ():
                text = line.strip()
                last.append(text)
                if text.startswith(("Collecting ", "Downloading ", "Installing ")):
                    say(0.0, f"{name}: {text[:100]}")
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        told = [text for text in last if text and not text.startswith("[notice]")]
        errors = [text for text in told if text.startswith("ERROR:")] or told or ["it said nothing"]
        raise EdgeoptError(
            f"the environment for {name} could not be made: {errors[-1].removeprefix('ERROR: ')}",
            "LIBRARY_MISSING",
        )
