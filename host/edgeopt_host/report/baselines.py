"""Named baselines, a line each, for people and programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.text import Text

from edgeopt_host._text import plain
from edgeopt_host.fingerprint import Fingerprint
from edgeopt_host.report import _cells
from edgeopt_host.report._console import Cell, grid, is_terminal, section, table, to_text
from edgeopt_host.run import Run
from edgeopt_host.store import Baseline

SCHEMA = "edgeopt.baselines/1"

Entry = tuple[Baseline, Run]


def render_json(entries: Sequence[Entry]) -> str:
    """The document `edgeopt.baselines/1`."""
    document = {"schema": SCHEMA, "baselines": [_entry(*entry) for entry in entries]}
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def render_list(entries: Sequence[Entry]) -> str:
    """One line per name and device."""
    columns = [("Name", "left"), ("Device", "left"), ("Run", "whole"), ("Set", "whole")]
    columns += [("Model", "left"), ("p50", "right"), ("Note", "wrap")]
    rows: list[list[Cell]] = [
        [
            plain(baseline.name),
            plain(baseline.device),
            baseline.run_id,
            baseline.time.strftime("%Y-%m-%d"),
            _cells.model(run),
            _cells.short_p50(run),
            plain(baseline.note),
        ]
        for baseline, run in entries
    ]
    return to_text(table(columns, rows, boxed=is_terminal()))


def render(entries: Sequence[Entry]) -> str:
    """What a name stands for, and what a run must have in common with it."""
    parts = []
    for baseline, run in entries:
        key = Fingerprint.of(run)
        start = run.state.temperature_c.start
        rows: list[tuple[str, Cell]] = [
            ("set", baseline.time.strftime("%Y-%m-%d %H:%M UTC")),
            ("note", plain(baseline.note) or _cells.NONE),
            ("model", f"{_cells.model(run)} {run.model.sha256[:12]}"),
            ("p50", _cells.p50(run)),
            ("p95", _cells.p95(run)),
            ("peak memory", _cells.peak(run)),
            ("bound to", ", ".join(f"{name} {plain(value)}" for name, value in key.key)),
            ("start at", _cells.NONE if start is None else f"{start:.0f} °C ± 10 °C"),
        ]
        title = f"{plain(baseline.name)} on {plain(baseline.device)}"
        parts += [section(title, f"run {baseline.run_id}", grid(rows)), Text("")]
    return to_text(*parts[:-1])


def _entry(baseline: Baseline, run: Run) -> dict[str, Any]:
    fingerprint = Fingerprint.of(run)
    return {
        "name": baseline.name,
        "device": baseline.device,
        "time": baseline.time.isoformat(),
        "note": baseline.note,
        "fingerprint": dict(fingerprint.key),
        "run": run.document(),
    }
