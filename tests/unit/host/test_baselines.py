"""Names for runs, and what is no baseline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import CommandLine, command_line
from edgeopt_host import baselines, cli
from edgeopt_host.errors import UsageError
from edgeopt_host.run import Latency, Run
from edgeopt_host.store import RunStore
from sample_runs import failed_run, measured_run


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    monkeypatch.setitem(cli._COMMANDS, "baseline", "edgeopt_host.cli.baseline:baseline")
    return command_line(tmp_path, monkeypatch, capsys)


@pytest.fixture
def store(call: CommandLine) -> Iterator[RunStore]:  # noqa: ARG001 - its home
    with RunStore.open() as opened:
        yield opened


def _stored(store: RunStore, run: Run | None = None) -> Run:
    run = run or measured_run()
    store.add(run)
    return run


def _with_p50(p50: float, half: float, **changes: object) -> Run:
    latency = Latency(1000, 3, p50=p50, p50_ci95=[p50 - half, p50 + half], p95=2 * p50)
    return measured_run(latency_ms=latency, **changes)


class TestSet:
    def test_a_name_stands_for_a_run_per_device(self, store: RunStore) -> None:
        one, other = _stored(store), _stored(store, measured_run(device="pi5"))
        done = baselines.set_(store, "main", str(one.id), note="first")
        baselines.set_(store, "main", str(other.id))
        assert (done.old, done.differences, done.warnings) == (None, [], [])
        assert [(b.device, b.run_id, b.note) for b in store.baselines("main")] == [
            ("pi4", one.id, "first"),
            ("pi5", other.id, ""),
        ]

    def test_a_failed_run_is_refused(self, store: RunStore) -> None:
        run = _stored(store, failed_run())
        with pytest.raises(UsageError, match=r"can be no baseline: it failed \(UNREACHABLE\)"):
            baselines.set_(store, "main", str(run.id))
        assert store.baselines() == []

    def test_a_run_whose_launches_are_all_tainted_is_refused(self, store: RunStore) -> None:
        run = measured_run()
        for launch in run.launches:
            launch.tainted = "the clock fell"
        _stored(store, run)
        with pytest.raises(UsageError, match=r"none of its launches counts \(the clock fell\)"):
            baselines.set_(store, "main", str(run.id))

    def test_a_run_of_one_launch_that_counts_is_refused(self, store: RunStore) -> None:
        tainted, quick = measured_run(), measured_run()
        tainted.launches[1].tainted = "the clock fell"
        del quick.launches[1:]
        for run in (tainted, quick):
            _stored(store, run)
            with pytest.raises(UsageError, match=r"only one launch of it counts, .*--quick"):
                baselines.set_(store, "main", str(run.id))

    @pytest.mark.parametrize("name", ["", "a b", "feature/x", "-x", "x" * 65, "ä"])
    def test_names_are_plain(self, store: RunStore, name: str) -> None:
        run = _stored(store)
        with pytest.raises(UsageError, match="is no name of a baseline"):
            baselines.set_(store, name, str(run.id))

    def test_another_run_takes_its_place_only_when_asked_to(self, store: RunStore) -> None:
        old, new = _stored(store), _stored(store)
        baselines.set_(store, "main", str(old.id))
        with pytest.raises(UsageError, match=f"is run {old.id} .*--replace puts run {new.id}"):
            baselines.set_(store, "main", str(new.id))
        assert store.baselines("main")[0].run_id == old.id
        baselines.set_(store, "main", str(new.id), replace=True)
        assert store.baselines("main")[0].run_id == new.id

    def test_the_same_run_again_changes_the_note(self, store: RunStore) -> None:
        run = _stored(store)
        baselines.set_(store, "main", str(run.id))
        assert baselines.set_(store, "main", str(run.id), note="new").old is None
        assert store.baselines("main")[0].note == "new"
        baselines.set_(store, "main", str(run.id))
        assert store.baselines("main")[0].note == "new"
        baselines.set_(store, "main", str(run.id), note="")
        assert store.baselines("main")[0].note == ""

    def test_a_note_is_of_its_run(self, store: RunStore) -> None:
        old, new = _stored(store), _stored(store)
        baselines.set_(store, "main", str(old.id), note="old")
        baselines.set_(store, "main", str(new.id), replace=True)
        assert store.baselines("main")[0].note == ""

    def test_every_figure_that_differs_beyond_its_interval_is_named(self, store: RunStore) -> None:
        old, new = _stored(store), measured_run()
        old_ends, new.throughput_ci95 = old.throughput_ci95, [235000.0, 236000.0]
        assert old_ends is not None
        new.throughput_per_s = 235600.0
        assert new.accuracy is not None
        new.correct = None
        new.accuracy = {**new.accuracy, "value": 0.5, "ci95": [0.45, 0.55]}
        _stored(store, new)
        baselines.set_(store, "main", str(old.id))
        done = baselines.set_(store, "main", str(new.id), replace=True)
        told = {said.split()[0]: said for said in done.differences}
        assert " → 235600/s (+" in told["throughput_per_s"]
        assert "within" not in told["throughput_per_s"]
        assert " → 0.500 (" in told["accuracy"]

    def test_a_replacement_says_by_how_much_figures_differ(self, store: RunStore) -> None:
        old = _stored(store, _with_p50(10.0, 0.5))
        new = _with_p50(10.2, 0.5)
        new.model.sha256 = "cd" * 32
        _stored(store, new)
        baselines.set_(store, "main", str(old.id))
        done = baselines.set_(store, "main", str(new.id), replace=True)
        assert done.differences == [
            "p50_latency_ms 10.0 ms → 10.2 ms (+2.0 %, within the intervals)",
            "p95_latency_ms 20.0 ms → 20.4 ms (+2.0 %)",
            "model face.tflite abababab → face.tflite cdcdcdcd",
        ]
        assert done.warnings == []

    @pytest.mark.parametrize(
        ("p50", "digest", "warned"),
        [(8.0, "ab", True), (9.9, "ab", False), (12.0, "ab", False), (8.0, "cd", False)],
    )
    def test_a_lucky_run_of_the_same_model_is_doubted(
        self, store: RunStore, p50: float, digest: str, *, warned: bool
    ) -> None:
        old, new = _with_p50(10.0, 0.5), _with_p50(p50, 0.5)
        new.model.sha256 = digest * 32
        for run in (old, new):
            _stored(store, run)
        baselines.set_(store, "main", str(old.id))
        done = baselines.set_(store, "main", str(new.id), replace=True)
        assert [("lucky" in warning) for warning in done.warnings] == [True] * warned

    def test_a_replacement_that_is_not_comparable_is_said(self, store: RunStore) -> None:
        old, new = _stored(store), measured_run()
        new.state.governor = "performance"
        _stored(store, new)
        baselines.set_(store, "main", str(old.id))
        done = baselines.set_(store, "main", str(new.id), replace=True)
        assert done.warnings == [
            "the two are not comparable: the governor was ondemand, now performance"
        ]


class TestResolve:
    def test_a_name_or_an_id(self, store: RunStore) -> None:
        named, free = _stored(store), _stored(store)
        baselines.set_(store, "main", str(named.id))
        assert baselines.resolve(store, "main", "pi4").id == named.id
        found = baselines.resolve(store, str(free.id), "pi4")
        assert (found.id, len(found.launches)) == (free.id, 2)

    def test_a_name_wins_over_the_beginning_of_an_id(self, store: RunStore) -> None:
        named = _stored(store)
        _stored(store, measured_run(id="mainaaaaaaaa"))
        baselines.set_(store, "main", str(named.id))
        assert baselines.resolve(store, "main", "pi4").id == named.id

    def test_a_name_without_a_run_on_this_device(self, store: RunStore) -> None:
        run = _stored(store)
        baselines.set_(store, "main", str(run.id))
        said = rf"'main' has no run on pi5, only on pi4 \(run {run.id}\).*baseline set main RUN"
        with pytest.raises(UsageError, match=said):
            baselines.resolve(store, "main", "pi5")

    def test_what_is_neither_names_candidates(self, store: RunStore) -> None:
        run = _stored(store)
        for name in ("main", "v1"):
            baselines.set_(store, name, str(run.id))
        with pytest.raises(UsageError, match=r"'mian' is no baseline, and no stored .*: main$"):
            baselines.resolve(store, "mian", "pi4")
        with pytest.raises(UsageError, match=r"baselines: main, v1$"):
            baselines.resolve(store, "zzz", "pi4")

    def test_a_run_of_another_device_and_one_that_failed(self, store: RunStore) -> None:
        other, failed = _stored(store, measured_run(device="pi5")), _stored(store, failed_run())
        with pytest.raises(UsageError, match="was measured on pi5, not on pi4"):
            baselines.resolve(store, str(other.id), "pi4")
        with pytest.raises(UsageError, match=r"failed \(UNREACHABLE\)"):
            baselines.resolve(store, str(failed.id), "phone")


class TestCommand:
    def test_from_set_to_delete(self, call: CommandLine, store: RunStore) -> None:
        one, other = _stored(store), _stored(store, measured_run(device="pi5"))
        for run in (one, other):
            done = call("baseline", "set", "main", str(run.id), "--note", "as shipped")
            assert (done.code, done.out) == (0, "")
            assert f"main on {run.device.name} is run {run.id} of face.tflite" in done.err
        lines = call("baseline", "list").out.splitlines()
        assert lines[0].split() == ["Name", "Device", "Run", "Set", "Model", "p50", "Note"]
        assert [line.split()[:3] for line in lines[1:]] == [
            ["main", "pi4", one.id],
            ["main", "pi5", other.id],
        ]
        shown = call("baseline", "show", "main", "--device", "pi5").out
        assert f"main on pi5   run {other.id}" in shown
        assert "governor ondemand" in shown
        assert "main on pi4" not in shown
        done = call("runs", "delete", str(one.id), "--yes")
        assert (done.code, "is the baseline 'main' of pi4" in done.err) == (2, True)
        done = call("baseline", "delete", "main", "--device", "pi4", "--yes")
        assert (done.code, done.err) == (0, "forgot main on pi4\n")
        assert call("runs", "delete", str(one.id), "--yes").code == 0
        assert call("baseline", "delete", "main", "--yes").err == "forgot main on pi5\n"
        done = call("baseline", "list")
        assert (done.code, done.out) == (0, "")
        assert "baseline set NAME RUN" in done.err

    def test_json(self, call: CommandLine, store: RunStore) -> None:
        run = _stored(store)
        call("baseline", "set", "main", str(run.id))
        for arguments in (("list",), ("show", "main")):
            document = json.loads(call("baseline", *arguments, "--format", "json").out)
            assert document["schema"] == "edgeopt.baselines/1"
            (entry,) = document["baselines"]
            assert entry["run"] == run.document()
            assert entry["fingerprint"]["governor"] == "ondemand"
            assert {"name": "main", "device": "pi4", "note": ""}.items() <= entry.items()
            assert entry["time"].endswith("+00:00")

    def test_replacing(self, call: CommandLine, store: RunStore) -> None:
        old, new = _stored(store, _with_p50(10.0, 0.5)), _stored(store, _with_p50(8.0, 0.5))
        call("baseline", "set", "main", str(old.id))
        done = call("baseline", "set", "main", str(new.id))
        assert (done.code, "--replace" in done.err) == (2, True)
        done = call("baseline", "set", "main", str(new.id), "--replace")
        assert done.code == 0
        assert f"in place of run {old.id}: p50_latency_ms 10.0 ms → 8.00 ms (-20.0 %)" in done.err
        assert "warning: the same model" in done.err

    def test_a_file_of_that_name_is_told(
        self, call: CommandLine, store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        run = _stored(store)
        assert "file" not in call("baseline", "set", "main", str(run.id)).err
        (tmp_path / "main").write_text("")
        assert "there is a file main here" in call("baseline", "set", "main", str(run.id)).err

    def test_unknown_names(self, call: CommandLine, store: RunStore) -> None:
        call("baseline", "set", "main", str(_stored(store).id))
        for arguments, said in (
            (("show", "mian"), "did you mean main"),
            (("delete", "zzz", "--yes"), "baseline list"),
            (("show", "main", "--device", "pi5"), "has no run on pi5, only on pi4"),
            (("set", "main", "zzz"), "no stored run has the id 'zzz'"),
            (("delete", "main"), "--yes is needed"),
        ):
            done = call("baseline", *arguments)
            assert (done.code, done.out) == (2, "")
            assert said in done.err
