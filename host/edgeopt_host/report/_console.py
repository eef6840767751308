"""A terminal, or a pipe, to lay text out for."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

# A pipe has no width: nothing is cut or wrapped for it.
_UNBOUNDED = 10_000
_NAME_WIDTH = 13
_NARROWEST = 10
# What a name or words should have, so that a person reads them with ease.
_READABLE = 20

Cell = str | Text


def to_text(*parts: RenderableType) -> str:
    """Lays out for stdout: colours on a terminal only (and never with NO_COLOR)."""
    text = io.StringIO()
    console = Console(
        file=text,
        force_terminal=is_terminal(),
        width=_width(),
        highlight=False,
        markup=False,
        emoji=False,
    )
    for part in parts:
        console.print(part)
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


def grid(rows: Iterable[tuple[str, Cell]]) -> RenderableType:
    """Names on the left, what they are on the right, wrapped there."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=_NAME_WIDTH, no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return Padding(table, (0, 0, 0, 2))


def table(
    columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[Cell]], *, boxed: bool
) -> RenderableType:
    """A table of (title, how) columns; those without content are left out.

    `how` is "right" for figures and "whole" for ids, which stay whole, "left" for names, which
    are cut where there is no room, or "wrap" for words.
    """
    filled = [list(row) for row in rows]
    kept = [i for i in range(len(columns)) if any(str(row[i]) for row in filled)]
    out = Table(
        box=box.SIMPLE_HEAD if boxed else None,
        padding=(0, 1) if boxed else (0, 2, 0, 0),
        pad_edge=False,
        show_edge=False,
        header_style="bold",
    )
    for i in kept:
        title, how = columns[i]
        widest = max(len(str(row[i])) for row in filled)
        out.add_column(
            title,
            justify="right" if how == "right" else "left",
            # rich takes the room from the columns that may wrap; a name is one word, and is cut.
            no_wrap=how in {"right", "whole"},
            overflow="fold" if how == "wrap" else "ellipsis",
            min_width=widest if how in {"right", "whole"} else min(widest, _NARROWEST),
        )
    for row in filled:
        out.add_row(*(row[i] for i in kept))
    return out


def fitting(
    columns: Sequence[tuple[str, str]],
    rows: Sequence[Sequence[Cell]],
    importance: Sequence[str],
    *,
    boxed: bool,
) -> list[int]:
    """Which columns of a table have room side by side, by their index.

    Args:
        columns: as `table` takes them.
        rows: as `table` takes them.
        importance: their titles, what is to be seen before all else first.
        boxed: as `table` takes it.
    """
    left = _width()
    kept: list[int] = []
    for title in importance:
        index = next(i for i, (name, _) in enumerate(columns) if name == title)
        widest = max((len(str(row[index])) for row in rows), default=0)
        if not widest:
            continue
        left -= max(len(title), min(widest, _READABLE)) + (3 if boxed else 2)
        # What matters most is shown in any case.
        if left < 0 and kept:
            break
        kept.append(index)
    return sorted(kept)


def _width() -> int:
    stdout = Console()
    bounded = stdout.is_terminal or os.environ.get("COLUMNS", "").isdigit()
    return stdout.width if bounded else _UNBOUNDED


def is_terminal() -> bool:
    return Console().is_terminal


def section(title: Cell, aside: str, *body: RenderableType) -> RenderableType:
    """A bold title with something dim behind it, and what belongs to it."""
    line = Text(style="bold")
    line.append(title) if isinstance(title, str) else line.append_text(title)
    if aside:
        line.append(f"   {aside}", style="not bold dim")
    return Group(line, *body)
