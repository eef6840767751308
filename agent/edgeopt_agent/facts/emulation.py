"""Whether the CPU is a program: then latencies say nothing about the architecture.

Claimed only when certain. What this cannot see: a qemu-system machine that imitates a named CPU
("-cpu cortex-a72", "-M raspi3b") without KVM looks like the real one. A machine under KVM runs its
instructions on the real CPU and is not emulated.
"""

from __future__ import annotations

import platform
from pathlib import Path

from edgeopt_agent.facts import _cpuinfo
from edgeopt_agent.sysfs import read_text

# User-mode emulators by the name of their program.
_USER_MODE = {"qemu-": "qemu-user", "box64": "box64", "FEX": "fex", "rosetta": "rosetta"}
# What QEMU's "-cpu max" says it is; only its own translator (TCG) can be that CPU.
_TCG_MODEL = "QEMU TCG CPU"
_TCG_ARM = (0x00, 0x051)
_ARM_MACHINES = {"aarch64", "arm64"}


def read(root: Path, machine: str = "") -> str:
    """The emulator's name, such as "qemu-user"; "" when none is known.

    `machine` is the architecture that this process sees, by default as `uname -m` tells.
    """
    program = _program(root)
    for prefix, name in _USER_MODE.items():
        if program.startswith(prefix):
            return name
    processors = _cpuinfo.parse(read_text(root / "proc/cpuinfo"))
    for fields in processors.values():
        if (machine or platform.machine()) in _ARM_MACHINES and "vendor_id" in fields:
            # qemu-user 7.2 shows an Arm program the cpuinfo of the x86 host; 10.0 makes one up.
            return "qemu-user"
        if fields.get("model name", "").startswith(_TCG_MODEL) or _midr(fields) == _TCG_ARM:
            return "qemu-system"
    return ""


def _program(root: Path) -> str:
    """The file name of the program that really runs.

    qemu-user answers /proc/self/exe with the emulated program, but lets /proc/thread-self through
    (tried with 7.2 and 10.0).
    """
    try:
        return (root / "proc/thread-self/exe").readlink().name
    except OSError:
        return ""


def _midr(fields: _cpuinfo.Fields) -> tuple[int, int] | None:
    try:
        return int(fields["CPU implementer"], 16), int(fields["CPU part"], 16)
    except (KeyError, ValueError):
        return None
