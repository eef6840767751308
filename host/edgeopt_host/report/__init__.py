"""Runs as people and programs read them. A new format is a module beside these and a line here."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from edgeopt_host.run import Run

__all__ = ["FORMATS", "render"]

# Format → a function of runs to text; imported when used, so that rich is.
FORMATS = {
    "csv": "edgeopt_host.report.csv:render",
    "json": "edgeopt_host.report.json:render",
    "markdown": "edgeopt_host.report.markdown:render",
    "table": "edgeopt_host.report.table:render",
}


def render(runs: Sequence[Run], format: str) -> str:  # noqa: A002 - the option's name
    """Runs in one of FORMATS, ending with a newline.

    Raises:
        KeyError: when there is no such format.
    """
    module, _, function = FORMATS[format].partition(":")
    text: str = getattr(import_module(module), function)(runs)
    return text
