"""Which techniques there are: those of the modules listed in `techniques`, and of plug-ins."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Sequence
from importlib import import_module, metadata

from edgeopt_host.errors import UsageError
from edgeopt_host.optimize import technique as marks
from edgeopt_host.optimize.model import Format
from edgeopt_host.optimize.technique import Technique
from edgeopt_host.optimize.techniques import MODULES

_GROUP = "edgeopt.techniques"


@functools.cache
def techniques() -> tuple[Technique, ...]:
    """All of them, by name and by the formats they take.

    A plug-in's module is named by an entry point of the group "edgeopt.techniques".
    """
    names = [f"edgeopt_host.optimize.techniques.{name}" for name in MODULES]
    names += [entry.value for entry in metadata.entry_points(group=_GROUP)]
    found = [
        one
        for name in names
        for value in vars(import_module(name)).values()
        if callable(value) and (one := marks.of(value)) and one.function.startswith(f"{name}:")
    ]
    return tuple(sorted(found, key=lambda one: (one.name, sorted(one.takes), one.gives)))


def named(name: str) -> list[Technique]:
    """Those of this name, one for each kind of model.

    Raises:
        UsageError: when there is none.
    """
    found = [one for one in techniques() if one.name == name]
    if not found:
        names = sorted({one.name for one in techniques()})
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = (
            f"did you mean {near[0]}?" if near else "`edgeopt-host optimize techniques` lists them"
        )
        raise UsageError(f"there is no technique {name!r}; {hint}")
    return found


def find(name: str, format_: Format) -> Technique:
    """The one of this name that takes such a model.

    Raises:
        UsageError: when there is none.
    """
    found = named(name)
    for one in found:
        if format_ in one.takes:
            return one
    takes = sorted({format_.value for one in found for format_ in one.takes})
    raise UsageError(
        f"{name} takes {_either(takes)}, and what it is given is {format_.value}: put a conversion before "
        "it, or leave it out"
    )


def _either(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
