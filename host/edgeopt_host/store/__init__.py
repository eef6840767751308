"""Where results stay: every run whole, so that any later statistic can be computed from it.

with RunStore.open() as store:
    store.add(run)
    newest = store.list(device="pi4", limit=10)
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import ColumnElement, Engine, Select, delete, exists, func, select, tuple_
from sqlalchemy.exc import IntegrityError, NoResultFound
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from edgeopt_host.errors import StoreError, UsageError
from edgeopt_host.run import Run
from edgeopt_host.store import _baselines, _codec, _pending
from edgeopt_host.store._baselines import Baseline
from edgeopt_host.store._engine import explained, find_url, open_engine, release_space
from edgeopt_host.store._ids import id_range, new_id
from edgeopt_host.store._pending import PendingRun, new_request_id, run_id_of
from edgeopt_host.store.schema import DocumentRow, LabelRow, LaunchRow, RunRow, TraceRow

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Baseline", "PendingRun", "RunStore", "new_id", "new_request_id", "run_id_of"]

# Inside the class, `list` is its method.
_Runs: TypeAlias = list[Run]
_Ids: TypeAlias = list[str]
_Baselines: TypeAlias = list[Baseline]
_Order: TypeAlias = tuple[InstrumentedAttribute[datetime], InstrumentedAttribute[str]]

_CANDIDATES = 5
_SHORTEST_DIGEST = 8
# Below every database's limit on variables in a statement.
_CHUNK = 500


class RunStore:
    """The runs of a bench in one database. Several processes may use it at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str | None = None, *, timeout_s: float = 30.0) -> RunStore:
        """Opens the database, and makes it or brings it up to date where needed.

        Without `url` it is `EDGEOPT_DATABASE_URL`, else data_dir()/edgeopt.db.
        `timeout_s` is how long to wait for another process that is writing.

        Raises:
            UsageError: when the URL is malformed or names something else than SQLite.
            StoreError: when it cannot be opened, is damaged, or is from a newer edgeopt.
        """
        return cls(open_engine(find_url(url), timeout_s))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._engine.dispose()

    def add(self, run: Run) -> None:
        """Keeps a run with all its samples: whole, or not at all.

        Raises:
            StoreError: when a run of this id is there already, or it cannot be written.
        """
        with explained(self._engine.url), Session(self._engine) as session:
            self._add(session, run)
            session.commit()

    def begin(self, pending: PendingRun) -> None:
        """Keeps that a device is about to be asked for a run.

        Raises:
            StoreError: when it cannot be written: the device must then not be asked.
        """
        with self._writing() as session:
            _pending.add(session, pending)

    def created(self, request_id: str, benchmark: str) -> None:
        """Keeps that the device has taken the request, and what it calls the benchmark."""
        with self._writing() as session:
            _pending.change(session, request_id, benchmark=benchmark)

    def cancelled(self, request_id: str) -> None:
        """Keeps that nobody wants a run any more that its device could not be told about."""
        with self._writing() as session:
            _pending.change(session, request_id, cancelled=True)

    def claim(self, pending: PendingRun, owner: str) -> bool:
        """Takes a pending run over; False when it is another's by now, or is no more."""
        with self._writing() as session:
            return _pending.claim(session, pending.request_id, pending.owner, owner)

    def finish(self, pending: PendingRun) -> None:
        """Keeps the runs that were pending; they are pending until all of them are kept.

        Raises:
            StoreError: when a run of this id is there already, or it cannot be written.
        """
        with explained(self._engine.url), Session(self._engine) as session:
            _pending.remove(session, pending.request_id)
            for run in pending.runs:
                self._add(session, run)
            session.commit()

    def drop(self, request_id: str) -> None:
        """Forgets a pending run, of which nothing is to be kept."""
        with self._writing() as session:
            _pending.remove(session, request_id)

    def pending(self) -> list[PendingRun]:
        """Runs that devices owe, the oldest first; those of living processes among them.

        Raises:
            StoreError: when the database cannot be read.
        """
        with explained(self._engine.url), Session(self._engine) as session:
            return _pending.read(session)

    def stored(self, run_ids: Iterable[str]) -> set[str]:
        """Those of these runs that are stored, and not pending."""
        with explained(self._engine.url), Session(self._engine) as session:
            return _pending.stored(session, list(run_ids))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Session]:
        with explained(self._engine.url), Session(self._engine) as session:
            yield session
            session.commit()

    def _add(self, session: Session, run: Run) -> None:
        rows = _codec.to_rows(run)
        try:
            session.add(rows[0])
            session.flush()
        except IntegrityError as error:
            raise StoreError(f"a run {run.id} is stored already") from error
        session.add_all(rows[1:])

    def get(self, run_id: str, *, samples: bool = False) -> Run:
        """The run of this id, or whose id alone begins with it; its launches with `samples`.

        Raises:
            UsageError: when no run has it, or several do; names candidates.
            StoreError: when the database cannot be read.
        """
        with explained(self._engine.url), Session(self._engine) as session:
            found = self._resolve(session, run_id)
            query = select(DocumentRow.document, DocumentRow.channels)
            document, channels = session.execute(query.where(DocumentRow.run_id == found)).one()
            run = _codec.to_run(document, channels)
            if samples:
                launches = select(LaunchRow).where(LaunchRow.run_id == found)
                run.launches = [
                    _codec.to_launch(row)
                    for row in session.scalars(launches.order_by(LaunchRow.position))
                ]
                for trace in session.scalars(select(TraceRow).where(TraceRow.run_id == found)):
                    _codec.add_trace(run, trace)
            return run

    def resolve(self, prefixes: Iterable[str]) -> _Ids:
        """The ids that these ids or unique beginnings of ids stand for, each once.

        Raises:
            UsageError: when no run has one, or several do; names candidates.
        """
        with explained(self._engine.url), Session(self._engine) as session:
            return list(dict.fromkeys(self._resolve(session, prefix) for prefix in prefixes))

    def list(
        self,
        *,
        device: str | None = None,
        model: str | None = None,
        labels: Mapping[str, str] | None = None,
        limit: int | None = 50,
        before: str | None = None,
    ) -> _Runs:
        """Runs without their launches, the newest first.

        Args:
            device: of this device only.
            model: of the model with this name, or whose sha256 begins with it (8 digits or more).
            labels: that carry all of these.
            limit: at most this many; None for all.
            before: that come after this run (an id) in the list: the next page.

        Raises:
            UsageError: when there is no run `before`.
            StoreError: when the database cannot be read.
        """
        with explained(self._engine.url), Session(self._engine) as session:
            query, order = _filtered(session, device, model, dict(labels or {}))
            if before is not None:
                last = session.get_one(RunRow, self._resolve(session, before))
                query = query.where(tuple_(*order) < (last.time, last.id))
            query = query.order_by(*(column.desc() for column in order))
            rows = session.execute(query.limit(limit))
            return [_codec.to_run(document, channels) for document, channels in rows]

    def delete(self, ids: Iterable[str]) -> int:
        """Deletes runs by whole id, with all they hold; tells how many there were.

        Raises:
            UsageError: when a baseline's name stands for one of them; none is then deleted.
            StoreError: when the database cannot be written; none is then deleted.
        """
        ids = list(ids)
        with explained(self._engine.url):
            with Session(self._engine) as session, session.begin():
                _baselines.refuse_named(session, ids)
                connection = session.connection()
                count = sum(
                    connection.execute(
                        delete(RunRow).where(RunRow.id.in_(ids[i : i + _CHUNK]))
                    ).rowcount
                    for i in range(0, len(ids), _CHUNK)
                )
            release_space(self._engine)
        return count

    def set_baseline(self, name: str, run: Run, note: str = "") -> Baseline:
        """Lets a name stand for a stored run, on the device that it was measured on.

        Raises:
            StoreError: when the run is not stored, or the database cannot be written.
        """
        try:
            with self._writing() as session:
                return _baselines.put(session, name, str(run.id), note)
        except NoResultFound:
            raise StoreError(f"run {run.id} is not stored, so it can be no baseline") from None

    def baselines(self, name: str | None = None, device: str | None = None) -> _Baselines:
        """What names stand for, by name and device; of this name and on this device only."""
        with explained(self._engine.url), Session(self._engine) as session:
            return _baselines.read(session, name, device)

    def drop_baseline(self, name: str, device: str | None = None) -> _Baselines:
        """Forgets a name, on one device or all; tells what it stood for. The runs stay."""
        with self._writing() as session:
            return _baselines.remove(session, name, device)

    def _resolve(self, session: Session, prefix: str) -> str:
        prefix = prefix.strip().lower()
        if not prefix:
            raise UsageError("an empty text is no run id: `edgeopt-host runs list` shows them")
        if session.scalar(select(RunRow.id).where(RunRow.id == prefix)):
            return prefix
        first, last = id_range(prefix)
        query = select(RunRow.id).where(RunRow.id.between(first, last)).order_by(RunRow.id.desc())
        found = session.scalars(query.limit(_CANDIDATES + 1)).all()
        if len(found) == 1:
            return found[0]
        if found:
            more = ", …" if len(found) > _CANDIDATES else ""
            raise UsageError(
                f"several runs begin with {prefix!r}: {', '.join(found[:_CANDIDATES])}{more}; "
                f"write more of the id"
            )
        newest = select(RunRow.id).order_by(RunRow.time.desc(), RunRow.id.desc()).limit(1000)
        near = difflib.get_close_matches(prefix, session.scalars(newest).all(), n=3, cutoff=0.7)
        hint = (
            f"did you mean {' or '.join(near)}" if near else "`edgeopt-host runs list` shows them"
        )
        raise UsageError(f"no stored run has the id {prefix!r}: {hint}")


def _filtered(
    session: Session, device: str | None, model: str | None, labels: dict[str, str]
) -> tuple[Select[tuple[dict[str, Any], dict[str, str]]], _Order]:
    """A query for documents, and the columns whose descent is "newest first".

    Each way in walks one index in the order of the list, so that a page costs what a page holds.
    """
    query = select(DocumentRow.document, DocumentRow.channels)
    query = query.join(RunRow, RunRow.id == DocumentRow.run_id)
    order: _Order = (RunRow.time, RunRow.id)
    if device is not None:
        query = query.where(RunRow.device == device)
    if model is not None:
        query = query.where(_is_model(session, model))
    if labels and device is None and model is None:
        # The label's own index is in order too; a rare label among a million runs is found at once.
        key, value = labels.popitem()
        query = query.join(LabelRow, LabelRow.run_id == RunRow.id)
        query = query.where(LabelRow.key == key, LabelRow.value == value)
        order = (LabelRow.time, LabelRow.run_id)
    for key, value in labels.items():
        other = aliased(LabelRow)
        query = query.where(
            exists().where(other.run_id == RunRow.id, other.key == key, other.value == value)
        )
    return query, order


def _is_model(session: Session, model: str) -> ColumnElement[bool]:
    named = RunRow.model_name == model
    start = model.lower()
    if len(start) < _SHORTEST_DIGEST or set(start) - set("0123456789abcdef"):
        return named
    if session.scalar(select(RunRow.id).where(named).limit(1)):
        return named
    digest = RunRow.model_sha256
    within = digest.between(start, start.ljust(64, "f"))
    first, last = session.execute(select(func.min(digest), func.max(digest)).where(within)).one()
    return digest == first if first == last else within
