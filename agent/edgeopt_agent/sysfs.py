"""Reading the kernel's one-value files: once for a fact, or again and again for a sensor."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import re
from collections.abc import Callable, Collection
from pathlib import Path

from edgeopt_agent.errors import Unavailable
from edgeopt_agent.sensors._base import Channel, Sensor

# A sysfs file holds one page at most.
_PAGE = 4096


def read_text(path: Path) -> str:
    """The file's text without surrounding blanks and NULs; "" where it cannot be read."""
    try:
        return _text(path)
    except (OSError, ValueError):  # a NUL in a path that another file tells
        return ""


def _text(path: Path) -> str:
    return path.read_text("utf-8", "replace").strip("\0 \t\r\n")


def read_int(path: Path) -> int | None:
    """The file's number; None where there is none, or one of more than 64 bits."""
    try:
        number = int(read_text(path))
    except ValueError:
        return None
    return number if -(2**63) <= number < 2**64 else None


class KeptFile:
    """A file of one number, kept open: `pread` costs 2 µs, opening the file again 19."""

    def __init__(self, path: Path, scale: float = 1.0) -> None:
        """Opens the file.

        Raises:
            OSError: when it is missing or denied.
        """
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._scale = scale

    def read_number(self) -> float:
        """The number, times the scale; NaN where the kernel has none to give just now."""
        try:
            return self.parse(os.pread(self._fd, _PAGE, 0)) * self._scale
        except (OSError, ValueError, OverflowError):
            return math.nan

    def parse(self, content: bytes) -> float:
        """Takes the number out of what was read."""
        return float(int(content))

    def close(self) -> None:
        os.close(self._fd)


class FileSensor(Sensor):
    """A sensor that reads a kept file, or something of its shape, for each channel."""

    def __init__(self, search: Search) -> None:
        self.channels = tuple(search.found)
        self._files = tuple(search.found.values())

    def read(self) -> list[float]:
        return [file.read_number() for file in self._files]

    def close(self) -> None:
        for file in self._files:
            file.close()


class Search:
    """Opens the files of a sensor; remembers why one that is there could not be opened."""

    def __init__(self) -> None:
        self.found: dict[Channel, KeptFile] = {}
        # The first file or folder that exists and could not be opened.
        self.refusal: Unavailable | None = None

    def folders(self, parent: Path, pattern: str) -> list[Path]:
        """Entries of `parent` whose whole name matches, in numeric order; none if it is missing."""
        try:
            entries = [entry for entry in parent.iterdir() if re.fullmatch(pattern, entry.name)]
        except OSError as error:
            self._refuse(parent, error)
            return []
        return sorted(entries, key=_numerically)

    def text(self, path: Path) -> str:
        """The file's text; "" where it cannot be read."""
        try:
            return _text(path)
        except OSError as error:
            self._refuse(path, error)
            return ""

    def numbers(self, folder: Path, pattern: str) -> list[int]:
        """The numbers that the pattern's group takes from names in the folder, in order."""
        names = [entry.name for entry in self.folders(folder, pattern)]
        return [int(re.sub(pattern, r"\1", name)) for name in names]

    def add(
        self,
        channel: Channel,
        path: Path,
        scale: float = 1.0,
        open_file: Callable[[Path, float], KeptFile] = KeptFile,
    ) -> None:
        """Adds the channel if its file can be opened; a name that is taken gets a number."""
        try:
            file = open_file(path, scale)
        except OSError as error:
            self._refuse(path, error)
            return
        name = unique("-".join(channel.name.split()), {other.name for other in self.found})
        self.found[dataclasses.replace(channel, name=name)] = file

    def require(self, otherwise: str) -> Search:
        """This search, if it found anything.

        Raises:
            Unavailable: with the first refusal, or `otherwise` where nothing was even there.
        """
        if not self.found:
            raise self.refusal or Unavailable(otherwise)
        return self

    def _refuse(self, path: Path, error: OSError) -> None:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)) and not self.refusal:
            self.refusal = Unavailable(f"{path}: {(error.strerror or str(error)).lower()}")


def unique(name: str, taken: Collection[str]) -> str:
    """The name, or the name and the first number that is free."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(one for one in itertools.chain([name], numbered) if one not in taken)


def _numerically(entry: Path) -> list[tuple[int, str]]:
    """Sorts zone2 before zone10."""
    parts = re.split(r"([0-9]+)", entry.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
