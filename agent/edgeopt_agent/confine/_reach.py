"""Which files a worker needs: the system's libraries, Python's packages, accelerators."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import edgeopt.agent.v1
import edgeopt_agent

# The programs and libraries of Linux distributions, of Nix and Guix, and of Android.
_SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt",
    "/nix/store", "/run/current-system", "/run/opengl-driver", "/gnu/store",
    "/system", "/system_ext", "/vendor", "/product", "/odm", "/apex", "/linkerconfig",
)  # fmt: skip
# The kernel's: sensors read them, and runtimes look for the number of cores there.
KERNEL = (Path("/proc"), Path("/sys"))

# Nodes below /dev that harm nobody, nodes of accelerators, nodes that built-in and third parties'
# sensors open. Not among them: disks, memory, terminals, keyboards, cameras, microphones, watchdogs.
_DEVICES = (
    "null", "zero", "full", "random", "urandom",
    # GPUs: the kernel's own drivers, NVIDIA's on PCs and Jetsons, AMD, Adreno, Mali, Windows' WSL.
    "dri", "nvidia*", "nvhost-*", "nvgpu", "nvmap", "kfd", "kgsl-3d0", "mali*", "dxg",
    # NPUs and DSPs: the kernel's accel class, Coral, Hailo, Rockchip, NXP and VeriSilicon, Arm,
    # Qualcomm, MediaTek, Memryx.
    "accel", "accel[0-9]*", "apex_*", "hailo[0-9]*", "rknpu*", "galcore", "vsi_*", "ethosu*",
    "adsprpc-smd*", "fastrpc-*", "mtk_*", "apusys", "memx*",
    # The memory that they share with the CPU.
    "dma_heap", "ion", "dmabuf*",
    # Sensors: the Raspberry Pi's firmware, buses and meters.
    "vcio", "iio:device*", "i2c-*", "hidraw*", "ttyACM*", "ttyUSB*",
)  # fmt: skip


def installed() -> list[Path]:
    """What this Python process and a fresh one like it read: the system's and Python's folders."""
    entries = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, *sys.path]
    entries += os.environ.get("LD_LIBRARY_PATH", "").split(":")
    for package in (edgeopt_agent, edgeopt.agent.v1):
        entries += [
            str(Path(folder).parents[package.__name__.count(".")]) for folder in package.__path__
        ]
    paths = [Path(entry) for entry in (*_SYSTEM, *entries) if entry]
    paths += _interpreter(Path(sys.executable))
    # Both as it is written and as it lies: a link leads from the one to the other.
    both = (path for written in paths for path in (written, written.resolve()))
    return _outermost(path for path in both if path.is_absolute() and os.access(path, os.R_OK))


def devices() -> list[Path]:
    """The device nodes, and folders of them, that are here."""
    return sorted(path for pattern in _DEVICES for path in Path("/dev").glob(pattern))


def without(paths: Iterable[Path], private: Iterable[Path]) -> list[Path]:
    """The same paths, with what is in them instead where something private lies below."""
    hidden = [path.resolve() for path in private]
    return [left for path in paths for left in _without(path, hidden)]


def _without(path: Path, hidden: list[Path]) -> Iterator[Path]:
    lies = path.resolve()
    if any(lies == one or one in lies.parents for one in hidden):
        return
    if not any(lies in one.parents for one in hidden):
        yield path
        return
    try:
        inside = sorted(path.iterdir())
    except OSError:
        return
    for entry in inside:
        yield from _without(entry, hidden)


def _interpreter(executable: Path) -> Iterator[Path]:
    """The folders on the way from a virtual environment's link to the interpreter."""
    for _ in range(40):  # as many links as the kernel follows
        yield executable.parent
        if not os.path.islink(executable):  # noqa: PTH114 - which says no where nothing can be seen
            return
        executable = executable.parent / executable.readlink()


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Each path once, and none that lies below another."""
    kept: list[Path] = []
    for path in sorted(set(paths)):
        if path != Path("/") and not any(above in path.parents for above in kept):
            kept.append(path)
    return kept
