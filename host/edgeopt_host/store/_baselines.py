"""Names that stand for runs, one run per device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from edgeopt_host.errors import UsageError
from edgeopt_host.store.schema import BaselineRow, RunRow

# Below every database's limit on variables in a statement.
_CHUNK = 500


@dataclass(frozen=True)
class Baseline:
    """What a name stands for on one device.

    Args:
        name: given by the user.
        device: the device's name.
        run_id: the run.
        time: when it was set, in UTC.
        note: the user's words; may be empty.
    """

    name: str
    device: str
    run_id: str
    time: datetime
    note: str


def put(session: Session, name: str, run_id: str, note: str) -> Baseline:
    """Lets a name stand for a stored run on the device that it was measured on."""
    device = session.get_one(RunRow, run_id).device
    now = datetime.now(timezone.utc).replace(microsecond=0)
    row = BaselineRow(name=name, device=device, run_id=run_id, time=now, note=note)
    session.merge(row)
    return _read(row)


def read(session: Session, name: str | None, device: str | None) -> list[Baseline]:
    """Those of this name and device, by name and device."""
    order = BaselineRow.name, BaselineRow.device
    query = select(BaselineRow).where(*_which(name, device)).order_by(*order)
    return [_read(row) for row in session.scalars(query)]


def remove(session: Session, name: str, device: str | None) -> list[Baseline]:
    """Forgets a name, on one device or all; its runs stay. Tells what it stood for."""
    found = read(session, name, device)
    session.execute(delete(BaselineRow).where(*_which(name, device)))
    return found


def refuse_named(session: Session, run_ids: Sequence[str]) -> None:
    """Raises: UsageError when a name stands for one of these runs."""
    for start in range(0, len(run_ids), _CHUNK):
        within = BaselineRow.run_id.in_(run_ids[start : start + _CHUNK])
        row = session.scalar(select(BaselineRow).where(within).order_by(BaselineRow.name).limit(1))
        if row is not None:
            raise UsageError(
                f"run {row.run_id} is the baseline {row.name!r} of {row.device}, so nothing was "
                f"deleted: edgeopt-host baseline delete {row.name} --device {row.device}"
            )


def _which(name: str | None, device: str | None) -> list[ColumnElement[bool]]:
    given = (BaselineRow.name, name), (BaselineRow.device, device)
    return [column == value for column, value in given if value is not None]


def _read(row: BaselineRow) -> Baseline:
    return Baseline(row.name, row.device, row.run_id, row.time, row.note)
