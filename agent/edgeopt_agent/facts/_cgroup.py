"""Limits that a control group sets, version 1 and 2."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from edgeopt_agent.sysfs import read_int, read_text


def memory_limit(root: Path) -> int | None:
    """Bytes that this process and what shares its groups may use; None without a limit.

    Version 1 has no word for "none" but a huge number, which is returned as it is.
    """
    limits = [
        limit
        for folder in _folders(root, "memory")
        for name in ("memory.max", "memory.limit_in_bytes")
        if (limit := read_int(folder / name)) is not None and limit >= 0
    ]
    return min(limits, default=None)


def cpu_quota(root: Path) -> float:
    """CPUs' worth of time per time that this process may use; infinite without a quota."""
    return min((_quota(folder) for folder in _folders(root, "cpu")), default=math.inf)


def _quota(folder: Path) -> float:
    # Version 2: "50000 100000" or "max 100000"; version 1: two files, -1 for none.
    quota, _, period = read_text(folder / "cpu.max").partition(" ")
    quota = quota or read_text(folder / "cpu.cfs_quota_us")
    period = period or read_text(folder / "cpu.cfs_period_us")
    try:
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    except (ValueError, ZeroDivisionError, OverflowError):
        return math.inf


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """The process's own group and every one around it: a limit holds for all that is inside.

    Inside a container without a cgroup namespace, /proc/self/cgroup names a path of the host that
    does not exist below the mount; the mount itself is then the container's group.
    """
    mount = root / "sys/fs/cgroup"
    for line in read_text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            bases = [mount, mount / "unified"]
        elif controller in controllers.split(","):
            bases = [mount / controllers, mount / controller]
        else:
            continue
        group = PurePosixPath(*(part for part in path.split("/") if part not in {"", ".."}))
        for base in bases:
            for inner in (group, *group.parents):
                yield base / inner
