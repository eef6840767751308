"""The SQLite file: what it may be, and what is said when it is something else."""

from __future__ import annotations

import contextlib
import io
import json
import sqlite3
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine

from edgeopt_host.errors import StoreError, UsageError
from edgeopt_host.store import RunStore, new_id
from edgeopt_host.store._ids import ID_LENGTH, id_range
from edgeopt_host.store._migrate import migration_config
from edgeopt_host.store.schema import REVISION, VERSION_TABLE, Base
from sample_runs import measured_run, whole_run


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEOPT_DATABASE_URL", raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "edgeopt.db"


def _open(file: Path, timeout_s: float = 30.0) -> RunStore:
    return RunStore.open(f"sqlite:///{file}", timeout_s=timeout_s)


def test_the_default_place_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEOPT_HOME", str(tmp_path / "home"))
    RunStore.open().close()
    data = tmp_path / "home" / "data"
    assert (data / "edgeopt.db").is_file()
    assert [folder.stat().st_mode & 0o777 for folder in (data, data.parent)] == [0o700, 0o700]


def test_an_argument_wins_over_the_variable_and_the_variable_over_the_default(
    file: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEOPT_DATABASE_URL", f"sqlite:///{file}")
    RunStore.open(f"sqlite:///{tmp_path / 'other.db'}").close()
    assert (tmp_path / "other.db").exists()
    assert not file.exists()
    RunStore.open().close()
    assert file.exists()
    assert not (home / "data").exists()


@pytest.mark.parametrize(
    "url", ["postgresql://user:secret@host/edgeopt", "mysql://host/x", "sqlite+aiosqlite:///x.db"]
)
def test_other_databases_come_later(url: str) -> None:
    with pytest.raises(UsageError, match="in SQLite alone: write sqlite:////") as caught:
        RunStore.open(url)
    assert "secret" not in caught.value.message


def test_text_that_is_no_url() -> None:
    with pytest.raises(UsageError, match="is no URL"):
        RunStore.open("results.db")


def test_an_empty_file_becomes_a_database(file: Path) -> None:
    file.touch()
    with _open(file) as store:
        store.add(measured_run())


def test_a_file_that_is_something_else(file: Path) -> None:
    file.write_text("no database, but long enough to have a header to look at" * 100)
    with pytest.raises(StoreError, match=r"edgeopt\.db is no SQLite database"):
        _open(file)
    assert file.read_text().startswith("no database")


def test_a_damaged_file(file: Path) -> None:
    with _open(file) as store:
        store.add(measured_run())
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"), _open(file) as store:
        store.list()


def test_damaged_content(file: Path) -> None:
    with _open(file) as store:
        run = measured_run()
        store.add(run)
        with sqlite3.connect(file) as raw:
            raw.execute("UPDATE launches SET samples = x'00'")
        raw.close()
        assert store.get(run.id).id == run.id
        with pytest.raises(StoreError, match=f"launch 0 of the stored run {run.id} is damaged"):
            store.get(run.id, samples=True)
        with sqlite3.connect(file) as raw:
            raw.execute("UPDATE documents SET document = '{}'")
        raw.close()
        with pytest.raises(StoreError, match="damaged"):
            store.list()
        with sqlite3.connect(file) as raw:
            raw.execute("UPDATE documents SET document = '{'")
        raw.close()
        with pytest.raises(StoreError, match="damaged"):
            store.list()


def test_a_folder_in_place_of_the_file(file: Path) -> None:
    file.mkdir()
    with pytest.raises(StoreError, match="cannot be opened"):
        _open(file)


def test_a_file_in_place_of_the_folder(file: Path) -> None:
    file.touch()
    with pytest.raises(StoreError, match=r"folder .* cannot be made"):
        _open(file / "below" / "edgeopt.db")


def test_a_folder_that_takes_no_file() -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        _open(Path("/proc/self/edgeopt.db"))


def test_a_lock_that_stays(file: Path) -> None:
    _open(file).close()
    holder = sqlite3.connect(file)
    holder.execute("BEGIN IMMEDIATE")
    try:
        with _open(file, timeout_s=0.1) as store:
            assert store.list() == []
            with pytest.raises(StoreError, match="in use by another process"):
                store.add(measured_run())
    finally:
        holder.close()


def test_a_database_of_a_newer_edgeopt(file: Path) -> None:
    _open(file).close()
    with sqlite3.connect(file) as raw:
        raw.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")  # noqa: S608
    raw.close()
    with pytest.raises(StoreError, match=r"newer edgeopt \(revision 9999\): update edgeopt-host"):
        _open(file)


def test_a_migration_that_fails_leaves_nothing(file: Path) -> None:
    with sqlite3.connect(file) as raw:
        raw.execute("CREATE TABLE launches (mine)")
    raw.close()
    with pytest.raises(StoreError, match="launches already exists"):
        _open(file)
    with sqlite3.connect(file) as raw:
        tables = raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    raw.close()
    assert tables == [("launches",)]


def test_deleting_gives_the_disk_back(file: Path) -> None:
    runs = [measured_run() for _ in range(40)]
    with _open(file) as store:
        for run in runs:
            run.command = "x" * 20_000
            store.add(run)
    full = file.stat().st_size
    with _open(file) as store:
        store.delete(run.id for run in runs)
    assert file.stat().st_size < full / 4


def test_an_up_to_date_database_needs_no_alembic(file: Path) -> None:
    _open(file).close()
    code = (
        "import sys; from edgeopt_host.store import RunStore; "
        f"RunStore.open('sqlite:///{file}').close(); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_migrations_make_what_the_models_say(file: Path) -> None:
    scripts = ScriptDirectory.from_config(migration_config())
    assert scripts.get_current_head() == REVISION
    _open(file).close()
    engine = create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_migrations_go_back(file: Path) -> None:
    _open(file).close()
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        config = migration_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    engine.dispose()
    with _open(file) as store:
        assert store.list() == []


def _to_revision(file: Path, revision: str) -> None:
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        config = migration_config()
        config.attributes["connection"] = connection
        known = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        there = known.get_current_revision() or ""
        (command.upgrade if there < revision else command.downgrade)(config, revision)
    engine.dispose()


def _rows(file: Path, query: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(file)) as raw:
        return raw.execute(query).fetchall()


def test_launches_of_the_first_release(file: Path) -> None:
    """Their blocks have two numbers, their readings no canary, and nothing has a number."""
    run = measured_run()
    with _open(file) as store:
        store.add(run)
    _to_revision(file, "0002")
    before = _rows(file, "SELECT * FROM launches ORDER BY position")
    with _open(file) as store:
        found = store.get(run.id, samples=True)
    assert len(before[0]) == 15
    assert [launch.number for launch in found.launches] == [0, 1]
    for launch, was in zip(found.launches, run.launches, strict=True):
        assert (launch.tainted, launch.stream_rss_bytes) == (None, [])
        for block, old in zip(launch.blocks, was.blocks, strict=True):
            assert (block.start_ns, block.latency_ns.tolist()) == (
                old.start_ns,
                old.latency_ns.tolist(),
            )
            assert (block.duration_ns, block.cpu_ns, block.round) == (0, 0, 0)
            assert block.stream_samples == []
        assert launch.readings[0].cpu_wait_ns == 3
        assert launch.readings[0].canary_ns is None
    assert (found.power, found.correct) == (None, None)


def test_going_back_leaves_what_the_first_release_reads(file: Path) -> None:
    run = whole_run()
    with _open(file) as store:
        store.add(run)
        store.set_baseline("main", run)
    _to_revision(file, "0002")
    (blocks, packed), *_ = _rows(file, "SELECT blocks, readings FROM launches ORDER BY position")
    assert json.loads(blocks) == [[7, 3], [8, 0], [9, 2]]
    assert [set(reading) for reading in json.loads(zlib.decompress(packed))] == [
        {"moment", "time_ns", "values", "cpu_wait_ns", "thread_cpu_ns"}
    ] * 2
    tables = {name for (name,) in _rows(file, "SELECT name FROM sqlite_master")}
    assert not {"traces", "baselines"} & tables
    with _open(file) as store:
        assert store.get(run.id).document() == run.document()


@pytest.mark.parametrize("kind", ["power", "correct"])
def test_a_damaged_trace(file: Path, kind: str) -> None:
    run = measured_run()
    with _open(file) as store:
        store.add(run)
        (good,) = _rows(file, f"SELECT data FROM traces WHERE kind = '{kind}'")[0]  # noqa: S608
        whole = zlib.decompress(good)
        encrypted = bytearray(whole)
        encrypted[6] |= 1
        encrypted[whole.index(b"PK\1\2") + 8] |= 1
        single = io.BytesIO()
        np.save(single, np.zeros(3))
        for bad in (whole[:99], b"", bytes(encrypted), single.getvalue()):
            with contextlib.closing(sqlite3.connect(file)) as raw, raw:
                raw.execute("UPDATE traces SET data = ? WHERE kind = ?", (zlib.compress(bad), kind))
            said = f"the {kind} trace of the stored run {run.id} is damaged"
            with pytest.raises(StoreError, match=said):
                store.get(run.id, samples=True)
            assert store.get(run.id).id == run.id


def test_a_trace_of_a_later_release_is_left_out(file: Path) -> None:
    run = measured_run()
    with _open(file) as store:
        store.add(run)
        with contextlib.closing(sqlite3.connect(file)) as raw, raw:
            raw.execute("UPDATE traces SET kind = 'later' WHERE kind = 'correct'")
        assert store.get(run.id, samples=True).correct is None


@given(st.floats(1.767e9, 2.84e9), st.floats(1.767e9, 2.84e9))
def test_ids_sort_by_their_second(one: float, other: float) -> None:
    first, second = sorted((one, other))
    assert new_id(first)[:6] <= new_id(second)[:6]


def test_ids_are_short_and_differ() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(i) for i in ids} == {ID_LENGTH}
    assert all(i.isalnum() and i == i.lower() for i in ids)
    # A board whose clock says 1970 gets one too.
    assert len(new_id(0)) == ID_LENGTH


@given(st.integers(1, ID_LENGTH))
def test_a_range_holds_every_id_of_a_prefix(length: int) -> None:
    some = new_id()
    first, last = id_range(some[:length])
    assert first <= some <= last
