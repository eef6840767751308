"""Data files that are none: one sentence, whatever numpy and zipfile raise."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeopt_host import npz
from edgeopt_host.errors import EdgeoptError, UsageError


def archive(compression: int = zipfile.ZIP_STORED) -> bytearray:
    """An archive of one array, written with a given compression."""
    array, file = io.BytesIO(), io.BytesIO()
    np.save(array, np.arange(1000))
    with zipfile.ZipFile(file, "w", compression) as made:
        made.writestr("x.npy", array.getvalue())
    return bytearray(file.getvalue())


def patched(data: bytearray, offset: int, value: bytes) -> bytes:
    """With a field of both headers of the member changed: the central one is 2 bytes further."""
    central = data.index(b"PK\x01\x02")
    for start in (offset, central + offset + 2):
        data[start : start + len(value)] = value
    return bytes(data)


def single_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.arange(3))
    return file.getvalue()


def damaged_stream() -> bytes:
    data = archive(zipfile.ZIP_DEFLATED)
    data[60:90] = b"\xff" * 30
    return bytes(data)


BAD: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "text": lambda: b"hello, world",
    "a single array": single_array,
    "a truncated archive": lambda: bytes(archive()[:500]),
    "a damaged stream": damaged_stream,  # zlib.error
    "an unknown compression": lambda: patched(archive(), 8, b"\x63\x00"),  # NotImplementedError
    "an encrypted member": lambda: patched(archive(), 6, b"\x01\x00"),  # RuntimeError
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_archive_of_arrays_is_said_to_be_none(case: str, tmp_path: Path) -> None:
    path = tmp_path / "in.npz"
    path.write_bytes(BAD[case]())
    with pytest.raises(EdgeoptError, match=r"in\.npz is no readable \.npz archive") as caught:
        npz.check(path)
    assert caught.value.reason == "DATA_INVALID"


def test_pickles_are_refused_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=np.array([{}], dtype=object))
    with pytest.raises(EdgeoptError, match="pickled Python objects"):
        npz.check(tmp_path / "in.npz")


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the data file"):
        npz.check(tmp_path / "in.npz")


def test_plain_arrays_pass(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "in.npz", x=np.arange(3), y=np.array("text"))
    npz.check(tmp_path / "in.npz")


def test_arrays_are_unpacked_under_names_of_edgeopts_own(tmp_path: Path) -> None:
    made = tmp_path / "in.npz"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("../x.npy", "y.npy", "z.npy"):
            with archive.open(name, "w") as file:
                np.save(file, np.full(3, ord(name[-5])))
    npz.check(made)
    (tmp_path / "into").mkdir()
    files = npz.unpack(made, lambda name: name != "z", tmp_path / "into")
    assert files.keys() == {"../x", "y"}
    assert {file.parent for file in files.values()} == {tmp_path / "into"}
    assert [int(np.load(file)[0]) for file in files.values()] == [ord("x"), ord("y")]
