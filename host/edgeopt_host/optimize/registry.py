"""Which techniques there are: those of the modules listed in `techniques`, and of plug-ins."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Sequence
from functools import partial
from importlib import import_module, metadata

from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize import _user_code
from edgeopt_host.optimize import technique as marks
from edgeopt_host.optimize.model import Format
from edgeopt_host.optimize.technique import Technique
from edgeopt_host.optimize.techniques import MODULES

_GROUP = "edgeopt.techniques"


def techniques() -> tuple[Technique, ...]:
    """All of them, by name and by the formats they take.

    A plug-in's module is named by an entry point of the group "edgeopt.techniques".
    """
    return _found()[0]


def broken() -> list[str]:
    """A sentence for each plug-in that cannot be imported and is left out."""
    return list(_found()[1])


@functools.cache
def _found() -> tuple[tuple[Technique, ...], tuple[str, ...]]:
    found = [
        one for name in MODULES for one in _techniques(f"edgeopt_host.optimize.techniques.{name}")
    ]
    failed = []
    for entry in metadata.entry_points(group=_GROUP):
        of = f" of {entry.dist.name}" if entry.dist else ""
        what = f"the plug-in {entry.name}{of}"
        try:
            found += _user_code.call(partial(_techniques, entry.value), what, "LIBRARY_MISSING")
        except EdgeoptError as error:
            failed.append(f"{error.message}: its techniques are left out")
    found.sort(key=lambda one: (one.name, sorted(one.takes), one.gives))
    return tuple(found), tuple(failed)


def _techniques(module: str) -> list[Technique]:
    return [
        one
        for value in vars(import_module(module)).values()
        if callable(value) and (one := marks.of(value)) and one.function.startswith(f"{module}:")
    ]


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
        raise UsageError("; ".join([f"there is no technique {name!r}", hint, *broken()]))
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
    why = (
        f"{name} takes {_either(takes)}, and what it is given is {format_.value}: put a conversion before "
        "it, or leave it out"
    )
    raise UsageError("; ".join([why, *broken()]))


def _either(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
