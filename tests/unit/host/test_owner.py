"""Who takes care of a pending run: a process, for as long as it lives."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from edgeopt_host.owner import Owner, is_alive

_OWN = """
import os, sys
from edgeopt_host.owner import Owner
with Owner() as owner:
    print(owner.token, flush=True)
    sys.stdin.read()
"""


def test_an_owner_lives_as_long_as_its_process(home: Path) -> None:
    folder = home / "data" / "owners"
    with subprocess.Popen(
        [sys.executable, "-c", _OWN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        token = process.stdout.readline().strip()
        # Whoever asks does not disturb, and cleans up nothing that is in use.
        with Owner() as me:
            assert is_alive(token)
            assert is_alive(me.token)
            assert is_alive(token)
        assert not is_alive(me.token)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert [path.name for path in folder.iterdir()] == [token]
    assert not is_alive(token)
    with Owner() as me:
        assert [path.name for path in folder.iterdir()] == [me.token]
    assert list(folder.iterdir()) == []
    assert folder.stat().st_mode & 0o777 == 0o700
