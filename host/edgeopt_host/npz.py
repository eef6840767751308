"""Data files: `.npz` archives of plain arrays."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from edgeopt_host.errors import EdgeoptError, UsageError


def check(path: Path) -> None:
    """Reads an archive once, so that a bad one is refused before anything is sent.

    Raises:
        UsageError: when the file cannot be read.
        EdgeoptError: when it is no .npz, or holds pickled objects, which are code.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise EdgeoptError(
                    f"{path} holds a single array (.npy); save it with numpy.savez", "DATA_INVALID"
                )
            for name in archive.files:
                _ = archive[name]
    except OSError as error:
        raise UsageError(f"cannot read the data file {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        if "allow_pickle" in str(error):
            raise EdgeoptError(
                f"{path} holds pickled Python objects, which edgeopt never loads; save plain arrays with "
                "numpy.savez",
                "DATA_INVALID",
            ) from error
        raise EdgeoptError(
            f"{path} is no readable .npz archive: {error}", "DATA_INVALID"
        ) from error
