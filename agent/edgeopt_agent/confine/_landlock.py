"""Landlock: files outside what a model needs cannot be opened, TCP and signals go nowhere.

https://docs.kernel.org/userspace-api/landlock.html. Every version of the interface is used as far as
the kernel has it. Paths are opened here, once; what is made in their place later is not meant.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from edgeopt_agent.confine._linux import syscall
from edgeopt_agent.errors import Unavailable

# The same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE, _MAKE_DIR, _MAKE_REG, _MAKE_SYM = 1 << 4 | 1 << 5, 1 << 7, 1 << 8, 1 << 12
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15

_READ = _EXECUTE | _READ_FILE | _READ_DIR
_DEVICE = _READ_FILE | _READ_DIR | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV
# No device nodes, sockets and pipes: nobody is at their other end.
_WRITE = _READ_FILE | _READ_DIR | _WRITE_FILE | _REMOVE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM
_WRITE |= _REFER | _TRUNCATE
# What a ruleset governs, with the version of the interface that brought it.
_FILES = ((1, (1 << 13) - 1), (2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV))
# Binding and connecting; abstract unix sockets and signals.
_TCP, _SCOPES = ((4, 3),), ((6, 3),)
# What applies to a file that is no folder.
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV


def version() -> int:
    """The kernel's version of the interface.

    Raises:
        Unavailable: where the kernel has none, or has it switched off.
    """
    try:
        return syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    except OSError as error:
        if error.errno == errno.ENOSYS:
            raise Unavailable("this kernel has none (Linux 5.13 and later may)") from error
        if error.errno == errno.EOPNOTSUPP:
            raise Unavailable(
                "switched off: the kernel's boot option lsm= leaves it out"
            ) from error
        raise Unavailable(os.strerror(error.errno or 0)) from error


def restrict(read: Iterable[Path], write: Iterable[Path], devices: Iterable[Path]) -> None:
    """Restricts this thread, and what it starts from now on; other threads stay as they are.

    no_new_privs must be set. Paths that do not exist are left out.

    Args:
        read: files and folders that may be read, with all below them.
        write: folders that may be changed, with all below them; files that may be written to.
        devices: device nodes, or folders of them.

    Raises:
        Unavailable: as `version`.
        OSError: with what the kernel said.
    """
    abi = version()
    files, network, scope = (
        sum(bits for since, bits in rights if since <= abi) for rights in (_FILES, _TCP, _SCOPES)
    )
    attributes = struct.pack("=QQQ", files, network, scope)
    ruleset = syscall(
        _CREATE_RULESET,
        ctypes.create_string_buffer(attributes, len(attributes)),
        ctypes.c_size_t(len(attributes)),
        ctypes.c_uint32(0),
    )
    try:
        for paths, rights in ((read, _READ), (write, _WRITE), (devices, _DEVICE)):
            for path in paths:
                _allow(ruleset, path, rights & files)
        syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        # Whatever cannot be reached now cannot be reached later either.
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES
        rule = struct.pack("=Qi", rights, descriptor)
        syscall(
            _ADD_RULE,
            ctypes.c_int(ruleset),
            ctypes.c_int(_PATH_BENEATH),
            ctypes.create_string_buffer(rule, len(rule)),
            ctypes.c_uint32(0),
        )
    finally:
        os.close(descriptor)
