"""The operating system, the interpreter, and whether the agent can work on them."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from pathlib import Path

from edgeopt.agent.v1 import device_pb2
from edgeopt_agent.facts import _android
from edgeopt_agent.sysfs import read_text

_OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
_MOST_OF_32_BITS = 2**32


def refuse_reason() -> str | None:
    """Why the agent cannot work here, in one sentence; None if it can.

    A 64-bit kernel does not help a 32-bit Python, which is what Raspberry Pi OS (32-bit) has.
    """
    if platform.system() == "Windows":
        return (
            "This is Windows, which edgeopt does not support; "
            "use Linux, also inside WSL 2 or a virtual machine."
        )
    if sys.maxsize < _MOST_OF_32_BITS:
        return (
            f"This is a 32-bit Python ({platform.machine()}), and neither LiteRT nor ONNX Runtime "
            "exists for 32 bits; install a 64-bit operating system."
        )
    return None


def read(root: Path) -> device_pb2.OperatingSystem:
    """Names as people know them, the kernel's release and Python's version."""
    return device_pb2.OperatingSystem(
        name=_name(root), kernel=os.uname().release, python=platform.python_version()
    )


def _name(root: Path) -> str:
    known = _android.properties(root)
    if release := known.get("ro.build.version.release"):
        return f"Android {release} (API {known.get('ro.build.version.sdk', 'unknown')})"
    for path in _OS_RELEASE:
        if name := os_release(read_text(root / path)).get("PRETTY_NAME"):
            return name
    version = platform.mac_ver()[0]
    return f"macOS {version}" if version else platform.system()


def os_release(text: str) -> dict[str, str]:
    """The assignments of an os-release file, unquoted as a shell would (man os-release)."""
    values = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if not equals or key.startswith("#"):
            continue
        try:
            values[key] = "".join(shlex.split(value))
        except ValueError:
            values[key] = value
    return values
