"""TOML with the line of each key, which tomlkit does not tell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tomlkit
from tomlkit.exceptions import ParseError, TOMLKitError
from tomlkit.items import AoT

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
        """Where the key or table stands, else the nearest one around it."""
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
        raise TomlError(what, min(max(1, error.line), text.count("\n") + 1)) from error
    except TOMLKitError as error:
        raise TomlError(str(error), None) from error
    except RecursionError as error:
        raise TomlError("it is nested too deeply", None) from error
    return Document(content, _lines(text))


def _lines(text: str) -> dict[Path, int]:
    """By path, the line in which the statement begins that defines it."""
    lines: dict[Path, int] = {}
    table: Path = ()
    for line, statement in _statements(text):
        content = tomlkit.parse(statement)
        is_header = statement.lstrip().startswith("[")
        paths = list(_paths(content))
        if is_header:
            # Of `[a.b]`, the table it opens is the innermost.
            table = _numbered(paths[-1], lines)
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


def _numbered(path: Path, lines: dict[Path, int]) -> Path:
    """The path of a header's table, counting the entries of arrays of tables that came before.

    A header alone knows of no others: `[[rule]]` is entry 0 to it, `[rule.more]` a plain key.
    """
    whole: Path = ()
    for position, part in enumerate(path):
        if isinstance(part, int):
            continue
        whole = (*whole, part)
        entries = [p[-1] for p in lines if p[:-1] == whole and isinstance(p[-1], int)]
        opens = position + 1 < len(path) and isinstance(path[position + 1], int)
        if opens:
            whole = (*whole, len(entries))
        elif entries:
            whole = (*whole, len(entries) - 1)
    return whole
