"""Data files: `.npz` archives of plain arrays."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from edgeopt_host.errors import EdgeoptError, UsageError

# What zipfile and numpy raise for damaged, encrypted and exotically compressed archives.
_UNREADABLE = (
    ValueError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
)


def check(path: Path) -> None:
    """Reads an archive once, so that a bad one is refused before anything is sent.

    Raises:
        UsageError: when the file cannot be read.
        EdgeoptError: when it is no .npz, or holds pickled objects, which are code.
    """
    try:
        # numpy leaves a file that it opened, and found to be damaged, open.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise EdgeoptError(
                    f"{path} is no readable .npz archive: it holds a single array (.npy); save it with "
                    "numpy.savez",
                    "DATA_INVALID",
                )
            with loaded as archive:
                for name in archive.files:
                    _ = archive[name]
    except OSError as error:
        raise UsageError(f"cannot read the data file {path}: {error.strerror or error}") from error
    except _UNREADABLE as error:
        if "allow_pickle" in str(error) and zipfile.is_zipfile(path):
            raise EdgeoptError(
                f"{path} holds pickled Python objects, which edgeopt never loads; save plain arrays with "
                "numpy.savez",
                "DATA_INVALID",
            ) from error
        # numpy takes what is neither .npz nor .npy for a pickle.
        why = "it has another format" if "allow_pickle" in str(error) else str(error)
        raise EdgeoptError(f"{path} is no readable .npz archive: {why}", "DATA_INVALID") from error
