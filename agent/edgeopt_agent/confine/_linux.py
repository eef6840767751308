"""Calling the kernel past the C library, which has no wrappers for most of this."""

from __future__ import annotations

import ctypes
import os


def syscall(number: int, *arguments: object) -> int:
    """A system call, by its number.

    Raises:
        OSError: with what the kernel said.
    """
    return _checked(_libc().syscall(ctypes.c_long(number), *arguments))


def prctl(option: int, *arguments: int) -> int:
    """The system call, with unused arguments 0, as newer options demand.

    Raises:
        OSError: with what the kernel said.
    """
    given = [*arguments, 0, 0, 0, 0][:4]
    return _checked(_libc().prctl(option, *map(ctypes.c_ulong, given)))


def capget(header: object, data: object) -> None:
    """Reads the capabilities of this thread."""
    _checked(_libc().capget(header, data))


def capset(header: object, data: object) -> None:
    """Changes the capabilities of this thread."""
    _checked(_libc().capset(header, data))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
