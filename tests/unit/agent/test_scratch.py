"""What a model may have left in its scratch folder goes, whatever it is, and nothing else does."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeopt_agent.scratch import remove
from plain_user import as_a_plain_user


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "outside" / "kept").mkdir(parents=True)
    (tmp_path / "outside" / "kept" / "file").write_text("mine")
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def _nest(folder: Path, names: list[str], inside: Callable[[int], None] = lambda _: None) -> None:
    """Folders in each other, deeper than a path can name."""
    here = os.open(folder, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
        inside(here)
    os.close(here)


def _is_kept(tmp_path: Path) -> bool:
    kept = tmp_path / "outside" / "kept"
    return (kept / "file").read_text() == "mine" and stat.S_IMODE(kept.stat().st_mode) == 0o755


@pytest.mark.parametrize("name", ["d", "n" * 255, "\udcff\n" + "\u00e4" * 100])
def test_folders_in_folders_5000_deep(folder: Path, tmp_path: Path, name: str) -> None:
    _nest(folder, [name] * 5000)
    as_a_plain_user(lambda: remove(folder))
    assert not folder.exists()
    assert _is_kept(tmp_path)


def test_deep_folders_with_files_links_and_neighbours(folder: Path, tmp_path: Path) -> None:
    def fill(here: int) -> None:
        os.close(os.open("f" * 255, os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.symlink(tmp_path / "outside" / "kept", "a link", dir_fd=here)
        os.mkdir("neighbour", dir_fd=here)
        os.mkfifo("pipe", dir_fd=here)

    _nest(folder, ["d"] * 1500, fill)
    remove(folder)
    assert not folder.exists()
    assert _is_kept(tmp_path)


def test_50_000_files_and_5_000_folders(folder: Path) -> None:
    for number in range(50_000):
        (folder / str(number)).touch()
    for number in range(5_000):
        (folder / f"folder {number}").mkdir()
    remove(folder)
    assert not folder.exists()


@pytest.mark.parametrize("mode", [0, 0o100, 0o200, 0o400, 0o500])
def test_folders_closed_to_their_owner(folder: Path, tmp_path: Path, mode: int) -> None:
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "file").touch()
    (folder / "a" / "out").symlink_to(tmp_path / "outside" / "kept")
    for path in (folder / "a" / "b", folder / "a", folder):
        path.chmod(mode)
    as_a_plain_user(lambda: remove(folder))
    assert not folder.exists()
    assert _is_kept(tmp_path)


def test_a_link_in_the_place_of_the_folder(folder: Path, tmp_path: Path) -> None:
    folder.rmdir()
    folder.symlink_to(tmp_path / "outside")
    as_a_plain_user(lambda: remove(folder))
    assert not os.path.lexists(folder)
    assert _is_kept(tmp_path)


def test_a_file_in_the_place_of_the_folder_or_nothing(folder: Path) -> None:
    folder.rmdir()
    remove(folder)
    folder.write_text("a file")
    remove(folder)
    assert not folder.exists()
    remove(folder / "below" / "nothing")


def test_what_cannot_be_removed_stays_and_the_rest_goes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a" / "busy").mkdir(parents=True)
    (folder / "a" / "busy" / "file").touch()
    (folder / "b" / "c").mkdir(parents=True)
    rmdir = os.rmdir

    def refuse(name: str, *, dir_fd: int) -> None:
        if name == "busy":
            raise OSError(errno.EBUSY, "Device or resource busy")
        rmdir(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", refuse)
    remove(folder)
    left = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*"))]
    assert left == ["a", "a/busy"]


def test_a_worker_that_still_swaps_folders_for_links_leads_it_nowhere(
    folder: Path, tmp_path: Path
) -> None:
    for name in ("one", "two", "away"):
        (folder / name / "kept").mkdir(parents=True)
    stop = threading.Event()

    def swap(name: str) -> None:
        (folder / name / "kept").mkdir(parents=True, exist_ok=True)
        (folder / name).rename(folder / "away" / name)
        (folder / name).symlink_to(tmp_path / "outside")
        (folder / name).unlink()
        (folder / "away" / name).rename(folder / name)

    def keep_swapping() -> None:
        while not stop.is_set():
            for name in ("one", "two"):
                with contextlib.suppress(OSError):
                    swap(name)

    swapping = threading.Thread(target=keep_swapping)
    swapping.start()
    try:
        for _ in range(300):
            remove(folder)
            assert _is_kept(tmp_path)
    finally:
        stop.set()
        swapping.join()
    remove(folder)
    assert not folder.exists()
