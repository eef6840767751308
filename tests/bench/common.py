"""What the benchmarks share."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass
class RunningAgent:
    address: str
    pid: int


@contextlib.contextmanager
def running_agent(state_dir: Path, *arguments: str) -> Iterator[RunningAgent]:
    """An agent in a process of its own, as `edgeopt-agent serve` starts it."""
    command = [sys.executable, "-m", "edgeopt_agent", "serve", "--state-dir", str(state_dir)]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().removeprefix("listening on ").strip()
        try:
            yield RunningAgent(address, process.pid)
        finally:
            process.terminate()
