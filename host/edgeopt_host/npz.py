"""Data files: `.npz` archives of plain arrays."""

from __future__ import annotations

import io
import lzma
import math
import shutil
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgeopt_host.errors import EdgeoptError, UsageError

# What zipfile and numpy raise for damaged, encrypted and exotically compressed archives; bz2 raises
# OSError besides. Headers are Python literals, with what Python says of nested and endless ones.
_UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    RuntimeError,
    MemoryError,
    SyntaxError,
    NotImplementedError,
    tokenize.TokenError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
_ARRAY_MAGIC = b"\x93NUMPY"
# The longest that numpy takes, and what stands before it.
_MAX_HEADER_BYTES = 10_000 + 12
_READ_BYTES = 2**20
_MOST_BYTES = 2**63 - 1


def check(path: Path) -> None:
    """Reads an archive once, so that a bad one is refused before anything is sent.

    No array is held in memory: an archive may claim, and unpack to, far more than there is.

    Raises:
        UsageError: when the file cannot be read.
        EdgeoptError: when it is no .npz, or holds pickled objects, which are code.
    """
    try:
        with path.open("rb") as file:
            try:
                _check_archive(file, path)
            except OSError as error:
                if error.errno is not None:
                    raise
                raise _unreadable(path, error) from error
            except _UNREADABLE as error:
                raise _unreadable(path, error) from error
    except OSError as error:
        raise UsageError(f"cannot read the data file {path}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the path
        raise UsageError(f"cannot read the data file {str(path)!r}: {error}") from error


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every array by name, of an archive that was checked; no array is read."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                shape, _ = _header(io.BytesIO(file.read(_MAX_HEADER_BYTES)))
                found[member.filename.removesuffix(".npy")] = shape
    return found


def extract(path: Path, wanted: Callable[[str], bool], target: Path) -> None:
    """Writes the arrays of wanted names into another archive, whose bytes they determine.

    No array is held in memory.

    Args:
        path: of an archive that was checked.
        wanted: given the name of each array.
        target: the other one.

    Raises:
        EdgeoptError: when it is not any more what it was, or the other cannot be written.
    """
    try:
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as archive:
            for member in sorted(source.infolist(), key=lambda one: one.filename):
                if wanted(member.filename.removesuffix(".npy")):
                    # Without what else the archive tells: dates, comments.
                    copied = zipfile.ZipInfo(member.filename)
                    copied.compress_type, copied.file_size = member.compress_type, member.file_size
                    with source.open(member) as data, archive.open(copied, "w") as into:
                        shutil.copyfileobj(data, into, _READ_BYTES)
    except OSError as error:
        raise EdgeoptError(
            f"cannot copy arrays of the data file {path} to {target}: {error.strerror or error}",
            "DATA_INVALID",
        ) from error
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error


def unpack(path: Path, wanted: Callable[[str], bool], folder: Path) -> dict[str, Path]:
    """Writes the arrays of wanted names into files of their own, which numpy can map.

    No array is held in memory.

    Args:
        path: of an archive that was checked.
        wanted: given the name of each array.
        folder: an existing one; files in it are named by edgeopt, not by the archive.

    Returns:
        The .npy file of each array.

    Raises:
        EdgeoptError: when the archive is not any more what it was.
        OSError: when a file cannot be written.
    """
    files = {}
    try:
        with zipfile.ZipFile(path) as source:
            for number, member in enumerate(source.infolist()):
                name = member.filename.removesuffix(".npy")
                if wanted(name):
                    files[name] = folder / f"array{number}.npy"
                    with source.open(member) as data, files[name].open("wb") as into:
                        shutil.copyfileobj(data, into, _READ_BYTES)
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
    return files


def _check_archive(file: IO[bytes], path: Path) -> None:
    if file.read(len(_ARRAY_MAGIC)) == _ARRAY_MAGIC:
        raise ValueError("it holds a single array (.npy); save it with numpy.savez")
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            with archive.open(member) as opened:
                _check_array(opened, member.filename, path)


def _check_array(file: IO[bytes], name: str, path: Path) -> None:
    """The array's header is sound, and all that it promises is there."""
    head = io.BytesIO(file.read(_MAX_HEADER_BYTES))
    if not head.getvalue().startswith(_ARRAY_MAGIC):
        raise ValueError(f"its entry {name!r} is no array")
    shape, dtype = _header(head)
    if dtype.hasobject:
        raise EdgeoptError(
            f"{path} holds pickled Python objects, which edgeopt never loads; save plain arrays with "
            "numpy.savez",
            "DATA_INVALID",
        )
    promised = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or max(promised, math.prod(shape)) > _MOST_BYTES:
        raise ValueError(f"its array {name!r} has the shape {shape}")
    there = len(head.getvalue()) - head.tell()
    # To the end: the archive's checksum is compared there.
    while data := file.read(_READ_BYTES):
        there += len(data)
    if there < promised:
        raise ValueError(f"its array {name!r} has {there} of {promised} bytes")


def _header(head: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    # Versions 2 and 3 differ in how the names of fields are encoded.
    old = np.lib.format.read_magic(head) == (1, 0)
    read = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(head)
    return shape, dtype


def _unreadable(path: Path, error: Exception) -> EdgeoptError:
    why = str(error) or type(error).__name__
    return EdgeoptError(
        f"{path} is no readable .npz archive: {why.splitlines()[0][:200]}", "DATA_INVALID"
    )
