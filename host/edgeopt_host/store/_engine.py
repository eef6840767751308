"""Opening a database: where it is, how it is shared, and what its errors mean."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from edgeopt_host import _files
from edgeopt_host.errors import StoreError, UsageError
from edgeopt_host.paths import data_dir
from edgeopt_host.store.schema import REVISION, VERSION_TABLE

VARIABLE = "EDGEOPT_DATABASE_URL"

# SQLite's words (Python 3.10 gives no error code), and what they mean to a person.
_MEANINGS = {
    "file is not a database": "is no SQLite database: move the file away, or name another",
    "malformed": "is damaged: restore it from a backup, or move it away to start anew",
    "disk i/o error": "cannot be read or written: the disk is full or fails",
    "locked": "is in use by another process and stayed so: try again, or end that process",
    "unable to open": "cannot be opened: check that its folder exists and is yours",
    "readonly": "cannot be written: check its permissions",
    "disk is full": "cannot be written: the disk is full; free some space",
}


def find_url(url: str | None) -> URL:
    """The database to use: what the caller says, else the variable, else the default file.

    Raises:
        UsageError: when it is no URL, or no SQLite.
    """
    given = url or os.environ.get(VARIABLE)
    if not given:
        return URL.create("sqlite", database=str(data_dir() / "edgeopt.db"))
    where = "the database" if url else VARIABLE
    try:
        parsed = make_url(given)
    except ArgumentError:
        raise UsageError(f"{where} is no URL: write sqlite:////folder/edgeopt.db") from None
    if parsed.drivername not in {"sqlite", "sqlite+pysqlite"}:
        raise UsageError(
            f"{where} names a {parsed.get_backend_name()} database, and this release keeps results "
            f"in SQLite alone: write sqlite:////folder/edgeopt.db, or unset it"
        )
    return parsed


def open_engine(url: URL, timeout_s: float) -> Engine:
    """Makes the file's folder and an engine whose database has the newest revision.

    Raises:
        StoreError: when it cannot be opened, or a newer edgeopt made it.
    """
    file = url.database
    if file and file != ":memory:" and not file.startswith("file:"):
        try:
            _files.make_private(Path(file).absolute().parent)
        except OSError as error:
            raise StoreError(
                f"the folder of the results' database {file} cannot be made: {error.strerror}"
            ) from error
    engine = create_engine(
        url,
        connect_args={"timeout": timeout_s},
        # Strict JSON, which PostgreSQL demands too.
        json_serializer=partial(json.dumps, allow_nan=False, separators=(",", ":")),
    )
    event.listen(engine, "connect", _prepare)
    try:
        with explained(url):
            _bring_up_to_date(engine, url)
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextlib.contextmanager
def explained(url: URL) -> Iterator[None]:
    """Turns what the database says into one sentence.

    Raises:
        StoreError: for every error of the database.
    """
    try:
        yield
    except json.JSONDecodeError as error:
        raise StoreError(f"the results' database holds a damaged run: {error}") from error
    except (DBAPIError, sqlite3.Error) as error:
        said = str(error.orig if isinstance(error, DBAPIError) else error)
        meaning = next(
            (m for words, m in _MEANINGS.items() if words in said.lower()), f"says: {said}"
        )
        where = url.database or url.render_as_string(hide_password=True)
        raise StoreError(f"the results' database {where} {meaning}") from error


def release_space(engine: Engine) -> None:
    """Gives the disk back what deleted rows held."""
    with contextlib.closing(engine.raw_connection()) as connection:
        # One step of this statement frees one page, and only a script runs all steps.
        connection.cursor().executescript("PRAGMA incremental_vacuum")


def _prepare(connection: Any, _record: Any) -> None:
    """What every SQLite connection is told first."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    if cursor.execute("PRAGMA page_count").fetchone() == (0,):
        # So that deleting runs gives the disk back. A file is told before its first table.
        cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")
    # A device forgets a result once it is told that it is stored: a power cut must not undo that.
    cursor.execute("PRAGMA synchronous=FULL")
    try:
        # Readers and a writer don't wait for each other. Stays with the file once it is set.
        cursor.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError:
        # Locked (two processes on a new file: the other sets it) or read-only: works without.
        pass
    finally:
        cursor.close()


def _bring_up_to_date(engine: Engine, url: URL) -> None:
    with engine.connect() as connection:
        if _revision(connection) == REVISION:
            return
    # One transaction by hand, the write lock first: a second process waits here, then finds the
    # work done. The driver's own would neither lock first nor hold CREATE TABLE.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            if _revision(connection) != REVISION:
                # A third of a second that an up-to-date database doesn't pay.
                from edgeopt_host.store._migrate import migrate

                migrate(connection, str(url.database))
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608 - a constant
    return revision
