"""Files that people write in TOML, checked so that every problem is told with its line and key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeopt_host.errors import UsageError

__all__ = ["Problem", "TomlFileError", "load"]

_MOST_BYTES = 2**18


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a file, and where."""

    line: int | None
    # Such as "gate.budget_s", "rule[2].metric"; empty for the whole.
    key: str
    message: str

    def __str__(self) -> str:
        where = "" if self.line is None else f"line {self.line}: "
        return f"{where}{self.key}: {self.message}" if self.key else f"{where}{self.message}"


class TomlFileError(UsageError):
    """A file that is not what it should be; `problems` has all that is wrong, in the file's order."""

    # What tells the other problems, for the message that has room for one.
    lister = ""

    def __init__(self, path: Path, problems: Sequence[Problem]) -> None:
        self.path = path
        self.problems = list(problems)
        more = len(problems) - 1
        how = f": `{self.lister}` lists them" if self.lister else ""
        rest = f" (and {more} more{how})" if more else ""
        super().__init__(f"{path}: {problems[0]}{rest}")

    def lines(self) -> list[str]:
        """All problems, each after the path and its line, as editors and CI read them."""
        return [
            f"{self.path}:{p.line or 1}: {f'{p.key}: ' if p.key else ''}{p.message}"
            for p in self.problems
        ]


def load(path: Path, what: str) -> str:
    """The text of a file; `what` it is to be is named in errors.

    Raises:
        UsageError: when it cannot be read.
    """
    try:
        # One that nobody writes to would be waited for.
        if path.exists() and not path.is_file():
            raise UsageError(f"cannot read the {what} {path}: it is no regular file")
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise UsageError(f"{path} is larger than {_MOST_BYTES >> 10} KB: is it a {what}?")
        return content.decode()
    except OSError as error:
        raise UsageError(f"cannot read the {what} {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read the {what} {path}: it is no UTF-8 text") from error
    except ValueError as error:  # a NUL in the path
        raise UsageError(f"cannot read the {what} {str(path)!r}: {error}") from error
