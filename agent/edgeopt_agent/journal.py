"""What must survive the agent: benchmarks, their events and the lease, in one SQLite file.

    agent.db        write-ahead log: a kill at any moment leaves what was committed, whole

A benchmark and its events stay until a host has acknowledged them. After that its request id and
its end stay for a while, so that a repeated request does not run it again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from edgeopt.agent.v1 import agent_pb2, benchmark_pb2
from edgeopt_agent.errors import StorageError

# Raised with every change of the tables; a file of a newer agent is left alone.
_VERSION = 1
_TABLES = """
create table benchmarks (
    arrival integer primary key autoincrement,
    name text not null unique,
    request_id text not null unique,
    benchmark blob not null,
    crashes integer not null default 0,
    last_sequence integer not null default 0,
    outputs text not null default ''
);
create table events (
    arrival integer not null references benchmarks (arrival) on delete cascade,
    sequence integer not null,
    response blob not null,
    primary key (arrival, sequence)
) without rowid;
create table acknowledged (
    number integer primary key autoincrement,
    request_id text not null unique,
    benchmark blob not null
);
create table lease (
    only integer primary key check (only = 1),
    fencing_number integer not null,
    request_id text not null,
    holder text not null,
    purpose text not null,
    acquire_time_ns integer not null,
    term_ns integer not null,
    expire_time_ns integer not null,
    after_arrival integer not null
);
"""
Response = agent_pb2.WatchBenchmarkResponse

ENDED = frozenset(
    {
        benchmark_pb2.Benchmark.STATE_SUCCEEDED,
        benchmark_pb2.Benchmark.STATE_FAILED,
        benchmark_pb2.Benchmark.STATE_CANCELLED,
    }
)
_KEPT_ACKNOWLEDGED = 10_000
_BUSY_S = 5.0


@dataclass
class Entry:
    """A benchmark as it is kept."""

    arrival: int
    benchmark: benchmark_pb2.Benchmark
    # How often the agent died while it ran.
    crashes: int = 0
    last_sequence: int = 0
    # SHA-256 of the blobs that came out of it, separated by blanks: they stay for as long as the
    # benchmark does.
    outputs: str = ""


@dataclass(frozen=True)
class LeaseRecord:
    """A lease as it is kept; one that has ended has a term of 0. Times are the wall clock's."""

    fencing_number: int
    request_id: str
    holder: str
    purpose: str
    acquire_time_ns: int
    term_ns: int
    expire_time_ns: int
    # Benchmarks that arrived up to here run before it.
    after_arrival: int


class Journal:
    """The file `agent.db` below `folder`. Calls may come from several threads."""

    def __init__(self, folder: Path) -> None:
        """Opens the file, or makes it.

        Raises:
            StorageError: STATE_TOO_NEW, STATE_READ_ONLY, STORAGE_FULL or STATE_UNUSABLE.
        """
        self._path = folder / "agent.db"
        self._lock = threading.Lock()
        with _explained(self._path):
            try:
                self._database = self._open()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                # No database any more, whatever did that. It is kept for whoever can read it.
                for part in self._path.parent.glob("agent.db*"):
                    part.replace(part.with_name(f"damaged-{time.time_ns()}-{part.name}"))
                self._database = self._open()

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(
            self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            self._refuse_newer(database)
            database.execute("pragma auto_vacuum = full")
            database.execute("pragma journal_mode = wal")
            # A commit is on the disk when it returns: also a power cut loses nothing.
            database.execute("pragma synchronous = full")
            database.execute("pragma foreign_keys = on")
            database.execute("pragma cache_size = -256")
            database.execute("pragma journal_size_limit = 1048576")
            # Reads every page of the small tables, and finds what is damaged there.
            if _version(database):
                database.execute(
                    "select count(request_id), max(length(benchmark)) from benchmarks"
                ).fetchone()
            else:
                database.executescript(
                    f"begin; {_TABLES} pragma user_version = {_VERSION}; commit;"
                )
        except BaseException:
            database.close()
            raise
        return database

    def _refuse_newer(self, database: sqlite3.Connection) -> None:
        version = _version(database)
        if version > _VERSION:
            raise StorageError(
                "STATE_TOO_NEW",
                f"{self._path} is from a newer agent (version {version}, this one knows {_VERSION}): "
                "update edgeopt on this device",
            )

    def close(self) -> None:
        self._database.close()

    def full(self) -> StorageError:
        """What to say when the disk that this lies on is full."""
        return _full(self._path)

    def load(self) -> list[Entry]:
        """Every benchmark that is kept, in arrival order; one that is damaged has failed."""
        with self._transaction() as database:
            rows = database.execute(
                "select arrival, name, request_id, benchmark, crashes, last_sequence, outputs "
                "from benchmarks order by arrival"
            ).fetchall()
            return [_entry(database, *row) for row in rows]

    def add(self, benchmark: benchmark_pb2.Benchmark, response: Response) -> Entry:
        """Keeps a new benchmark with its first event."""
        with self._transaction() as database:
            cursor = database.execute(
                "insert into benchmarks (name, request_id, benchmark, last_sequence) "
                "values (?, ?, ?, 0)",
                (benchmark.name, benchmark.request_id, benchmark.SerializeToString()),
            )
            assert cursor.lastrowid is not None  # noqa: S101 - an insert has one
            entry = Entry(cursor.lastrowid, benchmark)
            _write(database, entry, [response], benchmark)
            return entry

    def append(
        self,
        entry: Entry,
        responses: Iterable[Response],
        benchmark: benchmark_pb2.Benchmark | None = None,
    ) -> bool:
        """Numbers events and keeps them, and what the benchmark becomes: all or nothing.

        An end is final: afterwards nothing is kept, and the answer is False.
        """
        with self._transaction() as database:
            if entry.benchmark.state in ENDED:
                return False
            _write(database, entry, responses, benchmark or entry.benchmark)
        return True

    def event(self, entry: Entry, after: int) -> Response | None:
        """The next event after a sequence number, if it has come."""
        with self._transaction() as database:
            row = database.execute(
                "select response from events where arrival = ? and sequence > ? order by sequence limit 1",
                (entry.arrival, after),
            ).fetchone()
        return row and Response.FromString(row[0])

    def acknowledge(self, entry: Entry) -> None:
        """Forgets a benchmark but for how it ended."""
        end = benchmark_pb2.Benchmark()
        end.CopyFrom(entry.benchmark)
        end.ClearField("subjects")
        with self._transaction() as database:
            database.execute(
                "insert or replace into acknowledged (request_id, benchmark) values (?, ?)",
                (end.request_id, end.SerializeToString()),
            )
            database.execute("delete from benchmarks where arrival = ?", (entry.arrival,))
            database.execute(
                "delete from acknowledged where number <= "
                "(select max(number) from acknowledged) - ?",
                (_KEPT_ACKNOWLEDGED,),
            )

    def acknowledged(self, request_id: str) -> benchmark_pb2.Benchmark | None:
        """How the benchmark of a request ended that was acknowledged."""
        with self._transaction() as database:
            row = database.execute(
                "select benchmark from acknowledged where request_id = ?", (request_id,)
            ).fetchone()
        return row and benchmark_pb2.Benchmark.FromString(row[0])

    def lease(self) -> LeaseRecord | None:
        """The last lease there was."""
        with self._transaction() as database:
            row = database.execute(
                "select fencing_number, request_id, holder, purpose, acquire_time_ns, term_ns, "
                "expire_time_ns, after_arrival from lease"
            ).fetchone()
        return row and LeaseRecord(*row)

    def keep_lease(
        self,
        lease: LeaseRecord,
        ended: Iterable[tuple[Entry, benchmark_pb2.Benchmark, Response]] = (),
    ) -> None:
        """Keeps a lease, and what benchmarks become with it: all or nothing."""
        ended = [end for end in ended if end[0].benchmark.state not in ENDED]
        with self._transaction() as database:
            database.execute(
                "insert or replace into lease values (1, ?, ?, ?, ?, ?, ?, ?, ?)",
                dataclasses.astuple(lease),
            )
            for entry, benchmark, response in ended:
                _write(database, entry, [response], benchmark)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[_Transaction]:
        with self._lock, _explained(self._path):
            self._database.execute("begin")
            try:
                transaction = _Transaction(self._database)
                yield transaction
                self._database.execute("commit")
                # Readers wait for the lock: until here nobody has seen any of it.
                transaction.publish()
            except BaseException:
                # SQLite has rolled back by itself when the disk was full.
                with contextlib.suppress(sqlite3.Error):
                    self._database.execute("rollback")
                raise


class _Transaction:
    """A connection, and the entries that are to change when what it wrote is committed."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.execute = database.execute
        self._changed: list[tuple[Entry, dict[str, Any]]] = []

    def on_commit(self, entry: Entry, **changes: Any) -> None:
        self._changed.append((entry, changes))

    def publish(self) -> None:
        for entry, changes in self._changed:
            for name, value in changes.items():
                setattr(entry, name, value)


def _version(database: sqlite3.Connection) -> int:
    (version,) = database.execute("pragma user_version").fetchone()
    return int(version)


def _write(
    database: _Transaction,
    entry: Entry,
    responses: Iterable[Response],
    benchmark: benchmark_pb2.Benchmark,
) -> None:
    sequence, outputs = entry.last_sequence, entry.outputs
    for response in responses:
        sequence += 1
        response.event.sequence = sequence
        for made in (response.event.outputs, response.event.predictions):
            outputs = f"{outputs} {made.file.sha256}".strip()
        database.execute(
            "insert into events values (?, ?, ?)",
            (entry.arrival, sequence, response.SerializeToString()),
        )
    database.execute(
        "update benchmarks set benchmark = ?, crashes = ?, last_sequence = ?, outputs = ? "
        "where arrival = ?",
        (benchmark.SerializeToString(), entry.crashes, sequence, outputs, entry.arrival),
    )
    database.on_commit(entry, benchmark=benchmark, last_sequence=sequence, outputs=outputs)


def _entry(
    database: _Transaction,
    arrival: int,
    name: str,
    request_id: str,
    data: bytes,
    crashes: int,
    last_sequence: int,
    outputs: str,
) -> Entry:
    try:
        benchmark = benchmark_pb2.Benchmark.FromString(data)
    except DecodeError:
        benchmark = benchmark_pb2.Benchmark(
            name=name, request_id=request_id, state=benchmark_pb2.Benchmark.STATE_FAILED
        )
        failure = StorageError(
            "STATE_DAMAGED",
            "what the agent had kept of this benchmark is damaged; check the device's disk, push again",
        )
        benchmark.failure.reason, benchmark.failure.message = failure.reason, failure.message
        entry = Entry(arrival, benchmark, crashes, last_sequence, outputs)
        response = Response()
        response.event.benchmark.CopyFrom(benchmark)
        _write(database, entry, [response], benchmark)
        return entry
    return Entry(arrival, benchmark, crashes, last_sequence, outputs)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise _storage_error(error, path) from error


def _storage_error(error: Exception, path: Path) -> StorageError:
    if is_full(error):
        return _full(path)
    # SQLite says no more than that it cannot open it.
    if not os.access(path.parent, os.W_OK):
        return StorageError(
            "STATE_READ_ONLY",
            f"the agent's state directory {path.parent} cannot be written; mount it writable, and the "
            "agent goes on by itself",
        )
    return StorageError(
        "STATE_UNUSABLE", f"the agent's state in {path} cannot be read or written: {error}"
    )


def _full(path: Path) -> StorageError:
    return StorageError(
        "STORAGE_FULL",
        f"the disk with the agent's state directory {path.parent} is full; free some space, and the "
        "agent goes on by itself",
    )


def is_full(error: Exception) -> bool:
    """Whether this says that a disk or quota is full."""
    if isinstance(error, OSError):
        return error.errno in {errno.ENOSPC, errno.EDQUOT}
    return "full" in str(error)
