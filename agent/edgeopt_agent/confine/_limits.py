"""Resource limits, which every system has."""

from __future__ import annotations

import os
import resource
from pathlib import Path

# A file this large is no profile and no output that anybody asked for.
_FILE_BYTES = 2**30
_FILES = 1024
# For this worker, on top of what its user has: threads of a runtime and of what it imports.
_THREADS = 512


def set_limits(data_bytes: int, threads_now: int, cpu_s: int = 0) -> None:
    """Sets soft and hard limits for this process.

    Args:
        data_bytes: memory that it may map to write to, so that an allocation fails before the
            device runs out; 0 for no limit.
        threads_now: how many threads this user has already, since the kernel counts them together;
            0 for no limit. The kernel never limits root's.
        cpu_s: CPU time, that of all threads together; 0 for no limit.
    """
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, _FILE_BYTES)
    _lower(resource.RLIMIT_NOFILE, _FILES)
    if data_bytes:
        _lower(resource.RLIMIT_DATA, data_bytes)
    if cpu_s:
        _lower(resource.RLIMIT_CPU, cpu_s)
    if threads_now:
        _lower(resource.RLIMIT_NPROC, threads_now + _THREADS)


def threads_of_this_user() -> int:
    """What RLIMIT_NPROC counts; 0 where it is not told, or does not matter: for root."""
    user = os.getuid()
    if not user:
        return 0
    try:
        processes = [entry for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    except OSError:
        return 0
    return sum(_threads(process, user) for process in processes)


def _threads(process: Path, user: int) -> int:
    try:
        return len(list((process / "task").iterdir())) if process.stat().st_uid == user else 0
    except OSError:  # it has ended meanwhile
        return 0


def _lower(which: int, limit: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(which, (limit, limit))
