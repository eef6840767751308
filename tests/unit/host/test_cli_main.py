"""However a command ends, it ends with a documented exit code and one sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from edgeopt_agent import cli as agent_cli
from edgeopt_agent.errors import FailedPrecondition, InvalidArgument, NotFound
from edgeopt_host import cli as host_cli
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
