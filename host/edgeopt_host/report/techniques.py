"""Techniques of optimization, a line each or one with all it has to say, for people and programs."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from edgeopt_host.optimize.technique import Parameter, Technique
from edgeopt_host.report._console import Cell, fitting, grid, is_terminal, section, table, to_text

SCHEMA = "edgeopt.techniques/1"
_COLUMNS = [("Technique", "whole"), ("Takes", "left"), ("Gives", "left"), ("Needs", "left")]
_COLUMNS += [("Uses if there", "left"), ("What it does", "wrap")]
_IMPORTANCE = ("Technique", "Takes", "Gives", "Needs", "What it does", "Uses if there")
_PARAMETERS = [("Parameter", "whole"), ("Value", "left"), ("Default", "left"), ("Meaning", "wrap")]


def document(techniques: Sequence[Technique]) -> dict[str, Any]:
    """The document `edgeopt.techniques/1`."""
    return {"schema": SCHEMA, "techniques": [_entry(one) for one in techniques]}


def render_json(techniques: Sequence[Technique]) -> str:
    """The same as text."""
    text = json.dumps(document(techniques), indent=2, allow_nan=False, ensure_ascii=False)
    return text + "\n"


def render(techniques: Sequence[Technique]) -> str:
    """A line per technique and kind of model."""
    rows: list[list[Cell]] = [
        [one.name, ", ".join(takes(one)), one.gives.value, needs(one), uses(one), one.summary]
        for one in techniques
    ]
    kept = fitting(_COLUMNS, rows, _IMPORTANCE, boxed=is_terminal())
    columns = [_COLUMNS[i] for i in kept]
    cells = [[row[i] for i in kept] for row in rows]
    return to_text(table(columns, cells, boxed=is_terminal()))


def render_one(techniques: Sequence[Technique]) -> str:
    """All that is to be known of those of one name: what they do, need and can be told."""
    parts: list[RenderableType] = []
    for one in techniques:
        title = f"{one.name}   {', '.join(takes(one))} → {one.gives.value}"
        body = [Padding(Text(text), (0, 0, 0, 2)) for text in (one.summary, *_more(one))]
        parts += [section(title, "", *body, Text(""), grid(list(_facts(one)))), Text("")]
        if one.parameters:
            rows = [[p.name, value(p), default(p), p.doc] for p in one.parameters]
            shown = table(_PARAMETERS, rows, boxed=is_terminal())
            parts += [Padding(shown, (0, 0, 0, 2)), Text("")]
    return to_text(*parts[:-1])


def takes(technique: Technique) -> list[str]:
    """Formats, as recipes and histories call them."""
    return sorted(one.value for one in technique.takes)


def needs(technique: Technique) -> str:
    """The data without which it does not start: "calibration, validation with labels"."""
    text = ", ".join(technique.needed_splits)
    return f"{text} with labels" if text and technique.labels else text


def uses(technique: Technique) -> str:
    """The data that it uses where there are any."""
    return ", ".join(one for one in technique.splits if one not in technique.needed_splits)


def value(parameter: Parameter) -> str:
    """What a parameter may be: "int8 | uint8 | float", "int", "list of str"."""
    kind = " | ".join(map(str, parameter.choices)) or parameter.kind.__name__
    return f"list of {kind}" if parameter.many else kind


def default(parameter: Parameter) -> str:
    """The default as in a recipe; "required" when there is none."""
    if parameter.required:
        return "required"
    given = parameter.default
    if given is None:
        return "none"
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, (tuple, list)):
        return ", ".join(map(str, given)) or "none"
    return str(given)


def _facts(technique: Technique) -> Iterator[tuple[str, Cell]]:
    yield "Needs data", needs(technique) or "none"
    yield "Uses if there", uses(technique) or "none"
    libraries = []
    for name, version in _libraries(technique).items():
        libraries.append(f"{name} {version}" if version else f"{name} (not installed)")
    yield "Libraries", ", ".join(libraries) or "none"
    again = "the same input and seed give the same bytes"
    yield "Made again", again if technique.deterministic else "may give other bytes"
    yield "In Python", technique.function.replace(":", ".")


def _libraries(technique: Technique) -> dict[str, str | None]:
    """Versions by name; None of what is not installed."""
    return {name: _version(name) for name in sorted(technique.libraries)}


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def _more(technique: Technique) -> list[str]:
    """What its documentation says after the first line, a text per paragraph."""
    from docstring_parser import DocstringStyle, parse

    told = parse(inspect.getdoc(technique.load()) or "", DocstringStyle.GOOGLE)
    paragraphs = (told.long_description or "").split("\n\n")
    return [" ".join(one.split()) for one in paragraphs if one.strip()]


def _entry(technique: Technique) -> dict[str, Any]:
    return {
        "name": technique.name,
        "takes": takes(technique),
        "gives": technique.gives.value,
        "summary": technique.summary,
        "description": "\n\n".join(_more(technique)),
        "data": list(technique.splits),
        "needed": list(technique.needed_splits),
        "labels": technique.labels,
        "libraries": _libraries(technique),
        "deterministic": technique.deterministic,
        "function": technique.function,
        "parameters": [
            {
                "name": one.name,
                "type": one.kind.__name__,
                "many": one.many,
                "required": one.required,
                "default": list(one.default) if isinstance(one.default, tuple) else one.default,
                "choices": list(one.choices),
                "doc": one.doc,
            }
            for one in technique.parameters
        ],
    }
