"""Reports as one HTML file each, which opens without a network, on a phone and in dark mode.

Everything is inside: style, plots as SVG, no script. Text from elsewhere, such as a model's name, is
escaped by the templates, and a content security policy forbids whatever would get past that.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgeopt_host._text import plain
from edgeopt_host.compare import Comparison
from edgeopt_host.report.html import _optimize, _views
from edgeopt_host.run import Run

if TYPE_CHECKING:
    from jinja2 import Environment

    from edgeopt_host.gate.result import GateResult

__all__ = ["compare", "gate", "optimize", "run"]


def gate(result: GateResult) -> str:
    """What a gate decided, on what grounds, and what it was measured on."""
    return _render("gate", _views.gate(result))


def compare(comparison: Comparison) -> str:
    """How models differ from the first, on each device."""
    return _render("compare", _views.compare(comparison))


def run(measured: Run) -> str:
    """One run with its launches: its figures, their distribution, and how they went over time."""
    return _render("run", _views.run(measured))


def optimize(history: Mapping[str, Any]) -> str:
    """What each step of an optimization did to size, accuracy and speed, and how it was made.

    Args:
        history: the document `edgeopt.history/1`; what is null or missing in it was not measured.
    """
    return _render("optimize", _optimize.view(history))


def _render(page: str, content: dict[str, Any]) -> str:
    return _environment().get_template(f"{page}.html.jinja").render(content)


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__name__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Of what a file's name may hold, UTF-8 cannot hold all; nor are controls for a browser.
        finalize=lambda value: _printable(value) if isinstance(value, str) else value,
    )
    environment.filters["sentence"] = lambda text: text[:1].upper() + text[1:]
    return environment


def _printable(text: str) -> str:
    clean = plain(text).encode("utf-8", "backslashreplace").decode()
    # A subclass of str is markup that was made here.
    return clean if type(text) is str else text
