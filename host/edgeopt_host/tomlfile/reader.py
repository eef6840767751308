"""Reading a document key by key: values that pass their checks, and what is wrong with the others."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from edgeopt_host.tomlfile import Problem
from edgeopt_host.tomlfile._lines import Document, Path, TomlError, parse

__all__ = [
    "Path",
    "Reader",
    "above_0",
    "between",
    "flag",
    "number",
    "seen",
    "text",
    "whole",
    "wrong",
]

_LONGEST_SEEN = 60

Check = Callable[[Any], Any]


class _WrongError(Exception):
    """What is the matter with one value."""


class Reader:
    """A document that is being read; `problems` is what was wrong so far.

    Raises:
        TomlError: when the text is no TOML.
    """

    def __init__(self, text: str) -> None:
        self.problems: list[Problem] = []
        try:
            self._document = parse(text)
        except TomlError as error:
            self._document = Document({}, {})
            self.problems.append(Problem(error.line, "", f"no TOML: {error.message}"))

    @property
    def content(self) -> dict[str, Any]:
        return self._document.content

    def line(self, path: Path) -> int | None:
        """Where the key or table stands or begins."""
        return self._document.line(path)

    def schema(self, wanted: str) -> None:
        """Checks what the file says it is."""
        if "schema" not in self.content:
            self.add((), f'write schema = "{wanted}" at the top')
        elif self.content["schema"] != wanted:
            self.add(("schema",), f'{seen(self.content["schema"])} is not "{wanted}"')

    def values(
        self, path: Path, table: Mapping[str, Any], checks: Mapping[str, Check]
    ) -> dict[str, Any]:
        """Those values that pass their checks."""
        found = {
            key: self.attempt((*path, key), check, table[key])
            for key, check in checks.items()
            if key in table
        }
        return {key: value for key, value in found.items() if value is not None}

    def attempt(self, path: Path, check: Callable[..., Any], *values: Any) -> Any:
        """What a check makes of a value; None, and a problem more, when it is wrong."""
        try:
            return check(*values)
        except _WrongError as error:
            self.add(path, str(error))
            return None

    def known(self, path: Path, table: Mapping[str, Any], keys: Iterable[str]) -> None:
        """Tells keys that there are not."""
        keys = list(keys)
        for key in table:
            if key in keys:
                continue
            near = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(keys)}"
            self.add((*path, key), f"there is no such key; {hint}")

    def table(self, key: str) -> dict[str, Any]:
        """The table `[key]`; empty when there is none."""
        found = self.content.get(key, {})
        if isinstance(found, dict):
            return found
        self.add((key,), f"{seen(found)} is no table: write [{key}]")
        return {}

    def tables(self, key: str) -> list[dict[str, Any]] | None:
        """The tables `[[key]]`; None when it is something else."""
        found = self.content.get(key, [])
        if isinstance(found, list) and all(isinstance(table, dict) for table in found):
            return found
        self.add((key,), f"write each {key} as a table of its own, under [[{key}]]")
        return None

    def add(self, path: Path, message: str) -> None:
        """One problem more."""
        # As people count: the second rule is rule[2].
        parts = [f"[{p + 1}]" if isinstance(p, int) else f".{p}" for p in path]
        key = "".join(parts).removeprefix(".")
        self.problems.append(Problem(self.line(path), key, message))

    def sorted_problems(self) -> list[Problem]:
        return sorted(self.problems, key=lambda problem: problem.line or 0)


def text(value: Any) -> str:
    if not isinstance(value, str):
        wrong(f"{seen(value)} is no text in quotes")
    return value


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        wrong(f"{seen(value)} is neither true nor false")
    return value


def number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        wrong(f"{seen(value)} is no number")
    try:
        found = float(value)
    except OverflowError:  # an integer larger than any float
        found = math.inf
    if not math.isfinite(found):
        wrong(f"{seen(value)} is no finite number")
    return found


def above_0(value: Any) -> float:
    found = number(value)
    if found <= 0:
        wrong(f"{seen(value)} is not above 0")
    return found


def between(low: float, high: float, unit: str) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        found = number(value)
        if not low <= found <= high:
            wrong(f"{seen(value)} is not from {low:g} to {high:g}{unit}")
        return found

    return check


def whole(low: int, high: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            wrong(f"{seen(value)} is no whole number from {low} to {high}")
        return value

    return check


def seen(value: Any) -> str:
    """A value as the file may have it, cut where it is long."""
    try:
        # JSON has other names for what is not finite.
        told = str(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        told = str(value)
    return told if len(told) <= _LONGEST_SEEN else f"{told[:_LONGEST_SEEN]}…"


def wrong(message: str) -> NoReturn:
    raise _WrongError(message)
