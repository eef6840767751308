"""The devices of a bench, a line each, for people and programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from edgeopt_host._text import plain
from edgeopt_host.report import status
from edgeopt_host.report._console import Cell, fitting, is_terminal, table, to_text
from edgeopt_host.report.device import Answer, entry

SCHEMA = "edgeopt.devices/1"
_IMPORTANCE = (
    "Device",
    "Doing",
    "Trouble",
    "Address",
    "Runtimes",
    "Board",
    "Tags",
    "Enrolled",
    "Agent",
)


def document(answers: Sequence[Answer]) -> dict[str, Any]:
    """The document `edgeopt.devices/1`."""
    return {"schema": SCHEMA, "devices": [entry(answer) for answer in answers]}


def render(answers: Sequence[Answer]) -> str:
    """One line per device; a narrow terminal gets the columns that matter most."""
    columns = [(title, "left") for title in ("Device", "Address", "Tags", "Enrolled")]
    columns += [("Agent", "left"), ("Board", "left"), ("Runtimes", "wrap")]
    columns += [("Doing", "wrap"), ("Trouble", "wrap")]
    rows = [_row(answer) for answer in answers]
    boxed = is_terminal()
    kept = fitting(columns, rows, _IMPORTANCE, boxed=boxed)
    columns = [columns[i] for i in kept]
    return to_text(table(columns, [[row[i] for i in kept] for row in rows], boxed=boxed))


def _row(answer: Answer) -> list[Cell]:
    device, facts = answer.device, answer.facts
    row: list[Cell] = [device.name, plain(device.address) or "built in", " ".join(device.tags)]
    row.append(status.enrolled(device))
    if facts is None:
        # What to do about it is for `device info` to say.
        trouble = plain(answer.error[1]).partition(";")[0] if answer.error else ""
        busy = answer.error is not None and answer.error[0] == "BUSY"
        return [*row, "", "", "", "busy" if busy else "", Text.assemble((trouble, "red"))]
    works = [plain(r.name) for r in facts.runtimes if not r.unavailable_reason]
    board = plain(facts.board.model) or plain(facts.cpu.model) or "unknown"
    board += " (emulated)" if facts.emulated else ""
    doing = "" if answer.status is None else plain(status.doing(answer.status))
    trouble = "; ".join(map(plain, status.troubles(facts, answer.status)))
    row += [plain(facts.agent_version), board, " ".join(works) or "none", doing]
    return [*row, Text.assemble((trouble, "yellow"))]
