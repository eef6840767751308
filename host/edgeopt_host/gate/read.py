"""Reads a policy and checks it: every problem at once, each with its line and key."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path as FilePath
from typing import Any

from edgeopt_host import tomlfile
from edgeopt_host.errors import UsageError
from edgeopt_host.gate.policy import SCHEMA, Margin, Policy, PolicyError, Rule
from edgeopt_host.inventory import check_name
from edgeopt_host.metrics import METRICS
from edgeopt_host.tomlfile.reader import (
    Path,
    Reader,
    above_0,
    between,
    flag,
    number,
    seen,
    text,
    whole,
    wrong,
)

# Rules times devices is what a gate decides, and what its reports list.
_MOST_RULES = 200
_LIMITS = ("max", "min", "max_regression")
_MARGIN = re.compile(r"(\d+(?:\.\d+)?) ?(%|pt)")
# Metrics that are shares.
_SHARES = ("accuracy", "delegated_share")


def load(path: FilePath) -> Policy:
    """Reads a policy.

    Raises:
        PolicyError: when it is none; tells all that is wrong.
        UsageError: when the file cannot be read.
    """
    return read(tomlfile.load(path, "policy"), path)


def read(content: str, path: FilePath) -> Policy:
    """The policy that a file's content is; `path` is named in errors.

    Raises:
        PolicyError: when it is none.
    """
    reader = _Reader(content)
    if not reader.problems:
        policy = reader.policy()
    if reader.problems:
        raise PolicyError(path, reader.sorted_problems())
    return policy


class _Reader(Reader):
    def policy(self) -> Policy:
        self.known((), self.content, ("schema", "gate", "rule"))
        self.schema(SCHEMA)
        settings = self.table("gate")
        self.known(("gate",), settings, _SETTINGS)
        return Policy(tuple(self._rules()), **self.values(("gate",), settings, _SETTINGS))

    def _rules(self) -> Iterable[Rule]:
        tables = self.tables("rule")
        if tables is None:
            return
        if not tables:
            self.add((), "there is no [[rule]]: a gate needs one at least")
        if len(tables) > _MOST_RULES:
            self.add(
                ("rule", _MOST_RULES),
                f"there are {len(tables)} rules, and a policy has at most {_MOST_RULES}",
            )
            return
        found: dict[Hashable, int] = {}
        for index, table in enumerate(tables):
            before = len(self.problems)
            path: Path = ("rule", index)
            self.known(path, table, _RULE)
            values = self.values(path, table, _RULE)
            self._check_limit(path, table, values)
            if len(self.problems) == before:
                rule = Rule(**values, line=self.line(path))
                first = found.setdefault(_scope(rule), index)
                if first == index:
                    yield rule
                else:
                    self.add(
                        path,
                        f"rule[{first + 1}] is {rule.condition.split()[0]} of {rule.metric} for the same "
                        "devices: keep one of them",
                    )

    def _check_limit(self, path: Path, table: Mapping[str, Any], values: dict[str, Any]) -> None:
        """What the keys of a rule must be to each other."""
        if "metric" not in table:
            self.add(path, f"a rule needs a metric: one of {', '.join(METRICS)}")
        given = [key for key in _LIMITS if key in table]
        if not given:
            self.add(path, "a rule needs a limit: max, min or max_regression")
        elif len(given) > 1:
            self.add(
                (*path, given[1]), f"the rule has {given[0]} already: write a [[rule]] for each"
            )
        if "metric" not in values:
            return
        for key in given:
            if key in values:
                self.attempt((*path, key), _check_fits, values["metric"], key, values[key])


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
        wrong(f"of {metric}, more is better: write min")
    if key == "min" and not higher:
        wrong(f"of {metric}, less is better: write max")
    if isinstance(value, Margin):
        if value.points and metric != "accuracy":
            wrong(f'points are for accuracy: write a percentage such as "{value.amount:g}%"')
        if metric == "accuracy" and not value.points:
            wrong(f'of accuracy, write points: "{100 * value.amount:g}pt"')
        if (value.amount >= 1 and higher and not value.points) or value.amount >= 100:  # noqa: PLR2004 - all there is
            wrong(f"{value} worse is never reached: write less than 100")
    elif metric in _SHARES and value > 1:
        meant = f"is {value / 100:g} meant? " if value <= 100 else ""  # noqa: PLR2004 - percent
        wrong(f"{value:g} is more than all: {meant}{metric} is 0 to 1")


def _metric(value: Any) -> str:
    name = text(value)
    if name not in METRICS:
        near = difflib.get_close_matches(name, METRICS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(METRICS)}"
        wrong(f"{seen(name)} is no metric; {hint}")
    return name


def _error_rate(value: Any) -> float:
    rate = number(value)
    if not 0 < rate < 0.5:  # noqa: PLR2004 - a coin
        wrong(f"{seen(value)} is not between 0 and 0.5, such as 0.05 for 5 %")
    return rate


def _margin(value: Any) -> Margin:
    match = _MARGIN.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        wrong(f'{seen(value)} is no margin: write "3%" or, for accuracy, "0.5pt"')
    amount = float(match[1])
    if not math.isfinite(amount):
        wrong(f"{seen(value)} is no finite number")
    return Margin(amount, points=True) if match[2] == "pt" else Margin(amount / 100)


def _names(what: str) -> Callable[[Any], tuple[str, ...]]:
    def check(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            wrong(f'{seen(value)} is no list of {what}s, such as ["pi4"]')
        if not value:
            wrong("the list is empty: leave the key out for every device")
        try:
            return tuple(check_name(name, what) for name in value)
        except UsageError as error:
            wrong(error.message)

    return check


_SETTINGS: dict[str, Callable[[Any], Any]] = {
    "error_rate": _error_rate,
    "budget_s": between(1, 86400, " seconds"),
    "absolute_budget_s": between(1, 86400, " seconds"),
    "sustained_s": between(120, 86400, " seconds"),
    "cooldown_below_c": between(1, 150, " °C"),
    "steady_clock": flag,
    "batch": whole(1, 65536),
    "streams": whole(1, 64),
    "rate_hz": between(0.001, 100_000, " Hz"),
}
_RULE: dict[str, Callable[[Any], Any]] = {
    "metric": _metric,
    "max": above_0,
    "min": above_0,
    "max_regression": _margin,
    "tags": _names("tag"),
    "devices": _names("device"),
    "required": flag,
}
