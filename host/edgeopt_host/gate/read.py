"""Reads a policy and checks it: every problem at once, each with its line and key."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path as FilePath
from typing import Any, NoReturn

from edgeopt_host.errors import UsageError
from edgeopt_host.gate._toml import Document, Path, TomlError, parse
from edgeopt_host.gate.policy import SCHEMA, Margin, Policy, PolicyError, Problem, Rule
from edgeopt_host.inventory import check_name
from edgeopt_host.metrics import METRICS

_MOST_BYTES = 2**18
# Rules times devices is what a gate decides, and what its reports list.
_MOST_RULES = 200
_LIMITS = ("max", "min", "max_regression")
_MARGIN = re.compile(r"(\d+(?:\.\d+)?) ?(%|pt)")
# Metrics that are shares.
_SHARES = ("accuracy", "delegated_share")
_LONGEST_SEEN = 60


class _WrongError(Exception):
    """What is the matter with one value."""


def load(path: FilePath) -> Policy:
    """Reads a policy.

    Raises:
        PolicyError: when it is none; tells all that is wrong.
        UsageError: when the file cannot be read.
    """
    try:
        # One that nobody writes to would be waited for.
        if path.exists() and not path.is_file():
            raise UsageError(f"cannot read the policy {path}: it is no regular file")
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise UsageError(f"{path} is larger than {_MOST_BYTES >> 10} KB: is it a policy?")
        text = content.decode()
    except OSError as error:
        raise UsageError(f"cannot read the policy {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read the policy {path}: it is no UTF-8 text") from error
    except ValueError as error:  # a NUL in the path
        raise UsageError(f"cannot read the policy {str(path)!r}: {error}") from error
    return read(text, path)


def read(text: str, path: FilePath) -> Policy:
    """The policy that a text holds; `path` is named in errors.

    Raises:
        PolicyError: when it is none.
    """
    try:
        document = parse(text)
    except TomlError as error:
        raise PolicyError(path, [Problem(error.line, "", f"no TOML: {error.message}")]) from error
    reader = _Reader(document)
    policy = reader.policy()
    if reader.problems:
        raise PolicyError(path, sorted(reader.problems, key=lambda problem: problem.line or 0))
    return policy


class _Reader:
    def __init__(self, document: Document) -> None:
        self._document = document
        self.problems: list[Problem] = []

    def policy(self) -> Policy:
        content = self._document.content
        self._known((), content, ("schema", "gate", "rule"))
        if "schema" not in content:
            self._add((), f'write schema = "{SCHEMA}" at the top')
        elif content["schema"] != SCHEMA:
            self._add(("schema",), f'{_seen(content["schema"])} is not "{SCHEMA}"')
        settings = self._settings(content.get("gate", {}))
        return Policy(tuple(self._rules(content)), **settings)

    def _settings(self, table: Any) -> dict[str, Any]:
        if not isinstance(table, dict):
            self._add(("gate",), f"{_seen(table)} is no table: write [gate]")
            return {}
        self._known(("gate",), table, _SETTINGS)
        return self._values(("gate",), table, _SETTINGS)

    def _rules(self, content: Mapping[str, Any]) -> Iterable[Rule]:
        tables = content.get("rule", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self._add(("rule",), "write each rule as a table of its own, under [[rule]]")
            return
        if not tables:
            self._add((), "there is no [[rule]]: a gate needs one at least")
        if len(tables) > _MOST_RULES:
            self._add(
                ("rule", _MOST_RULES),
                f"there are {len(tables)} rules, and a policy has at most {_MOST_RULES}",
            )
            return
        found: dict[Hashable, int] = {}
        for number, table in enumerate(tables):
            before = len(self.problems)
            path: Path = ("rule", number)
            self._known(path, table, _RULE)
            values = self._values(path, table, _RULE)
            self._check_limit(path, table, values)
            if len(self.problems) == before:
                rule = Rule(**values, line=self._document.line(path))
                first = found.setdefault(_scope(rule), number)
                if first == number:
                    yield rule
                else:
                    self._add(
                        path,
                        f"rule[{first + 1}] is {rule.condition.split()[0]} of {rule.metric} for the same "
                        "devices: keep one of them",
                    )

    def _check_limit(self, path: Path, table: Mapping[str, Any], values: dict[str, Any]) -> None:
        """What the keys of a rule must be to each other."""
        if "metric" not in table:
            self._add(path, f"a rule needs a metric: one of {', '.join(METRICS)}")
        given = [key for key in _LIMITS if key in table]
        if not given:
            self._add(path, "a rule needs a limit: max, min or max_regression")
        elif len(given) > 1:
            self._add(
                (*path, given[1]), f"the rule has {given[0]} already: write a [[rule]] for each"
            )
        if "metric" not in values:
            return
        for key in given:
            if key in values:
                self._try((*path, key), _check_fits, values["metric"], key, values[key])

    def _values(
        self, path: Path, table: Mapping[str, Any], checks: Mapping[str, Callable[[Any], Any]]
    ) -> dict[str, Any]:
        """Those values that pass their checks."""
        found = {
            key: self._try((*path, key), check, table[key])
            for key, check in checks.items()
            if key in table
        }
        return {key: value for key, value in found.items() if value is not None}

    def _try(self, path: Path, check: Callable[..., Any], *values: Any) -> Any:
        """What a check makes of a value; None, and a problem more, when it is wrong."""
        try:
            return check(*values)
        except _WrongError as error:
            self._add(path, str(error))
            return None

    def _known(self, path: Path, table: Mapping[str, Any], keys: Iterable[str]) -> None:
        keys = list(keys)
        for key in table:
            if key in keys:
                continue
            near = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(keys)}"
            self._add((*path, key), f"there is no such key; {hint}")

    def _add(self, path: Path, message: str) -> None:
        # As people count: the second rule is rule[2].
        parts = [f"[{p + 1}]" if isinstance(p, int) else f".{p}" for p in path]
        key = "".join(parts).removeprefix(".")
        self.problems.append(Problem(self._document.line(path), key, message))


def _scope(rule: Rule) -> Hashable:
    """What no second rule may have in common with a rule: one of the two would be for nothing.

    An advisory rule beside a required one is an early warning.
    """
    kind = rule.condition.split()[0]
    return rule.metric, kind, frozenset(rule.tags), frozenset(rule.devices), rule.required


def _check_fits(metric: str, key: str, value: Any) -> None:
    """A limit must be one that can be missed and can be held."""
    higher = METRICS[metric].higher_is_better
    if key == "max" and higher:
        _wrong(f"of {metric}, more is better: write min")
    if key == "min" and not higher:
        _wrong(f"of {metric}, less is better: write max")
    if isinstance(value, Margin):
        if value.points and metric != "accuracy":
            _wrong(f'points are for accuracy: write a percentage such as "{value.amount:g}%"')
        if metric == "accuracy" and not value.points:
            _wrong(f'of accuracy, write points: "{100 * value.amount:g}pt"')
        if (value.amount >= 1 and higher and not value.points) or value.amount >= 100:  # noqa: PLR2004 - all there is
            _wrong(f"{value} worse is never reached: write less than 100")
    elif metric in _SHARES and value > 1:
        meant = f"is {value / 100:g} meant? " if value <= 100 else ""  # noqa: PLR2004 - percent
        _wrong(f"{value:g} is more than all: {meant}{metric} is 0 to 1")


def _metric(value: Any) -> str:
    name = _text(value)
    if name not in METRICS:
        near = difflib.get_close_matches(name, METRICS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(METRICS)}"
        _wrong(f"{_seen(name)} is no metric; {hint}")
    return name


def _text(value: Any) -> str:
    if not isinstance(value, str):
        _wrong(f"{_seen(value)} is no text in quotes")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        _wrong(f"{_seen(value)} is neither true nor false")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _wrong(f"{_seen(value)} is no number")
    try:
        number = float(value)
    except OverflowError:  # an integer larger than any float
        number = math.inf
    if not math.isfinite(number):
        _wrong(f"{_seen(value)} is no finite number")
    return number


def _above_0(value: Any) -> float:
    number = _number(value)
    if number <= 0:
        _wrong(f"{_seen(value)} is not above 0")
    return number


def _between(low: float, high: float, unit: str) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        number = _number(value)
        if not low <= number <= high:
            _wrong(f"{_seen(value)} is not from {low:g} to {high:g}{unit}")
        return number

    return check


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            _wrong(f"{_seen(value)} is no whole number from {low} to {high}")
        return value

    return check


def _error_rate(value: Any) -> float:
    rate = _number(value)
    if not 0 < rate < 0.5:  # noqa: PLR2004 - a coin
        _wrong(f"{_seen(value)} is not between 0 and 0.5, such as 0.05 for 5 %")
    return rate


def _margin(value: Any) -> Margin:
    match = _MARGIN.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        _wrong(f'{_seen(value)} is no margin: write "3%" or, for accuracy, "0.5pt"')
    amount = float(match[1])
    if not math.isfinite(amount):
        _wrong(f"{_seen(value)} is no finite number")
    return Margin(amount, points=True) if match[2] == "pt" else Margin(amount / 100)


def _names(what: str) -> Callable[[Any], tuple[str, ...]]:
    def check(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            _wrong(f'{_seen(value)} is no list of {what}s, such as ["pi4"]')
        if not value:
            _wrong("the list is empty: leave the key out for every device")
        try:
            return tuple(check_name(name, what) for name in value)
        except UsageError as error:
            _wrong(error.message)

    return check


_SETTINGS: dict[str, Callable[[Any], Any]] = {
    "error_rate": _error_rate,
    "budget_s": _between(1, 86400, " seconds"),
    "absolute_budget_s": _between(1, 86400, " seconds"),
    "sustained_s": _between(120, 86400, " seconds"),
    "cooldown_below_c": _between(1, 150, " °C"),
    "steady_clock": _flag,
    "batch": _whole(1, 65536),
    "streams": _whole(1, 64),
    "rate_hz": _between(0.001, 100_000, " Hz"),
}
_RULE: dict[str, Callable[[Any], Any]] = {
    "metric": _metric,
    "max": _above_0,
    "min": _above_0,
    "max_regression": _margin,
    "tags": _names("tag"),
    "devices": _names("device"),
    "required": _flag,
}


def _seen(value: Any) -> str:
    """A value as the file may have it, cut where it is long."""
    try:
        # JSON has other names for what is not finite.
        text = str(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= _LONGEST_SEEN else f"{text[:_LONGEST_SEEN]}…"


def _wrong(message: str) -> NoReturn:
    raise _WrongError(message)
