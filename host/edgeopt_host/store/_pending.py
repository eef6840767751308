"""Runs that devices were asked for: written before the device hears of them, gone once stored."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from edgeopt_host.run import Run
from edgeopt_host.store import _codec
from edgeopt_host.store.schema import PendingRow, RunRow

# Below every database's limit on variables in a statement.
_CHUNK = 500


@dataclass(frozen=True)
class PendingRun:
    """What a device owes for one benchmark: a run, or several that are measured in turns.

    Args:
        request_id: what the device knows it by.
        runs: as they were begun, one per subject, with the ids that they will be stored under.
        device: the device's name when it was asked.
        identity: of an enrolled device.
        owner: the process that takes care of it.
        benchmark: its name on the device, once that has answered.
        cancelled: whether nobody wants it any more.
        outputs: the file for its outputs.
    """

    request_id: str
    runs: list[Run]
    device: str
    identity: str | None
    owner: str
    benchmark: str | None = None
    cancelled: bool = False
    outputs: Path | None = None

    @property
    def run(self) -> Run:
        """The first of them, which stands for all."""
        return self.runs[0]


def new_request_id(run_id: str) -> str:
    """A request id that tells which run it is for."""
    return f"{run_id}-{secrets.token_hex(8)}"


def run_id_of(request_id: str) -> str:
    """The run that a request id is for, where this host made it."""
    return request_id.rpartition("-")[0]


def add(session: Session, pending: PendingRun) -> None:
    assert pending.run.id is not None  # noqa: S101 - given before the device is asked
    session.add(
        PendingRow(
            request_id=pending.request_id,
            run_id=pending.run.id,
            device=pending.device,
            identity=pending.identity,
            create_time=datetime.now(timezone.utc),
            benchmark=pending.benchmark,
            cancelled=pending.cancelled,
            owner=pending.owner,
            document=pending.run.document(),
            channels=_codec.channels(pending.run),
            further=[run.document() for run in pending.runs[1:]] or None,
            outputs=None if pending.outputs is None else os.fsencode(pending.outputs.absolute()),
        )
    )


def read(session: Session) -> list[PendingRun]:
    """All of them, the oldest first."""
    order = PendingRow.create_time, PendingRow.request_id
    return [
        PendingRun(
            row.request_id,
            [
                _codec.to_run(document, row.channels)
                for document in (row.document, *(row.further or []))
            ],
            row.device,
            row.identity,
            row.owner,
            row.benchmark,
            row.cancelled,
            None if row.outputs is None else Path(os.fsdecode(row.outputs)),
        )
        for row in session.scalars(select(PendingRow).order_by(*order))
    ]


def change(session: Session, request_id: str, **values: object) -> None:
    session.execute(update(PendingRow).where(PendingRow.request_id == request_id).values(**values))


def claim(session: Session, request_id: str, old: str, new: str) -> bool:
    """Makes it another owner's; False when somebody else was first."""
    mine = PendingRow.request_id == request_id, PendingRow.owner == old
    result = session.connection().execute(update(PendingRow).where(*mine).values(owner=new))
    return result.rowcount == 1


def remove(session: Session, request_id: str) -> None:
    session.execute(delete(PendingRow).where(PendingRow.request_id == request_id))


def stored(session: Session, run_ids: Sequence[str]) -> set[str]:
    """Those of these runs, each the first of its benchmark, that are stored and not pending."""
    found: set[str] = set()
    for start in range(0, len(run_ids), _CHUNK):
        part = run_ids[start : start + _CHUNK]
        found |= set(session.scalars(select(RunRow.id).where(RunRow.id.in_(part))))
        found -= set(session.scalars(select(PendingRow.run_id).where(PendingRow.run_id.in_(part))))
    return found
