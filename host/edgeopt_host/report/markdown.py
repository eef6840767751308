"""A table for a pull request."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgeopt_host.report import _cells
from edgeopt_host.run import Run

_COLUMNS = (
    ("Model", _cells.model, "---"),
    ("Device", _cells.device, "---"),
    ("p50 [95 %]", _cells.p50, "--:"),
    ("p95", _cells.p95, "--:"),
    ("p99", _cells.p99, "--:"),
    ("Throughput", _cells.throughput, "--:"),
    ("Load", _cells.load, "--:"),
    ("Peak memory", _cells.peak, "--:"),
    ("Size", _cells.model_size, "--:"),
    ("Energy", _cells.energy, "--:"),
    ("Executed by", _cells.executed, "---"),
    ("Notes", _cells.notes, "---"),
)


def render(runs: Sequence[Run]) -> str:
    """A GitHub table, one row per run; a failed run shows its reason under Notes."""
    lines = [
        [title for title, _, _ in _COLUMNS],
        [rule for _, _, rule in _COLUMNS],
        *([escape(cell(run)) for _, cell, _ in _COLUMNS] for run in runs),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def escape(text: str) -> str:
    """Text in a table, without markup of its own."""
    # What a name could hold must not become markup, a mention or a link of the pull request.
    text = re.sub(r"[\\`*_{}\[\]<>#|~!&$]", lambda m: f"\\{m[0]}", " ".join(text.split()))
    return text.replace("@", "@\u200b")
