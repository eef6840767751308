"""The system call filters of a systemd unit, without systemd as process 1.

    python tests/service_filter.py UNIT COMMAND...   runs a command under them

Reads SystemCallFilter, RestrictNamespaces and RestrictAddressFamilies as systemd.exec(5) has them,
groups as `systemd-analyze syscall-filter` lists them, and installs them with libseccomp.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_EQUAL, _MASKED_EQUAL = 4, 7
# AF_MAX of the kernel.
_FAMILIES = 46
# CLONE_NEW*: cgroup, uts, ipc, user, pid, net, mount.
_NAMESPACES = (1 << 25, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30, 1 << 17)


class _Compare(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def settings(unit: Path) -> dict[str, list[str]]:
    """Every value of every setting, in order."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def calls(unit: Path) -> set[str]:
    """The names that SystemCallFilter allows."""
    allowed = set(_members("@default"))
    for value in settings(unit)["SystemCallFilter"]:
        names = {n for word in value.lstrip("~").split() for n in _members(word)}
        allowed = allowed - names if value.startswith("~") else allowed | names
    return allowed


def _members(word: str) -> Iterator[str]:
    if not word.startswith("@"):
        yield word
        return
    listed = subprocess.run(
        [shutil.which("systemd-analyze") or "", "syscall-filter", word],
        capture_output=True,
        text=True,
        check=True,
    )
    for line in listed.stdout.splitlines()[1:]:
        name = line.strip()
        if name and not name.startswith("#"):
            yield from _members(name)


def install(unit: Path) -> None:
    """Puts the unit's filters in force in this process. no_new_privs must be set."""
    library = ctypes.CDLL(ctypes.util.find_library("seccomp"))
    library.seccomp_init.restype = ctypes.c_void_p
    refuse = _ERRNO | errno.EPERM
    filters = _Filter(library, refuse)
    for name in calls(unit):
        filters.add(_ALLOW, name)
    others = _Filter(library, _ALLOW)
    if settings(unit).get("RestrictNamespaces") == ["yes"]:
        others.add(refuse, "unshare")
        others.add(refuse, "setns")
        others.add(_ERRNO | errno.ENOSYS, "clone3")
        for flag in _NAMESPACES:
            others.add(refuse, "clone", _Compare(0, _MASKED_EQUAL, flag, flag))
    families = {getattr(socket, f) for f in settings(unit)["RestrictAddressFamilies"][0].split()}
    for family in set(range(_FAMILIES)) - families:
        others.add(_ERRNO | errno.EAFNOSUPPORT, "socket", _Compare(0, _EQUAL, family, 0))
    filters.load()
    others.load()


class _Filter:
    def __init__(self, library: ctypes.CDLL, default: int) -> None:
        self._library = library
        self._context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(default)))

    def add(self, action: int, name: str, *compares: _Compare) -> None:
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:  # of another architecture
            return
        array = (_Compare * max(1, len(compares)))(*compares)
        failed = self._library.seccomp_rule_add_array(
            self._context, ctypes.c_uint32(action), number, len(compares), array
        )
        assert not failed, (name, os.strerror(-failed))

    def load(self) -> None:
        failed = self._library.seccomp_load(self._context)
        assert not failed, os.strerror(-failed)


if __name__ == "__main__":
    install(Path(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - the command takes this process's place
