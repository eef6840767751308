"""Runs for a person: every figure of each, and a comparison below when there are several."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from edgeopt_host._text import plain
from edgeopt_host.report import _cells, sustained
from edgeopt_host.report._console import Cell, fitting, is_terminal, section, table, to_text
from edgeopt_host.report._details import facts, operators
from edgeopt_host.run import Run

_Column = tuple[str, str, Callable[[Run], str]]

_COMPARISON: tuple[_Column, ...] = (
    ("Model", "left", _cells.model),
    ("Device", "left", _cells.device),
    ("p50", "right", _cells.short_p50),
    ("p95", "right", _cells.p95),
    ("Per s", "right", lambda run: _cells.throughput(run).removesuffix("/s")),
    ("Peak", "right", _cells.peak),
    ("Notes", "wrap", _cells.notes),
)
_LIST: tuple[_Column, ...] = (
    ("Run", "whole", lambda run: plain(run.id or "not stored")),
    ("UTC", "whole", _cells.time),
    ("Model", "left", _cells.model),
    ("Device", "left", _cells.device),
    ("p50", "right", _cells.only_p50),
    ("Notes", "wrap", _cells.notes),
)

# What is left out last where there is little room.
_IMPORTANCE = ("Run", "Model", "p50", "Notes", "Device", "p95", "Per s", "Peak", "UTC")


def render(runs: Sequence[Run]) -> str:
    """Each run's figures; for several runs, then one line each to compare them by."""
    parts: list[RenderableType] = []
    for run in runs:
        parts += [_details(run), Text("")]
    if len(runs) > 1:
        # Last, so that it stands above the prompt when the details have scrolled away.
        parts.append(_table(_varying(runs), runs))
    else:
        del parts[-1:]
    return to_text(*parts)


def render_list(runs: Sequence[Run]) -> str:
    """One line per run, with its id."""
    return to_text(_table(_LIST, runs))


def render_stored(run: Run) -> str:
    """A stored run's figures, and how it came about."""
    return to_text(_details(run, stored=True))


def _details(run: Run, *, stored: bool = False) -> RenderableType:
    title = Text(f"{_cells.model(run)} on {_cells.device(run)}")
    body = [facts(run, stored=stored)]
    if run.sustained:
        body.append(Padding(sustained.Curve(run.sustained), (0, 0, 0, 2)))
    if run.profile:
        body.append(operators(run.profile))
    return section(title, f"run {plain(run.id)}" if run.id else "", *body)


def _varying(runs: Sequence[Run]) -> Sequence[_Column]:
    """Without the column that would say the same on every line."""
    if len({(run.model.name, run.model.sha256) for run in runs}) == 1:
        return _COMPARISON[1:]
    if len({run.device.name for run in runs}) == 1:
        return _COMPARISON[:1] + _COMPARISON[2:]
    return _COMPARISON


def _table(columns: Sequence[_Column], runs: Sequence[Run]) -> RenderableType:
    rows = [[_styled(title, cell(run), run) for title, _, cell in columns] for run in runs]
    titles = [(title, side) for title, side, _ in columns]
    important = [title for title in _IMPORTANCE if title in dict(titles)]
    kept = fitting(titles, rows, important, boxed=is_terminal())
    return table(
        [titles[i] for i in kept], [[row[i] for i in kept] for row in rows], boxed=is_terminal()
    )


def _styled(title: str, text: str, run: Run) -> Cell:
    if title != "Notes":
        return text
    return Text.assemble((text, "red" if run.error else "yellow"))
