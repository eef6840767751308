"""Memory of the machine, and how much of it this process may use."""

from __future__ import annotations

import re
from pathlib import Path

from edgeopt.agent.v1 import device_pb2
from edgeopt_agent.facts import _cgroup
from edgeopt_agent.sysfs import read_text

_KIB = 1024


def read(root: Path) -> device_pb2.Memory:
    """Total and available bytes, and the control group's limit where it is the smaller one."""
    total, available = _meminfo(root)
    limit = _cgroup.memory_limit(root)
    if limit is None or limit >= total:
        return device_pb2.Memory(total_bytes=total, available_bytes=available)
    return device_pb2.Memory(
        total_bytes=total, limit_bytes=limit, available_bytes=min(available, limit)
    )


def _meminfo(root: Path) -> tuple[int, int]:
    """Total and available bytes; 0 where they are not told."""
    figures = {}
    for line in read_text(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        number = value.removesuffix("kB").strip()
        if re.fullmatch(r"[0-9]{1,15}", number):
            figures[name] = int(number) * _KIB
    if not figures and root == Path("/"):
        return _psutil()
    return figures.get("MemTotal", 0), figures.get("MemAvailable", 0)


def _psutil() -> tuple[int, int]:
    """For macOS, which has no /proc."""
    import psutil

    try:
        memory = psutil.virtual_memory()
    except (psutil.Error, OSError):
        return 0, 0
    return memory.total, memory.available
