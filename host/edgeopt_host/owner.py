"""Who takes care of a pending run: a process, for as long as it lives.

Each has a lock file in data_dir()/owners. The kernel lets go of the lock however the process ends,
so that no other mistakes a dead one for a living one, or a new process with an old one's number.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from pathlib import Path

from edgeopt_host import _files
from edgeopt_host.errors import StoreError
from edgeopt_host.paths import data_dir


class Owner:
    """This process, as the owner of pending runs, until `close`."""

    def __init__(self) -> None:
        self.token = secrets.token_hex(8)
        self._path = _folder() / self.token
        try:
            _files.make_private(self._path.parent)
            _clean(self._path.parent)
            self._lock = _locked_new(self._path)
        except OSError as error:
            raise StoreError(
                f"the folder {self._path.parent} cannot be written: {error.strerror}"
            ) from error

    def __enter__(self) -> Owner:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._lock)


def is_alive(token: str) -> bool:
    """Whether the process of this token still lives."""
    try:
        descriptor = os.open(_folder() / token, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _is_locked(descriptor)
    finally:
        os.close(descriptor)


def _folder() -> Path:
    return data_dir() / "owners"


def _locked_new(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        # Another process took it for a dead one's, in the moment before it was locked.
        os.close(descriptor)


def _clean(folder: Path) -> None:
    """Removes what dead processes left."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if not _is_locked(descriptor):
                    path.unlink(missing_ok=True)
            finally:
                os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    try:
        # Shared: two that ask at once must not take each other for the owner.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
