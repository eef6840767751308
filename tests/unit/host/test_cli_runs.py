from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from command_line import CommandLine, command_line
from edgeopt_host.run import Run
from edgeopt_host.store import RunStore
from sample_runs import failed_run, measured_run


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    return command_line(tmp_path, monkeypatch, capsys)


@pytest.fixture
def stored(call: CommandLine) -> list[Run]:  # noqa: ARG001 - its home
    """Three runs, the newest first."""
    runs = [
        measured_run(time="2026-11-02T10:03:00+00:00"),
        measured_run("b.onnx", "pi5", time="2026-11-02T10:02:00+00:00", labels={"branch": "x"}),
        failed_run(),
    ]
    with RunStore.open() as store:
        for run in runs:
            store.add(run)
    return runs


def _ids(text: str) -> list[str]:
    return [run["id"] for run in json.loads(text)["runs"]]


class TestList:
    def test_a_table(self, call: CommandLine, stored: list[Run]) -> None:
        done = call("runs", "list")
        assert done.code == 0
        assert done.err == ""
        lines = done.out.splitlines()
        assert [line.split()[0] for line in lines] == ["Run", *(run.id for run in stored)]
        assert lines[1].split() == [
            stored[0].id,
            "2026-11-02",
            "10:03",
            "face.tflite",
            "pi4",
            "420",
            "µs",
            "NOISY",
        ]

    def test_json(self, call: CommandLine, stored: list[Run]) -> None:
        document = json.loads(call("runs", "list", "--format", "json").out)
        assert document == {"schema": "edgeopt.push/1", "runs": [run.document() for run in stored]}

    def test_filters(self, call: CommandLine, stored: list[Run]) -> None:
        for options, numbers in (
            (("--device", "pi5"), [1]),
            (("--model", "face.tflite"), [0, 2]),
            (("--model", "abababab"), [0, 1, 2]),
            (("--label", "branch=main", "--label", "commit=0123abc"), [0]),
            (("--device", "none"), []),
            (("--limit", "2"), [0, 1]),
            (("--limit", "2", "--before", stored[0].id), [1, 2]),
        ):
            done = call("runs", "list", "--format", "json", *options)
            assert _ids(done.out) == [stored[n].id for n in numbers]

    def test_says_how_to_get_more(self, call: CommandLine, stored: list[Run]) -> None:
        assert f"--before {stored[1].id}" in call("runs", "list", "--limit", "2").err

    def test_nothing_is_no_error(self, call: CommandLine) -> None:
        assert call("runs", "list") == (
            0,
            "",
            "no runs are stored yet: edgeopt-host push MODEL --device local\n",
        )
        assert call("runs", "list", "--device", "x") == (0, "", "no stored run matches\n")
        assert json.loads(call("runs", "list", "--format", "json").out)["runs"] == []

    @pytest.mark.parametrize(
        "options",
        [
            ("--label", "x"),
            ("--label", "=x"),
            ("--limit", "0"),
            ("--format", "x"),
            ("--before", "x"),
        ],
    )
    def test_used_wrongly(self, call: CommandLine, options: tuple[str, ...]) -> None:
        done = call("runs", "list", *options)
        assert (done.code, done.out) == (2, "")
        assert done.err


class TestShow:
    def test_a_table(self, call: CommandLine, stored: list[Run]) -> None:
        done = call("runs", "show", stored[0].id[:-1])
        assert done.code == 0
        assert "420 µs [412, 433] (95 % interval)" in done.out
        assert stored[0].command in done.out

    def test_json(self, call: CommandLine, stored: list[Run]) -> None:
        done = call("runs", "show", stored[0].id, "--format", "json")
        assert json.loads(done.out)["runs"] == [stored[0].document()]

    def test_samples(self, call: CommandLine, stored: list[Run]) -> None:
        done = call("runs", "show", stored[0].id, "--samples", "--format", "json")
        document = json.loads(done.out)
        assert document["schema"] == "edgeopt.samples/1"
        assert document["run"] == stored[0].document()
        assert document["channels"] == stored[0].channels
        first = document["launches"][0]
        assert [block["latency_ns"] for block in first["blocks"]] == [
            [1, 2**62, 3],
            [],
            [420_000, 420_001],
        ]
        assert first["readings"][0]["values"] == {"cpu-thermal": 48.2, "cpu0": None}
        assert first["memory"]["peak_rss_bytes"] == 6

    def test_samples_in_short(self, call: CommandLine, stored: list[Run]) -> None:
        done = call("runs", "show", stored[0].id, "--samples")
        assert done.out.splitlines()[-3].split()[:3] == ["Launch", "Samples", "Blocks"]
        assert done.out.splitlines()[-1].split()[:3] == ["1", "5", "3"]
        assert f"runs show {stored[0].id} --samples --format json" in done.err
        assert "has no samples" in call("runs", "show", stored[2].id, "--samples").err

    def test_an_unknown_one(self, call: CommandLine) -> None:
        done = call("runs", "show", "abc")
        assert (done.code, done.out) == (2, "")
        assert done.err == (
            "edgeopt-host: no stored run has the id 'abc': `edgeopt-host runs list` shows them\n"
        )


class TestExport:
    def test_formats(self, call: CommandLine, stored: list[Run]) -> None:
        assert _ids(call("runs", "export").out) == [run.id for run in stored]
        rows = csv.DictReader(io.StringIO(call("runs", "export", "--format", "csv").out))
        assert [row["id"] for row in rows] == [run.id for run in stored]
        assert call("runs", "export", "--format", "markdown").out.count("\n") == 5

    def test_chosen_ones(self, call: CommandLine, stored: list[Run]) -> None:
        chosen = [stored[2].id, stored[0].id]
        assert _ids(call("runs", "export", *chosen).out) == chosen
        assert _ids(call("runs", "export", "--device", "pi5").out) == [stored[1].id]
        assert _ids(call("runs", "export", "--limit", "1").out) == [stored[0].id]
        assert call("runs", "export", stored[0].id, "--device", "pi5").code == 2

    def test_to_a_file(self, call: CommandLine, stored: list[Run], tmp_path: Path) -> None:
        file = tmp_path / "out.json"
        done = call("runs", "export", "-o", str(file))
        assert done == (0, "", f"3 runs written to {file}\n")
        assert _ids(file.read_text()) == [run.id for run in stored]
        umask = os.umask(0)
        os.umask(umask)
        assert file.stat().st_mode & 0o777 == 0o666 & ~umask
        file.chmod(0o600)
        assert call("runs", "export", "--limit", "1", "-o", str(file)).code == 0
        assert len(_ids(file.read_text())) == 1
        assert file.stat().st_mode & 0o777 == 0o600
        assert list(tmp_path.glob(".out*")) == []

    def test_where_nothing_can_be_written(self, call: CommandLine, tmp_path: Path) -> None:
        for place, why in (
            (str(tmp_path), "Is a directory"),
            ("/proc/out.json", "No such file or directory"),
            (str(tmp_path / "none" / "out.json"), "No such file or directory"),
        ):
            done = call("runs", "export", "-o", place)
            assert done == (2, "", f"edgeopt-host: cannot write {place}: {why}\n")

    def test_a_pipe_is_written_through(self, stored: list[Run]) -> None:
        command = [sys.executable, "-m", "edgeopt_host.cli", "runs", "export", "-o", "/dev/stdout"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert _ids(done.stdout) == [run.id for run in stored]

    def test_an_output_that_lacks_signs(self, stored: list[Run]) -> None:
        command = [sys.executable, "-m", "edgeopt_host.cli", "runs", "show", stored[0].id]
        environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
        done = subprocess.run(command, capture_output=True, check=True, env=environment)
        assert b"420 us [412, 433]" in done.stdout


class TestDelete:
    def test_without_a_terminal_needs_yes(self, call: CommandLine, stored: list[Run]) -> None:
        done = call("runs", "delete", stored[0].id)
        assert (done.code, done.out) == (2, "")
        assert "--yes is needed" in done.err
        assert call("runs", "delete", stored[0].id, stored[2].id, "--yes") == (
            0,
            "",
            "deleted 2 runs\n",
        )
        assert _ids(call("runs", "list", "--format", "json").out) == [stored[1].id]

    def test_one_that_is_unknown_deletes_none(self, call: CommandLine, stored: list[Run]) -> None:
        assert call("runs", "delete", stored[0].id, "none", "--yes").code == 2
        assert len(_ids(call("runs", "export").out)) == 3

    def test_on_a_terminal_it_asks(
        self, call: CommandLine, stored: list[Run], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answers = iter([False, True])
        asked = []

        def confirm(question: str, *, abort: bool, err: bool) -> None:
            asked.append((question, abort, err))
            if not next(answers):
                raise click.Abort

        monkeypatch.setattr(click, "confirm", confirm)
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        assert call("runs", "delete", stored[0].id) == (130, "", "edgeopt-host: interrupted\n")
        assert call("runs", "delete", stored[0].id) == (0, "", "deleted 1 run\n")
        question = f"Delete 1 run for good ({stored[0].id})?"
        assert asked == [(question, True, True)] * 2


def test_a_store_that_cannot_be_opened(call: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "edgeopt.db").write_text("no database" * 1000)
    done = call("runs", "list")
    assert (done.code, done.out) == (4, "")
    assert "is no SQLite database" in done.err


def test_another_database_comes_later(call: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEOPT_DATABASE_URL", "postgresql://host/edgeopt")
    assert call("runs", "list").code == 2


@pytest.mark.parametrize("group", ["runs", "device"])
def test_help_imports_nothing_heavy(group: str) -> None:
    code = (
        "import sys; from edgeopt_host import cli; sys.argv[1:] = [sys.argv[1], '--help']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'rich', 'sqlalchemy', 'alembic', 'grpc', 'tomlkit'}\n"
        "print(heavy & set(sys.modules), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, group]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == "set()\n"
    assert "list" in done.stdout
