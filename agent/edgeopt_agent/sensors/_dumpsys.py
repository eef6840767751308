"""Android's `dumpsys`, which few may run."""

from __future__ import annotations

from pathlib import Path

from edgeopt_agent.errors import Unavailable
from edgeopt_agent.sensors._command import run

TIMEOUT_S = 10.0


def command(root: Path, service: str) -> list[str]:
    """The command that prints a service's state."""
    return [str(root / "system/bin/dumpsys"), service]


def ask(root: Path, service: str) -> str:
    """A service's state.

    Raises:
        Unavailable: when there is no dumpsys, or it refuses.
    """
    asked = command(root, service)
    answer = run(asked, TIMEOUT_S)
    if "Permission Denial" in answer:
        raise Unavailable(
            f"{' '.join(asked)}: permission denied; allow it from a computer: "
            "adb shell pm grant com.termux android.permission.DUMP"
        )
    if "Can't find service" in answer:
        raise Unavailable(f"{' '.join(asked)}: Android has no such service")
    return answer
