"""The folder that one launch may change: how it is made, what is taken out of it, how it goes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from edgeopt_agent.errors import WorkerError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# How often to come back for what a worker that is still dying made meanwhile.
_ROUNDS = 3


@contextlib.asynccontextmanager
async def new_scratch(folder: Path) -> AsyncIterator[Path]:
    """A new folder for one launch; what it leaves behind does not reach the next."""
    scratch = _make(folder)
    try:
        yield scratch
    finally:
        # In a thread, because a model may have made a million files; it goes on when cancelled.
        await asyncio.shield(asyncio.create_task(asyncio.to_thread(remove, scratch)))


def _make(folder: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix="scratch-", dir=folder)).resolve()


def remove(folder: Path) -> None:
    """Removes a folder that a model may have filled, as far as the agent's user can.

    Never raises, follows no link out of it, and takes any depth: it goes down and up by open
    folders, one at a time, since paths end at 4096 bytes, recursion and descriptors at a thousand.
    """
    # Whatever is done, an agent that cannot start would be worse than a folder that stays.
    with contextlib.suppress(OSError):
        parent = os.open(folder.parent, _FOLDER & ~os.O_NOFOLLOW)
        try:
            for _ in range(_ROUNDS):
                with contextlib.suppress(OSError):
                    _remove_once(parent, folder.name)
                if not os.path.lexists(folder):
                    return
        finally:
            os.close(parent)


@dataclass(frozen=True)
class _Level:
    """A folder on the way down."""

    # In the folder above.
    name: str
    # Device and inode: a worker that still dies may move it elsewhere.
    identity: tuple[int, int]
    # What is left to go into.
    folders: list[str]


def _remove_once(parent: int, name: str) -> None:
    """Raises OSError where it lost its way back up."""
    here = os.dup(parent)
    levels = [_Level("", _identity(here), [name])]
    try:
        while True:
            level = levels[-1]
            if level.folders:
                child = level.folders.pop()
                try:
                    below = _open(here, child)
                except OSError:
                    with contextlib.suppress(OSError):
                        os.unlink(child, dir_fd=here)
                    continue
                os.close(here)
                here = below
                levels.append(_Level(child, _identity(here), _remove_files(here)))
            elif len(levels) == 1:
                return
            else:
                above = os.open("..", _FOLDER, dir_fd=here)
                os.close(here)
                here = above
                levels.pop()
                if _identity(here) != levels[-1].identity:
                    return
                with contextlib.suppress(OSError):
                    os.rmdir(level.name, dir_fd=here)
    finally:
        os.close(here)


def _open(parent: int, name: str) -> int:
    """Opens a folder, no link, and may change it, whatever its mode was."""
    try:
        folder = os.open(name, _FOLDER, dir_fd=parent)
    except PermissionError:
        _take_back(parent, name)
        folder = os.open(name, _FOLDER, dir_fd=parent)
    with contextlib.suppress(OSError):
        if os.fstat(folder).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            os.fchmod(folder, stat.S_IRWXU)
    return folder


def _take_back(parent: int, name: str) -> None:
    """Opens the mode of a folder that its owner may not even look into."""
    if sys.platform not in {"linux", "android"}:
        os.chmod(name, stat.S_IRWXU, dir_fd=parent, follow_symlinks=False)
        return
    # Linux has no chmod that stops at a link, but one by what was opened without following one.
    handle = os.open(name, _FOLDER | os.O_PATH, dir_fd=parent)
    try:
        Path(f"/proc/self/fd/{handle}").chmod(stat.S_IRWXU)
    finally:
        os.close(handle)


def _remove_files(folder: int) -> list[str]:
    """Removes all that is no folder; the names of those that are."""
    folders: list[str] = []
    for _ in range(_ROUNDS):
        # Again if something went: a list that is read while it shrinks may leave out some.
        removed, folders = False, []
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                    continue
                with contextlib.suppress(OSError):
                    os.unlink(entry.name, dir_fd=folder)
                    removed = True
        if not removed:
            break
    return folders


def _identity(folder: int) -> tuple[int, int]:
    about = os.fstat(folder)
    return about.st_dev, about.st_ino


def take_file(made: Path, wanted: Path) -> None:
    """Moves what a pass has made out of the worker's hands.

    One that it did not make is left out.

    Raises:
        WorkerError: when it is a link to what only the agent may read.
    """
    try:
        about = made.lstat()
        if stat.S_ISREG(about.st_mode) and about.st_nlink == 1:
            made.replace(wanted)
            return
    except FileNotFoundError:
        return
    except OSError as error:
        raise WorkerError("WORKER_FAILED", f"the worker left no {wanted.name}: {error}") from error
    raise WorkerError("WORKER_FAILED", f"the worker left a link in the place of {wanted.name}")
