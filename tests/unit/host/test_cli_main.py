"""However a command ends, it ends with a documented exit code and one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from rich.console import Console
from rich.progress import Progress

from edgeopt_agent import cli as agent_cli
from edgeopt_agent.errors import FailedPrecondition, InvalidArgument, NotFound
from edgeopt_host import cli as host_cli
from edgeopt_host.cli import _output, _progress
from edgeopt_host.errors import Cancelled, EdgeoptError, Unreachable, UsageError

COMMON: list[tuple[BaseException, int]] = [
    (click.exceptions.Exit(3), 3),
    (click.UsageError("what?"), 2),
    (click.ClickException("no"), 2),
    (click.Abort(), 130),
    (KeyboardInterrupt(), 130),
    (ZeroDivisionError("oops"), 4),
]
HOST = [
    (UsageError("used wrongly"), 2),
    (EdgeoptError("no"), 4),
    (Unreachable("gone"), 4),
    (Cancelled("cancelled on pi4"), 130),
    (ModuleNotFoundError("No module named 'rich'", name="rich"), 4),
]
AGENT = [(InvalidArgument("R", "m"), 2), (FailedPrecondition("R", "m"), 2), (NotFound("R", "m"), 4)]


@pytest.mark.parametrize(
    ("module", "error", "code"),
    [(host_cli, *case) for case in COMMON + HOST] + [(agent_cli, *case) for case in COMMON + AGENT],
)
def test_every_end_has_its_code(
    module: object,
    error: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(**_: object) -> None:
        raise error

    monkeypatch.setattr(module.cli, "main", fails)  # type: ignore[attr-defined]
    with pytest.raises(SystemExit) as ended:
        module.main()  # type: ignore[attr-defined]
    assert ended.value.code == code
    written = capsys.readouterr()
    assert not written.out
    assert "Traceback" not in written.err


@pytest.mark.parametrize("error", [UsageError, EdgeoptError, click.UsageError, RuntimeError])
def test_what_came_from_elsewhere_does_not_control_the_terminal(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b]0;owned\x07 \x9b2J"

    def fails(**_: object) -> None:
        _output.note(evil)
        raise error(evil)

    monkeypatch.setattr(host_cli.cli, "main", fails)
    with pytest.raises(SystemExit):
        host_cli.main()
    shown = capsys.readouterr().err
    assert not any(sign in shown for sign in "\x1b\x07\x9b")
    assert shown.count("\\x1b]0;owned\\x07 \\x9b2J") == 2


def test_progress_on_a_terminal_shows_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(console=Console(stderr=True, force_terminal=True)) as progress:
        bars = _progress._Bars(progress)
        bars.notice("[red]\x1b]0;owned\x07")
        bars.measuring("pi4", "m[/]\x1b[2J.onnx", "measuring", 0, 1, 0.5)
    shown = capsys.readouterr().err
    assert "[red]\\x1b]0;owned\\x07" in shown
    assert "\x1b]0" not in shown
    assert "\x1b[2J" not in shown


def test_debug_shows_where_and_still_never_looks_like_a_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(**_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setenv("EDGEOPT_DEBUG", "1")
    monkeypatch.setattr(host_cli.cli, "main", fails)
    with pytest.raises(SystemExit) as ended:
        host_cli.main()
    assert ended.value.code == 4
    assert "in fails" in capsys.readouterr().err


def test_windows_is_refused_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit) as ended:
        host_cli.main()
    assert ended.value.code == 4
    assert "WSL 2" in capsys.readouterr().err


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, edgeopt_host.cli as c; sys.argv = ['edgeopt-host', '--help']\n"
        "try: c.main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('numpy', 'grpc', 'rich', 'sqlalchemy', 'onnx', 'scipy') if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("reader", ["head -1", "true"])
def test_a_reader_that_goes_away_is_no_error(reader: str) -> None:
    command = f"{sys.executable} -m edgeopt_host.cli device list --format json | {reader}"
    shell = ["/bin/bash", "-o", "pipefail", "-c", command]
    ended = subprocess.run(shell, capture_output=True, text=True, check=False)
    assert ended.returncode == 0
    assert not ended.stderr


@pytest.mark.parametrize("reader", ["| head -1", "| true", "2>&1 | true"])
def test_what_a_command_found_stands_when_its_reader_goes_away(reader: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.rv"
    bad.write_text("no model")
    command = f"{sys.executable} -m edgeopt_host.cli push {bad} --device local {reader}"
    shell = ["/bin/bash", "-o", "pipefail", "-c", command]
    ended = subprocess.run(shell, capture_output=True, text=True, check=False)
    assert ended.returncode == 4
    assert "Traceback" not in ended.stderr
    assert "internal error" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("words", ["--help", "--version", "push --help", "device list"])
@pytest.mark.parametrize("output", [">/dev/full", ">&-"])
def test_an_output_that_takes_nothing_is_told(words: str, output: str) -> None:
    command = f"exec {sys.executable} -m edgeopt_host.cli {words} {output}"
    ended = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert ended.returncode == 4
    assert ended.stderr.count("\n") == 1
    assert "written to standard output" in ended.stderr


def test_closed_streams_change_nothing_else() -> None:
    command = f"exec {sys.executable} -m edgeopt_host.cli device remove nobody <&- >&- 2>&-"
    assert subprocess.run(["/bin/sh", "-c", command], check=False).returncode == 2


@pytest.mark.parametrize(
    "words",
    [
        (b"push", b"m.onnx", b"--device=local", b"--label=a=\xff"),
        (b"push", b"m.onnx", b"--device=\xff"),
        (b"runs", b"list", b"--label=a=\xff"),
        (b"runs", b"show", b"\xff"),
        (b"device", b"add", b"\xff", b"127.0.0.1"),
    ],
)
def test_arguments_that_are_no_text_are_used_wrongly(words: tuple[bytes, ...]) -> None:
    command = [sys.executable, "-m", "edgeopt_host.cli", *words]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, "no UTF-8 text" in ended.stderr) == (2, True), ended.stderr


def test_files_may_be_called_as_they_like(tmp_path: Path) -> None:
    model = os.fsencode(tmp_path / "m") + b"\xff.rv"
    Path(os.fsdecode(model)).write_text("no model")
    command = [sys.executable, "-m", "edgeopt_host.cli", "push", model, "--device=local"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "no UTF-8 text" not in ended.stderr
    assert "MODEL_INVALID" in ended.stdout
    assert ended.returncode == 4


def test_a_setting_of_the_environment_is_blamed_by_its_name(
    edgeopt_host: Callable[..., subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEOPT_AGENT_ALLOW", "bogus")
    ended = edgeopt_host("device", "info", "local")
    assert ended.returncode == 4
    assert "EDGEOPT_AGENT_ALLOW: 'bogus' is not one of" in ended.stderr
    assert "--allow" not in ended.stderr
