"""This process's memory, as the kernel counts it in /proc/self/status.

Not `ru_maxrss`: a child inherits its parent's high-water mark over fork and exec.
"""

from __future__ import annotations

from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def reset_peak() -> None:
    """Sets VmHWM back to the current VmRSS, where the kernel allows it."""
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        # Without it the peak still holds, but includes the runtime's import.
        return


def read() -> dict[str, int]:
    """VmHWM, VmRSS, RssAnon and RssFile in bytes; zero where the kernel does not tell."""
    fields = dict.fromkeys(("VmHWM", "VmRSS", "RssAnon", "RssFile"), 0)
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:  # no /proc: macOS
        return fields
    for line in lines:
        name, _, value = line.partition(":")
        if name in fields:
            fields[name] = int(value.split()[0]) * 1024
    return fields
