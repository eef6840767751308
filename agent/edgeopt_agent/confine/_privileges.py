"""What a process may do beyond its user: nothing new, and nothing of root's."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgeopt_agent.confine._linux import capget, capset, prctl

_SET_NO_NEW_PRIVS, _CAPBSET_DROP = 38, 24
_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL = 47, 4
_VERSION_3 = 0x20080522
_DAC_READ_SEARCH = 2
_LAST_POSSIBLE = 63

_Header = ctypes.c_uint32 * 2
# Effective, permitted, inheritable: for the lower 32 capabilities, then for the upper.
_Sets = ctypes.c_uint32 * 6


def no_new_privileges() -> None:
    """A set-user-ID program or file capabilities give this process nothing any more."""
    prctl(_SET_NO_NEW_PRIVS, 1)


def drop_capabilities(needed: Iterable[Path]) -> None:
    """Gives root's powers up, for this thread and what it starts from now on.

    Reading past permissions is kept when one of the folders `needed` cannot be read without, as
    where root runs Python from somebody's private home.
    """
    header, sets = _Header(_VERSION_3, 0), _Sets()
    capget(header, sets)
    permitted = (sets[1], sets[4])
    if not any(permitted):
        return
    capset(header, _sets((0, 0), permitted))
    kept = 0 if all(map(_readable, needed)) else 1 << _DAC_READ_SEARCH & permitted[0]
    with contextlib.suppress(OSError):  # before Linux 4.3
        prctl(_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL)
    # The bounding set is only changed with CAP_SETPCAP, which root in a container may lack.
    capset(header, _sets(permitted, permitted))
    with contextlib.suppress(OSError):
        for capability in range(_LAST_POSSIBLE):
            if 1 << capability != kept:
                prctl(_CAPBSET_DROP, capability)
    capset(header, _sets((kept, 0), (kept, 0)))


def _sets(effective: Sequence[int], permitted: Sequence[int]) -> ctypes.Array[ctypes.c_uint32]:
    return _Sets(effective[0], permitted[0], 0, effective[1], permitted[1], 0)


def _readable(path: Path) -> bool:
    try:
        if path.is_dir():
            os.scandir(path).close()
        elif path.exists():
            path.open("rb").close()
    except PermissionError:
        return False
    except OSError:
        return True
    return True
