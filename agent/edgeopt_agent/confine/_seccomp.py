"""seccomp: system calls that executing a model does not need are refused with EPERM.

The filter names what is refused, not what is allowed: what a runtime or a vendor's delegate calls
is not known in advance, and a call that is missing would show as a wrong result or a crash.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from dataclasses import dataclass

from edgeopt_agent.confine._linux import syscall
from edgeopt_agent.confine._syscalls import ARCHITECTURES, Architecture
from edgeopt_agent.errors import Unavailable

# Of include/uapi/linux/bpf_common.h: load a word, jump if equal, greater or equal, bits set; return.
_LOAD, _EQUAL, _AT_LEAST, _BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
# A jump that is always taken, and as far as need be.
_GO = 0x05
_FARTHEST = 255
# struct seccomp_data: the number, the architecture, the low halves of the first two arguments.
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM = REFUSE | errno.EPERM
_X32 = 0x40000000
_CLONE_THREAD = 0x00010000
_SET_MODE_FILTER = 1
# All threads, since imports may have started some; and no mitigation that slows down (see below).
_THREAD_SYNC, _SPECULATION_ALLOWED = 1, 4

_PR_SET_PDEATHSIG = 1
_PRIO_PROCESS, _IOPRIO_WHO_PROCESS = 0, 1


@dataclass(frozen=True)
class _OnItself:
    """A call that names a process: it may be this one, and 0 where that means the same."""

    zero: bool = True
    # What the first argument must be when the process is in the second.
    kind: int | None = None
    # Also what has a higher number, as the threads have that this process starts.
    threads: bool = False


_ON_ITSELF = {
    "kill": _OnItself(zero=False),
    "tgkill": _OnItself(zero=False),
    "rt_sigqueueinfo": _OnItself(zero=False),
    "rt_tgsigqueueinfo": _OnItself(zero=False),
    "prlimit64": _OnItself(),
    "move_pages": _OnItself(),
    "migrate_pages": _OnItself(),
    "setpriority": _OnItself(kind=_PRIO_PROCESS),
    "ioprio_set": _OnItself(kind=_IOPRIO_WHO_PROCESS),
    "sched_setattr": _OnItself(),
    "sched_setparam": _OnItself(),
    "sched_setscheduler": _OnItself(),
    # pthread_create with an affinity, as OpenMP does for OMP_PROC_BIND, names the new thread. The
    # agent was there before, and sets what it passes on (_scheduling.py).
    "sched_setaffinity": _OnItself(threads=True),
}

Instruction = tuple[int, int, int, int]


def install(architecture: Architecture | None = None) -> None:
    """Installs the filter for this process and all of its threads; nothing lifts it.

    no_new_privs must be set. Before Linux 5.16 a filter also switched on mitigations of speculative
    execution that slow everything down; the flag leaves that as it is without a filter, because a
    model must not be slower here than in its application.

    Raises:
        Unavailable: where there is no filter for this architecture.
        OSError: with what the kernel said.
    """
    architecture = architecture or this_architecture()
    program = assemble(architecture, os.getpid())
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog, with the padding of this architecture.
    fprog = struct.pack("HP", len(program), ctypes.addressof(buffer))
    flags = _THREAD_SYNC | _SPECULATION_ALLOWED
    thread = syscall(
        architecture.seccomp,
        ctypes.c_ulong(_SET_MODE_FILTER),
        ctypes.c_ulong(flags),
        ctypes.create_string_buffer(fprog, len(fprog)),
    )
    if thread:
        raise OSError(errno.EACCES, f"thread {thread} cannot take the filter")


def this_architecture() -> Architecture:
    """Raises Unavailable where no filter is known for it."""
    machine = platform.machine()
    if machine.startswith("arm") or (
        machine == "aarch64" and struct.calcsize("P") == struct.calcsize("=I")
    ):
        machine = "arm"
    if machine not in ARCHITECTURES:
        raise Unavailable(f"no filter for {machine}, there is one for {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[machine]


def assemble(architecture: Architecture, pid: int) -> list[Instruction]:
    """The filter's instructions for the process `pid`."""
    # The number is looked for by halving: kernels before 5.11 run this for every system call.
    calls = sorted((number, _rule(name, pid)) for name, number in architecture.numbers.items())
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture.audit),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if architecture.name == "x86_64":
        # The same calls under other numbers.
        program += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _EPERM)]
    return program + _search(calls)


def _search(calls: list[tuple[int, list[Instruction]]]) -> list[Instruction]:
    if len(calls) == 1:
        number, rule = calls[0]
        return [(_EQUAL, 1, 0, number), (_RETURN, 0, 0, ALLOW), *rule]
    middle = len(calls) // 2
    lower, upper = _search(calls[:middle]), _search(calls[middle:])
    number = calls[middle][0]
    if len(lower) <= _FARTHEST:
        return [(_AT_LEAST, len(lower), 0, number), *lower, *upper]
    return [(_AT_LEAST, 0, 1, number), (_GO, 0, 0, len(lower)), *lower, *upper]


def _rule(name: str, pid: int) -> list[Instruction]:
    if name == "clone3":
        # Its flags lie in memory, where no filter can look. glibc falls back on clone.
        return [(_RETURN, 0, 0, REFUSE | errno.ENOSYS)]
    if name == "clone":
        return [
            (_LOAD, 0, 0, _FIRST),
            (_BITS, 0, 1, _CLONE_THREAD),
            (_RETURN, 0, 0, ALLOW),
            (_RETURN, 0, 0, _EPERM),
        ]
    if name == "prctl":
        return [
            (_LOAD, 0, 0, _FIRST),
            (_EQUAL, 0, 1, _PR_SET_PDEATHSIG),
            (_RETURN, 0, 0, _EPERM),
            (_RETURN, 0, 0, ALLOW),
        ]
    if name in _ON_ITSELF:
        return _on_itself(_ON_ITSELF[name], pid)
    return [(_RETURN, 0, 0, _EPERM)]


def _on_itself(call: _OnItself, pid: int) -> list[Instruction]:
    rule = [(_LOAD, 0, 0, _FIRST)]
    if call.kind is not None:
        rule += [(_EQUAL, 1, 0, call.kind), (_RETURN, 0, 0, _EPERM), (_LOAD, 0, 0, _SECOND)]
    if call.zero:
        rule += [(_EQUAL, 0, 1, 0), (_RETURN, 0, 0, ALLOW)]
    if call.threads:
        # Below 0 is no process.
        rule += [(_AT_LEAST, 0, 1, 1 << 31), (_RETURN, 0, 0, _EPERM)]
    rule += [(_AT_LEAST if call.threads else _EQUAL, 0, 1, pid), (_RETURN, 0, 0, ALLOW)]
    return [*rule, (_RETURN, 0, 0, _EPERM)]
