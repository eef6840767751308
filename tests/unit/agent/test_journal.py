from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edgeopt.agent.v1 import agent_pb2, benchmark_pb2
from edgeopt_agent.errors import StorageError
from edgeopt_agent.job import in_state, state_event
from edgeopt_agent.journal import Entry, Journal, Response

Benchmark = benchmark_pb2.Benchmark


def benchmark(number: int = 1) -> benchmark_pb2.Benchmark:
    return Benchmark(
        name=f"benchmarks/{number}",
        request_id=f"request-{number}",
        state=Benchmark.STATE_QUEUED,
        attempt=1,
    )


def added(journal: Journal, number: int = 1) -> Entry:
    new = benchmark(number)
    return journal.add(new, state_event(new))


def warning(code: str) -> Response:
    event = benchmark_pb2.BenchmarkEvent(warning=benchmark_pb2.BenchmarkWarning(code=code))
    return agent_pb2.WatchBenchmarkResponse(event=event)


def sequences(journal: Journal, entry: Entry, after: int = 0) -> list[int]:
    found = []
    while response := journal.event(entry, after):
        after = response.event.sequence
        found.append(after)
    return found


def test_events_are_numbered_without_gaps_also_across_openings(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    entry = added(journal)
    journal.append(entry, [warning("A"), warning("B")])
    journal.close()
    again = Journal(tmp_path)
    (kept,) = again.load()
    again.append(kept, [warning("C")])
    assert sequences(again, kept) == [1, 2, 3, 4]
    assert sequences(again, kept, after=2) == [3, 4]


def test_an_end_is_final(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    entry = added(journal)
    cancelled = in_state(entry.benchmark, Benchmark.STATE_CANCELLED)
    assert journal.append(entry, [state_event(cancelled)], cancelled)
    succeeded = in_state(entry.benchmark, Benchmark.STATE_SUCCEEDED)
    assert not journal.append(entry, [state_event(succeeded)], succeeded)
    assert entry.benchmark.state == Benchmark.STATE_CANCELLED
    assert sequences(journal, entry) == [1, 2]


def test_an_acknowledged_benchmark_is_known_by_its_request_only(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    entry = added(journal)
    journal.acknowledge(entry)
    assert journal.load() == []
    end = journal.acknowledged("request-1")
    assert end is not None
    assert end.name == "benchmarks/1"
    assert journal.acknowledged("request-2") is None


def test_a_killed_process_leaves_what_it_committed_and_no_more(tmp_path: Path) -> None:
    code = """
        import os, sys
        from pathlib import Path
        from edgeopt.agent.v1 import agent_pb2, benchmark_pb2
        from edgeopt_agent.journal import Journal
        journal = Journal(Path(sys.argv[1]))
        new = benchmark_pb2.Benchmark(name="benchmarks/1", request_id="r")
        entry = journal.add(new, agent_pb2.WatchBenchmarkResponse())
        journal.append(entry, [agent_pb2.WatchBenchmarkResponse()])
        journal._database.execute("begin")
        journal._database.execute("delete from events")
        os.kill(os.getpid(), 9)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], check=False
    )
    assert ended.returncode == -9
    journal = Journal(tmp_path)
    (entry,) = journal.load()
    assert sequences(journal, entry) == [1, 2]


def test_a_file_of_a_newer_agent_is_refused_and_left_alone(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "agent.db")) as database:
        database.execute("create table theirs (x)")
        database.execute("pragma user_version = 99")
        database.commit()
    before = (tmp_path / "agent.db").read_bytes()
    with pytest.raises(StorageError, match="newer agent") as caught:
        Journal(tmp_path)
    assert caught.value.reason == "STATE_TOO_NEW"
    assert (tmp_path / "agent.db").read_bytes() == before


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "agent.db").write_bytes(b"no database at all" * 1000)
    assert Journal(tmp_path).load() == []
    (aside,) = tmp_path.glob("damaged-*-agent.db")
    assert aside.read_bytes().startswith(b"no database")


def test_a_damaged_benchmark_has_failed_and_the_others_are_there(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    added(journal, 1)
    added(journal, 2)
    journal._database.execute("update benchmarks set benchmark = x'ffff' where arrival = 1")
    journal.close()
    again = Journal(tmp_path)
    damaged, whole = again.load()
    assert damaged.benchmark.failure.reason == "STATE_DAMAGED"
    assert damaged.benchmark.request_id == "request-1"
    assert whole.benchmark.state == Benchmark.STATE_QUEUED
    assert sequences(again, damaged) == [1, 2]


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 2 MB, in a mount namespace that the test's child processes enter."""
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


def in_small_disk(folder: Path, code: str) -> str:
    script = f'mount -t tmpfs -o size=2m none {folder} && exec {sys.executable} -c "$CODE" {folder}'
    ended = subprocess.run(
        ["/usr/bin/unshare", "--map-root-user", "--mount", "sh", "-c", script],
        env={**os.environ, "CODE": textwrap.dedent(code)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_full_disk_changes_nothing_and_is_named(small_disk: Path) -> None:
    told = in_small_disk(
        small_disk,
        """
        import sys
        from pathlib import Path
        from edgeopt.agent.v1 import agent_pb2, benchmark_pb2
        from edgeopt_agent.errors import StorageError
        from edgeopt_agent.journal import Journal
        folder = Path(sys.argv[1])
        journal = Journal(folder)
        new = benchmark_pb2.Benchmark(name="benchmarks/1", request_id="r")
        entry = journal.add(new, agent_pb2.WatchBenchmarkResponse())
        def large():
            response = agent_pb2.WatchBenchmarkResponse()
            block = response.event.samples.blocks.add()
            block.latency_ns.extend(range(100_000))
            return response
        with (folder / "ballast").open("wb") as ballast:
            ballast.write(bytes(1_500_000))
        try:
            journal.append(entry, [large(), large()])
        except StorageError as error:
            print(error.reason, entry.last_sequence)
        (folder / "ballast").unlink()
        print(journal.append(entry, [large()]), entry.last_sequence)
        """,
    )
    assert told.split() == ["STORAGE_FULL", "1", "True", "2"]


def test_a_read_only_disk_is_named(small_disk: Path) -> None:
    told = in_small_disk(
        small_disk,
        """
        import subprocess, sys
        from pathlib import Path
        from edgeopt_agent.errors import StorageError
        from edgeopt_agent.journal import Journal
        folder = Path(sys.argv[1])
        subprocess.run(["/usr/bin/mount", "-o", "remount,ro", str(folder)], check=True)
        try:
            Journal(folder)
        except StorageError as error:
            print(error.reason)
        """,
    )
    assert told.split() == ["STATE_READ_ONLY"]
