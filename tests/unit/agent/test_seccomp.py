"""The filter's verdicts on every architecture, by the kernel's own rules of classic BPF."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno

import pytest

from edgeopt_agent.confine import _seccomp
from edgeopt_agent.confine._syscalls import ARCHITECTURES, Architecture

PID = 4711
EPERM, ENOSYS = _seccomp.REFUSE | errno.EPERM, _seccomp.REFUSE | errno.ENOSYS
# What Python, an allocator, OpenMP and the runtimes call: read, mmap, futex, openat, socketpair,
# exit_group, clock_gettime, sched_setaffinity, getrandom, set_robust_list.
NEEDED = {
    "x86_64": (0, 9, 202, 257, 53, 231, 228, 203, 318, 273),
    "aarch64": (63, 222, 98, 56, 199, 94, 113, 122, 278, 99),
    "arm": (3, 192, 240, 322, 288, 248, 263, 241, 384, 338),
}


def verdict(
    architecture: Architecture,
    number: int,
    argument: int = 0,
    second: int = 0,
    audit: int | None = None,
) -> int:
    """Interprets the filter, as the kernel's Documentation/networking/filter.rst tells."""
    program = _seccomp.assemble(architecture, PID)
    data = {
        0: number,
        4: architecture.audit if audit is None else audit,
        16: argument & 0xFFFFFFFF,
        24: second & 0xFFFFFFFF,
    }
    position = accumulator = 0
    while True:
        code, true, false, k = program[position]
        position += 1
        if code == 0x20:
            accumulator = data[k]
        elif code == 0x06:
            return k
        elif code == 0x05:
            position += k
        else:
            holds = {
                0x15: accumulator == k,
                0x35: accumulator >= k,
                0x45: bool(accumulator & k),
            }[code]
            position += true if holds else false


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=lambda a: a.name)
class TestFilter:
    def test_what_a_model_needs_is_allowed(self, architecture: Architecture) -> None:
        assert {verdict(architecture, n) for n in NEEDED[architecture.name]} == {_seccomp.ALLOW}

    def test_every_call_that_is_named_is_refused(self, architecture: Architecture) -> None:
        for name, number in architecture.numbers.items():
            expected = ENOSYS if name == "clone3" else EPERM
            # PR_SET_PDEATHSIG; a process that was there before.
            argument = 1 if name == "prctl" else PID - 1
            assert verdict(architecture, number, argument, PID - 1) == expected, name

    def test_no_other_call_is(self, architecture: Architecture) -> None:
        named = set(architecture.numbers.values())
        for number in set(range(500)) - named:
            assert verdict(architecture, number) == _seccomp.ALLOW

    def test_threads_are_started_and_processes_are_not(self, architecture: Architecture) -> None:
        clone = architecture.numbers["clone"]
        # What glibc passes for pthread_create and for fork; a new namespace.
        assert verdict(architecture, clone, 0x003D0F00) == _seccomp.ALLOW
        assert verdict(architecture, clone, 0x01200011) == EPERM
        assert verdict(architecture, clone, 0x10000011) == EPERM

    def test_it_signals_and_limits_itself_only(self, architecture: Architecture) -> None:
        for name, call in _seccomp._ON_ITSELF.items():

            def whom(process: int, name: str = name, kind: int | None = call.kind) -> int:
                arguments = (process,) if kind is None else (kind, process)
                return verdict(architecture, architecture.numbers[name], *arguments)

            assert whom(PID) == _seccomp.ALLOW
            # The kernel looks at the low half of the register only.
            assert whom(1 << 32 | PID) == _seccomp.ALLOW
            assert whom(0) == (_seccomp.ALLOW if call.zero else EPERM)
            assert whom(PID - 1) == whom(0xFFFFFFFF) == whom(-PID) == EPERM
            assert whom(PID + 1) == (_seccomp.ALLOW if call.threads else EPERM)
        assert verdict(architecture, architecture.numbers["tkill"], PID) == EPERM

    def test_it_slows_no_group_and_no_user(self, architecture: Architecture) -> None:
        # PRIO_PGRP, PRIO_USER; IOPRIO_WHO_PGRP, IOPRIO_WHO_USER: with 0 for its own.
        for name, kinds in (("setpriority", (1, 2)), ("ioprio_set", (2, 3))):
            number = architecture.numbers[name]
            assert {verdict(architecture, number, kind, 0) for kind in kinds} == {EPERM}

    def test_it_outlives_no_agent_and_names_its_threads(self, architecture: Architecture) -> None:
        number = architecture.numbers["prctl"]
        assert verdict(architecture, number, 1) == EPERM
        # PR_SET_NAME, PR_SET_TIMERSLACK, PR_SET_VMA
        others = (15, 29, 0x53564D41)
        assert {verdict(architecture, number, option) for option in others} == {_seccomp.ALLOW}

    def test_another_architectures_calls_kill(self, architecture: Architecture) -> None:
        # i386 below x86_64, for example, where socket has another number.
        assert verdict(architecture, 0, audit=0x40000003) == _seccomp.KILL

    def test_it_fits_the_kernels_limits(self, architecture: Architecture) -> None:
        program = _seccomp.assemble(architecture, PID)
        assert len(program) < 4096
        assert max(max(true, false) for _, true, false, _ in program) < 256

    def test_numbers_are_libseccomps(self, architecture: Architecture) -> None:
        library = ctypes.CDLL(ctypes.util.find_library("seccomp"))
        resolve = library.seccomp_syscall_resolve_name_arch
        known = {name: resolve(architecture.audit, name.encode()) for name in architecture.numbers}
        # Newer than this library: -1.
        wrong = {name for name, n in known.items() if n not in {architecture.numbers[name], -1}}
        assert wrong == set()
        assert sum(number > 0 for number in known.values()) > 50


def test_the_32_bit_numbers_of_x86_64_are_refused() -> None:
    x86 = ARCHITECTURES["x86_64"]
    assert verdict(x86, 0x40000000 | 39) == EPERM
