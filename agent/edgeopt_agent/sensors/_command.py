"""Sensors that are commands: slow, and so never asked by a worker."""

from __future__ import annotations

import subprocess
from abc import abstractmethod
from pathlib import Path

from edgeopt_agent.errors import Unavailable
from edgeopt_agent.sensors._base import Sensor


class CommandSensor(Sensor):
    """Runs a command for each reading."""

    slow = True
    min_interval_ns = 1_000_000_000

    def __init__(self, command: list[str], timeout_s: float, answer: str) -> None:
        """Takes the answer that the channels were found in as the first reading."""
        self._command = command
        self._timeout_s = timeout_s
        self._answer: str | None = answer

    @abstractmethod
    def parse(self, answer: str) -> list[float]:
        """One value per channel, in order; NaN where the answer has none."""

    def read(self) -> list[float]:
        answer, self._answer = self._answer, None
        try:
            return self.parse(run(self._command, self._timeout_s) if answer is None else answer)
        except Unavailable:
            return self.parse("")


def run(command: list[str], timeout_s: float) -> str:
    """What a command prints.

    Raises:
        Unavailable: when it is missing, denied, fails or takes too long.
    """
    path = command[0]
    if not Path(path).parent.is_dir():
        raise Unavailable(f"no {path} here")
    try:
        answer = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{path} did not answer within {timeout_s:g} s") from None
    except FileNotFoundError:
        raise Unavailable(f"no {path} here") from None
    except OSError as error:
        raise Unavailable(f"{path}: {(error.strerror or str(error)).lower()}") from None
    if answer.returncode != 0:
        raise Unavailable(f"{path} failed with status {answer.returncode}")
    return answer.stdout.decode("utf-8", "replace")
