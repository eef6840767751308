"""The command line as a shell sees it: exit code, stdout, stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from edgeopt_host import cli


class Done(NamedTuple):
    code: int
    out: str
    err: str


CommandLine = Callable[..., Done]


def command_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    """`edgeopt-host` with a home of its own, in this process."""
    monkeypatch.setenv("EDGEOPT_HOME", str(home))
    for name in ("EDGEOPT_DATABASE_URL", "COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["edgeopt-host", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert isinstance(stopped.value.code, int)
        return Done(stopped.value.code, *capsys.readouterr())

    return run
