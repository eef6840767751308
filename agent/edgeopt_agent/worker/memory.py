"""This process's memory, as the kernel counts it in /proc/self/status.

Not `ru_maxrss`: a child inherits its parent's high-water mark over fork and exec.
"""

from __future__ import annotations

from pathlib import Path

_STATUS = Path("/proc/self/status")
_FIELDS = ("VmHWM", "VmRSS", "RssAnon", "RssFile")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def reset_peak() -> None:
    """Sets VmHWM back to the current VmRSS, where the kernel allows it."""
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        # Without it the peak still holds, but includes the runtime's import.
        return


def read() -> dict[str, int]:
    """VmHWM, VmRSS, RssAnon and RssFile in bytes; nothing where the kernel does not tell."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:  # no /proc: macOS
        return {}
    pairs = (line.split(":", 1) for line in lines)
    return {name: int(value.split()[0]) * 1024 for name, value in pairs if name in _FIELDS}
