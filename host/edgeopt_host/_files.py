"""Files of the user that two processes may want at once, or that must never be half written."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path


def make_private(folder: Path) -> None:
    """Makes a folder, and what is missing above it, readable by its owner alone.

    A folder that exists keeps its mode.

    Raises:
        OSError: when it cannot be made, or is no folder.
    """
    if not folder.is_dir():
        if folder.parent != folder:
            make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


@contextlib.contextmanager
def locked(folder: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Holds a lock on a folder; waits for a process that has it, and says so to `on_wait`."""
    # The folder itself is the lock: no lock file stays behind.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if on_wait is not None:
                on_wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: str | Iterable[bytes], *, mode: int | None = None) -> None:
    """Writes a file so that a reader sees the old content or the new one, never a part.

    A link is followed. What is no regular file (a pipe, a terminal) is written straight through.

    Args:
        path: the file.
        content: text, or pieces as they come.
        mode: its permissions; by default those that it has.

    Raises:
        OSError: when it cannot be written; the old file is then untouched.
    """
    pieces = [content.encode()] if isinstance(content, str) else content
    try:
        there = path.stat().st_mode
    except FileNotFoundError:
        there = stat.S_IFREG | (0o666 & ~_umask())
    if stat.S_ISDIR(there):
        raise IsADirectoryError(21, "Is a directory", str(path))
    if not stat.S_ISREG(there):
        with path.open("wb") as file:
            file.writelines(pieces)
        return
    path = Path(os.path.realpath(path))
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name[:64]}.", delete=False
    ) as file:
        part = Path(file.name)
        try:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
            part.chmod(stat.S_IMODE(there) if mode is None else mode)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    _sync(path.parent)


def write_private(path: Path, text: str, *, replace: bool = True) -> None:
    """As `write_whole`; nobody but the owner may read the file, from its first moment on.

    Raises:
        FileExistsError: when it is there, and not to be replaced.
        OSError: when it cannot be written.
    """
    if replace:
        write_whole(path, text, mode=0o600)
        return
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        write_whole(path, text, mode=0o600)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    """Has the new name outlive a power cut, too; not every file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _umask() -> int:
    # The only portable way to read it is to set it.
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
