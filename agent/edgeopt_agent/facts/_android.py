"""Android's system properties."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

_LINE = re.compile(r"^\[([^\]]+)\]: \[(.*)\]$", re.MULTILINE)
_TIMEOUT_S = 5.0


def properties(root: Path) -> dict[str, str]:
    """What `getprop` lists; nothing where this is no Android. Apps may run it, Termux included."""
    command = root / "system/bin/getprop"
    if not os.access(command, os.X_OK):
        return {}
    try:
        answer = subprocess.run(
            [command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return parse(answer.stdout.decode("utf-8", "replace"))


def parse(listing: str) -> dict[str, str]:
    """The lines "[name]: [value]"."""
    return dict(_LINE.findall(listing))
