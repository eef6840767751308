"""What every store does. A database is one fixture; PostgreSQL will be another."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from edgeopt_host.energy import ChannelFacts
from edgeopt_host.errors import StoreError, UsageError
from edgeopt_host.run import File, PowerTrace, Run
from edgeopt_host.store import PendingRun, RunStore, new_id, new_request_id, run_id_of
from sample_runs import failed_run, measured_run, same_launches, same_power, whole_run

_ADD_FIVE = """
import sys
sys.path.insert(0, sys.argv[1])
from sample_runs import measured_run
from edgeopt_host.store import PendingRun, RunStore, new_id, new_request_id, run_id_of
sys.stdin.read()
for _ in range(5):
    with RunStore.open(sys.argv[2]) as store:
        store.add(measured_run())
"""


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("EDGEOPT_DATABASE_URL", raising=False)
    return f"sqlite:///{tmp_path / 'edgeopt.db'}"


@pytest.fixture
def store(url: str) -> Iterator[RunStore]:
    with RunStore.open(url) as opened:
        yield opened


def _at(minute: int, **changes: object) -> Run:
    return measured_run(time=f"2026-11-02T10:{minute:02}:00+00:00", **changes)  # type: ignore[arg-type]


def _ids(runs: list[Run]) -> list[str]:
    return [run.id for run in runs]


class TestRoundTrip:
    def test_every_field(self, store: RunStore) -> None:
        run = whole_run()
        store.add(run)
        found = store.get(run.id, samples=True)
        assert found.document() == run.document()
        assert same_launches(found.launches, run.launches)
        assert (found.channels, found.channel_facts) == (run.channels, run.channel_facts)
        assert same_power(found.power, run.power)
        assert found.correct is not None
        assert (found.correct.dtype, found.correct.tolist()) == (bool, [True, False, True])

    def test_facts_that_are_no_numbers_are_as_good_as_none(self, store: RunStore) -> None:
        odd = ChannelFacts("energy_mj", "package", float("nan"), False, float("inf"))
        run = measured_run(channels={"rapl": "energy_mj"}, channel_facts={"rapl": odd})
        store.add(run)
        found = store.get(str(run.id))
        assert found.channels == {"rapl": "energy_mj"}
        assert found.channel_facts == {"rapl": ChannelFacts("energy_mj", "package")}

    def test_traces_that_are_empty_and_that_are_not_there(self, store: RunStore) -> None:
        empty, none = measured_run(), measured_run(power=None, correct=None)
        empty.power = PowerTrace(np.array([], np.int64), {}, [])
        empty.correct = np.array([], np.bool_)
        for run in (empty, none):
            store.add(run)
        found = store.get(empty.id, samples=True)
        assert same_power(found.power, empty.power)
        assert found.correct is not None
        assert (found.correct.dtype, found.correct.size) == (bool, 0)
        found = store.get(none.id, samples=True)
        assert (found.power, found.correct) == (None, None)

    def test_what_was_asked_and_memory_that_is_not_known(self, store: RunStore) -> None:
        run = measured_run(request={"plan": {"launches": 3}, "inputs": {"ranges": [{"low": 0.5}]}})
        run.model.files = [File("face.tflite", "ab" * 32, 7), File("w.bin", "cd" * 32, 8)]
        run.launches[0].peak_rss_bytes = run.launches[0].file_bytes = None
        run.launches[0].anonymous_bytes = 0
        store.add(run)
        found = store.get(run.id, samples=True)
        assert (found.request, found.model) == (run.request, run.model)
        assert same_launches(found.launches, run.launches)

    def test_of_a_failed_run(self, store: RunStore) -> None:
        run = failed_run()
        store.add(run)
        assert store.get(run.id, samples=True) == run

    def test_samples_are_left_out_unless_asked_for(self, store: RunStore) -> None:
        run = whole_run()
        store.add(run)
        for found in (store.get(run.id), store.list()[0]):
            assert (found.launches, found.power, found.correct) == ([], None, None)
        assert store.list()[0].document() == run.document()

    def test_survives_closing(self, url: str) -> None:
        run = whole_run()
        with RunStore.open(url) as store:
            store.add(run)
        with RunStore.open(url) as store:
            assert store.get(run.id, samples=True).document() == run.document()

    def test_figures_that_are_none_become_null(self, store: RunStore) -> None:
        run = measured_run(throughput_per_s=float("inf"), load_ms=float("nan"))
        store.add(run)
        found = store.get(run.id)
        assert (found.throughput_per_s, found.load_ms) == (None, None)

    def test_a_name_that_is_no_text(self, store: RunStore) -> None:
        run = measured_run("f\udcff.tflite")
        store.add(run)
        assert _ids(store.list(model="f\\udcff.tflite")) == [run.id]

    def test_an_id_is_there_once(self, store: RunStore) -> None:
        run = whole_run()
        store.add(run)
        with pytest.raises(StoreError, match=f"{run.id} is stored already"):
            store.add(run)
        assert len(store.list()) == 1


class TestList:
    def test_newest_first_whatever_the_order_of_adding(self, store: RunStore) -> None:
        runs = [_at(minute) for minute in (3, 1, 2)]
        for run in runs:
            store.add(run)
        assert _ids(store.list()) == [runs[0].id, runs[2].id, runs[1].id]

    def test_zones_are_compared_as_times(self, store: RunStore) -> None:
        east = measured_run(time="2026-11-02T11:30:00+02:00")
        utc = measured_run(time="2026-11-02T10:00:00Z")
        store.add(utc)
        store.add(east)
        assert _ids(store.list()) == [utc.id, east.id]

    def test_pages(self, store: RunStore) -> None:
        for minute in (1, 1, 1, 2, 2, 3, 4):
            store.add(_at(minute, labels={"k": "v"}))
        everything = _ids(store.list())
        for filters in ({}, {"device": "pi4"}, {"labels": {"k": "v"}}):
            pages: list[str] = []
            while page := store.list(limit=2, before=pages[-1] if pages else None, **filters):
                pages += _ids(page)
            assert pages == everything

    def test_limits(self, store: RunStore) -> None:
        for minute in range(55):
            store.add(_at(minute, launches=[]))
        assert len(store.list()) == 50
        assert len(store.list(limit=None)) == 55

    def test_filters(self, store: RunStore) -> None:
        one = _at(1, model="a.tflite", device="pi4", labels={"k": "1", "x": "y"})
        two = _at(2, model="b.tflite", device="pi4", labels={"k": "2", "x": "y"})
        three = _at(3, model="a.tflite", device="pi5", labels={"k": "1"})
        two.model.sha256 = "cd" * 32
        for run in (one, two, three):
            store.add(run)
        found = {
            "device": _ids(store.list(device="pi4")),
            "model": _ids(store.list(model="a.tflite")),
            "digest": _ids(store.list(model="CDCDCDCD")),
            "short digest": _ids(store.list(model="cdcdcdc")),
            "label": _ids(store.list(labels={"k": "1"})),
            "labels": _ids(store.list(labels={"k": "1", "x": "y"})),
            "device and model": _ids(store.list(device="pi4", model="a.tflite")),
            "device and label": _ids(store.list(device="pi4", labels={"x": "y"})),
            "nothing": _ids(store.list(device="pi4", labels={"k": "3"})),
        }
        assert found == {
            "device": [two.id, one.id],
            "model": [three.id, one.id],
            "digest": [two.id],
            "short digest": [],
            "label": [three.id, one.id],
            "labels": [one.id],
            "device and model": [one.id],
            "device and label": [two.id, one.id],
            "nothing": [],
        }

    def test_a_digest_start_that_several_models_share(self, store: RunStore) -> None:
        one, two = _at(1), _at(2)
        one.model.sha256, two.model.sha256 = "ab" * 32, "ab" * 31 + "cd"
        store.add(one)
        store.add(two)
        assert _ids(store.list(model="abababab")) == [two.id, one.id]


class TestIds:
    def test_a_beginning_finds(self, store: RunStore) -> None:
        store.add(measured_run(id="0aaaaaaaaaaa"))
        store.add(measured_run(id="0aabbbbbbbbb"))
        assert store.get("0AAB").id == "0aabbbbbbbbb"
        assert store.resolve(["0aab", "0aabb", "0aaa"]) == ["0aabbbbbbbbb", "0aaaaaaaaaaa"]

    def test_a_whole_id_wins_over_a_beginning(self, store: RunStore) -> None:
        store.add(measured_run(id="0aa"))
        store.add(measured_run(id="0aab"))
        assert store.get("0aa").id == "0aa"

    def test_an_ambiguous_one_names_candidates(self, store: RunStore) -> None:
        for last in "123456789":
            store.add(measured_run(id=f"0aaaaaaaaaa{last}", launches=[]))
        with pytest.raises(UsageError, match=r"begin with '0a': 0aaaaaaaaaa9, .*, …"):
            store.get("0a")

    def test_an_unknown_one_names_what_is_near(self, store: RunStore) -> None:
        store.add(measured_run(id="0aaaaaaaaaaa"))
        with pytest.raises(UsageError, match="did you mean 0aaaaaaaaaaa"):
            store.get("0aaaaaaaabaa")
        with pytest.raises(UsageError, match="runs list"):
            store.get("zzz")
        with pytest.raises(UsageError, match="empty"):
            store.get(" ")


class TestDelete:
    def test_takes_everything_along(self, store: RunStore) -> None:
        kept, gone = whole_run(), whole_run()
        store.add(kept)
        store.add(gone)
        assert store.delete([gone.id, "unknown"]) == 1
        assert _ids(store.list()) == [kept.id]
        assert _ids(store.list(labels={"branch": "main"})) == [kept.id]
        assert same_power(store.get(kept.id, samples=True).power, kept.power)
        store.add(gone)
        assert store.get(gone.id, samples=True).document() == gone.document()

    def test_many(self, store: RunStore) -> None:
        ids = [f"0aaaaaaa{number:04}" for number in range(1201)]
        store.add(measured_run(id=ids[0]))
        assert store.delete(ids) == 1


class TestBaselines:
    def test_a_name_stands_for_one_run_per_device(self, store: RunStore) -> None:
        one, other, later = measured_run(), measured_run(device="pi5"), measured_run()
        for run in (one, other, later):
            store.add(run)
        store.set_baseline("main", one)
        store.set_baseline("main", other, "before the fan")
        store.set_baseline("v1", one)
        store.set_baseline("main", later)
        found = store.baselines()
        assert [(b.name, b.device, b.run_id, b.note) for b in found] == [
            ("main", "pi4", later.id, ""),
            ("main", "pi5", other.id, "before the fan"),
            ("v1", "pi4", one.id, ""),
        ]
        assert store.baselines("main", "pi5") == found[1:2]
        assert store.baselines(device="pi4") == [found[0], found[2]]
        age = datetime.now(timezone.utc) - found[0].time
        assert timedelta() <= age < timedelta(minutes=5)

    def test_forgetting_a_name_keeps_its_runs(self, store: RunStore) -> None:
        one, other = measured_run(), measured_run(device="pi5")
        for run in (one, other):
            store.add(run)
            store.set_baseline("main", run)
        assert [b.device for b in store.drop_baseline("main", "pi5")] == ["pi5"]
        assert [b.device for b in store.baselines()] == ["pi4"]
        assert [b.run_id for b in store.drop_baseline("main")] == [one.id]
        assert store.drop_baseline("main") == store.baselines() == []
        assert len(store.list()) == 2

    def test_its_run_is_not_deleted(self, store: RunStore) -> None:
        named, free = measured_run(), measured_run()
        for run in (named, free):
            store.add(run)
        store.set_baseline("main", named)
        said = f"run {named.id} is the baseline 'main' of pi4, .* baseline delete main --device pi4"
        with pytest.raises(UsageError, match=said):
            store.delete([str(free.id), str(named.id)])
        assert len(store.list()) == 2
        store.drop_baseline("main")
        assert store.delete([str(free.id), str(named.id)]) == 2

    def test_a_run_that_is_not_stored(self, store: RunStore) -> None:
        with pytest.raises(StoreError, match="is not stored"):
            store.set_baseline("main", measured_run())
        assert store.baselines() == []


def test_several_threads_at_once(store: RunStore) -> None:
    runs = [measured_run() for _ in range(20)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(store.add, runs))
    assert len(store.list()) == 20


def test_several_processes_at_once(url: str) -> None:
    """Also when all of them find no database."""
    command = [sys.executable, "-c", _ADD_FIVE, str(Path(__file__).parents[1]), url]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    said = [process.communicate(timeout=60)[1].decode() for process in processes]
    assert said == [""] * 4
    with RunStore.open(url) as store:
        assert len(store.list()) == 20


class TestPending:
    def _pending(self, **changes: object) -> PendingRun:
        run = measured_run()
        given = {"owner": "me", "outputs": Path("/data/b\udcff.npz"), **changes}
        return PendingRun(new_request_id(run.id), [run], "pi4", "abcd", **given)  # type: ignore[arg-type]

    def test_what_is_owed_comes_back_as_it_was(self, store: RunStore) -> None:
        pending = self._pending()
        store.begin(pending)
        store.created(pending.request_id, "benchmarks/1")
        (found,) = store.pending()
        assert found.run.document() == pending.run.document()
        assert found.run.channels == pending.run.channels
        assert found.run.channel_facts == pending.run.channel_facts
        assert (found.benchmark, found.cancelled) == ("benchmarks/1", False)
        assert (found.device, found.identity, found.owner) == ("pi4", "abcd", "me")
        assert found.outputs == pending.outputs
        assert run_id_of(found.request_id) == pending.run.id
        assert store.list() == []

    def test_a_run_is_pending_until_it_is_stored_and_never_both(self, store: RunStore) -> None:
        first, second = self._pending(), self._pending()
        for pending in (first, second):
            store.begin(pending)
        store.finish(first)
        assert [pending.request_id for pending in store.pending()] == [second.request_id]
        assert store.stored([str(first.run.id), str(second.run.id), "none"]) == {first.run.id}
        assert same_launches(
            store.get(str(first.run.id), samples=True).launches, first.run.launches
        )

    def test_a_run_is_stored_once(self, store: RunStore) -> None:
        pending = self._pending()
        store.begin(pending)
        store.finish(pending)
        store.begin(pending)
        with pytest.raises(StoreError, match="stored already"):
            store.finish(pending)
        # What fails leaves all as it was.
        assert (len(store.pending()), len(store.list())) == (1, 1)

    def test_runs_of_one_benchmark_are_pending_and_stored_together(self, store: RunStore) -> None:
        pending = self._pending()
        partner = whole_run(id=new_id())
        pending.runs.append(partner)
        store.begin(pending)
        (found,) = store.pending()
        assert [run.id for run in found.runs] == [pending.run.id, partner.id]
        assert found.runs[1].document() == partner.document()
        store.finish(pending)
        assert store.pending() == []
        assert {run.id for run in store.list()} == {pending.run.id, partner.id}

    def test_a_benchmark_of_which_one_run_cannot_be_stored_stays_pending(
        self, store: RunStore
    ) -> None:
        pending = self._pending()
        stored = whole_run(id=new_id())
        store.add(stored)
        pending.runs.append(stored)
        store.begin(pending)
        with pytest.raises(StoreError, match="stored already"):
            store.finish(pending)
        assert len(store.pending()) == 1
        assert [run.id for run in store.list()] == [stored.id]

    def test_one_of_two_takes_it_over(self, store: RunStore) -> None:
        pending = self._pending()
        store.begin(pending)
        assert [store.claim(pending, owner) for owner in ("you", "they")] == [True, False]
        assert store.pending()[0].owner == "you"
        store.drop(pending.request_id)
        assert not store.claim(pending, "they")

    def test_what_is_cancelled_and_dropped(self, store: RunStore) -> None:
        pending = self._pending()
        store.begin(pending)
        store.cancelled(pending.request_id)
        assert store.pending()[0].cancelled
        store.drop(pending.request_id)
        assert store.pending() == store.list() == []
