"""TOML with the line of each key, which tomlkit does not tell."""

from __future__ import annotations

import bisect
import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tomlkit
from tomlkit.exceptions import KeyAlreadyPresent, ParseError, TOMLKitError, UnexpectedCharError
from tomlkit.items import AoT

# How far back the beginning of a value is looked for.
_LONGEST_VALUE = 50
# From the document down to a key: names, and numbers of entries in arrays of tables.
Path = tuple[str | int, ...]


class TomlError(Exception):
    """It is no TOML: what is wrong, and in which line."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


@dataclass(frozen=True)
class Document:
    content: dict[str, Any]
    lines: dict[Path, int]

    def line(self, path: Path) -> int | None:
        """Where the key or table stands or begins, else the nearest one around it."""
        if path and path not in self.lines:
            within = [at for p, at in self.lines.items() if p[: len(path)] == path]
            if within:
                return min(within)
        around = (self.lines.get(path[:end]) for end in range(len(path), 0, -1))
        return next((line for line in around if line is not None), None)


def parse(text: str) -> Document:
    """Reads a document.

    Raises:
        TomlError: when it is none.
    """
    # Editors on Windows begin files so.
    text = text.removeprefix("\ufeff")
    try:
        content = tomlkit.parse(text).unwrap()
    except ParseError as error:
        what = re.sub(r" at line \d+ col \d+$", "", str(error)).rstrip(".")
        # The parser's sign for the end of the text.
        what = what.replace(r"Unexpected character: '\x00'", "it ends in the middle of a value")
        line = min(max(1, error.line), text.count("\n") + 1)
        begins = _begins(text, line) if isinstance(error, UnexpectedCharError) else line
        if begins < line:
            what += f" in line {line}: is what begins here lacking its ] or its closing quotes?"
        raise TomlError(what, begins) from error
    except KeyAlreadyPresent as error:
        raise TomlError(str(error).rstrip("."), _repeats(text)) from error
    except TOMLKitError as error:
        raise TomlError(str(error), None) from error
    except RecursionError as error:
        raise TomlError("it is nested too deeply", None) from error
    return Document(content, _lines(text))


def _begins(text: str, line: int) -> int:
    """The line in which the statement begins that the parser gave up in, in `line`."""
    lines = text.splitlines(keepends=True)
    for before in range(line - 1, max(-1, line - 1 - _LONGEST_VALUE), -1):
        with contextlib.suppress(TOMLKitError):
            tomlkit.parse("".join(lines[:before]))
            return before + 1
    return line


def _repeats(text: str) -> int:
    """The line of the first key that its table has already, which the parser does not tell."""
    lines = text.splitlines(keepends=True)

    def has_one(end: int) -> bool:
        try:
            tomlkit.parse("".join(lines[:end]))
        except KeyAlreadyPresent:
            return True
        except TOMLKitError:  # it ends within a value
            pass
        return False

    return max(1, bisect.bisect_left(range(len(lines)), True, key=has_one))


def _lines(text: str) -> dict[Path, int]:
    """By path, the line in which the statement begins that defines it."""
    lines: dict[Path, int] = {}
    table: Path = ()
    entries: Counter[Path] = Counter()
    for line, statement in _statements(text):
        content = tomlkit.parse(statement)
        is_header = statement.lstrip().startswith("[")
        paths = list(_paths(content))
        if is_header:
            # Of `[a.b]`, the table it opens is the innermost.
            table = _numbered(paths[-1], entries)
            paths = [table]
        else:
            paths = [(*table, *path) for path in paths]
        for path in paths:
            lines.setdefault(path, line)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Headers and assignments of a valid document, each with the line it begins in.

    A statement ends with a line, and none is whole before its end: a text or array is open then.
    """
    begun, first = "", 0
    # Not splitlines, which knows more ends of lines than TOML does.
    for number, line in enumerate(re.findall(r"[^\n]*\n|[^\n]+", text), 1):
        if not begun and (not line.strip() or line.lstrip().startswith("#")):
            continue
        first = first if begun else number
        begun += line
        try:
            tomlkit.parse(begun)
        except TOMLKitError:
            continue
        yield first, begun
        begun = ""


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    if path and not isinstance(value, AoT):
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _paths(item, (*path, str(key)))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from _paths(item, (*path, number))


def _numbered(path: Path, entries: Counter[Path]) -> Path:
    """The path of a header's table, counting the entries of arrays of tables that came before.

    A header alone knows of no others: `[[rule]]` is entry 0 to it, `[rule.more]` a plain key.

    Args:
        path: of a header alone.
        entries: so far, of each array; what the header opens is added.
    """
    whole: Path = ()
    for position, part in enumerate(path):
        if isinstance(part, int):
            continue
        whole = (*whole, part)
        opens = position + 1 < len(path) and isinstance(path[position + 1], int)
        if opens:
            entries[whole] += 1
        if entries[whole]:
            whole = (*whole, entries[whole] - 1)
    return whole
