"""The folder that one launch may change, and what is taken out of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgeopt_agent.errors import WorkerError


@contextlib.contextmanager
def new_scratch(folder: Path) -> Iterator[Path]:
    """A new folder for one launch; what it leaves behind does not reach the next."""
    scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=folder)).resolve()
    try:
        yield scratch
    finally:
        _remove(scratch)


def _remove(folder: Path) -> None:
    """Removes what a worker left, also folders that it closed to their owner."""
    with contextlib.suppress(OSError):
        folder.chmod(0o700)
        for parent, folders, _ in os.walk(folder):
            for name in folders:
                path = Path(parent, name)
                if not path.is_symlink():
                    path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def take_outputs(made: Path, wanted: Path) -> None:
    """Moves the outputs out of the worker's hands.

    Raises:
        WorkerError: when they are missing, or a link to what only the agent may read.
    """
    try:
        about = made.lstat()
        if stat.S_ISREG(about.st_mode) and about.st_nlink == 1:
            made.replace(wanted)
            return
    except OSError as error:
        raise WorkerError("WORKER_FAILED", f"the worker left no outputs: {error}") from error
    raise WorkerError("WORKER_FAILED", "the worker left a link in the place of its outputs")
