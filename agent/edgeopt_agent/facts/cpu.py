"""The CPU: its cores, which of them are alike, and how many this process may use."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from edgeopt.agent.v1 import device_pb2
from edgeopt_agent.facts import _cgroup, _cpuinfo
from edgeopt_agent.sysfs import Search, read_int, read_text

_CPUS = "sys/devices/system/cpu"
_HZ_IN_KHZ = 1000
_TOO_MANY_KHZ = 10**9  # a terahertz
# Cores within this of the fastest count as fast: the favoured cores of one x86 processor differ
# from the others by a few percent, a middle core of a phone from the big one by 15 and more.
_ABOUT_AS_FAST = 0.9
_MOST_CPUS = 8192  # CONFIG_NR_CPUS


@dataclass(frozen=True)
class _Kind:
    """What makes cores alike."""

    min_hz: int = 0
    max_hz: int = 0
    governor: str = ""
    model: str = ""
    # 1024 for the fastest core (Documentation/devicetree/bindings/cpu/cpu-capacity.txt).
    capacity: int = 0


def read(root: Path) -> device_pb2.Cpu:
    """Reads what the kernel tells; whatever it doesn't stays empty."""
    processors = _cpuinfo.parse(read_text(root / "proc/cpuinfo"))
    online = _list(read_text(root / _CPUS / "online")) or sorted(processors)
    online = online or list(range(os.cpu_count() or 1))
    models = {core: _cpuinfo.core_name(processors.get(core, {})) for core in online}
    names = list(dict.fromkeys(name for name in models.values() if name))
    if len(names) == 1:
        # Old Arm kernels name the core once, below the last processor.
        models = dict.fromkeys(online, names[0])
    kinds = _kinds(root, models)
    allowed = set(_list(_status(root, "Cpus_allowed_list"))).intersection(online) or {*online}
    quota = max(1, int(min(_cgroup.cpu_quota(root), len(allowed))))
    return device_pb2.Cpu(
        model=" + ".join(names),
        architecture=platform.machine(),
        logical_cores=len(online),
        physical_cores=_physical_cores(root, online),
        clusters=[_cluster(kind, kinds) for kind in dict.fromkeys(kinds.values())],
        performance_cores=min(_fastest({core: kinds[core] for core in allowed}), quota),
        usable_cores=min(len(allowed), quota),
    )


def _kinds(root: Path, models: dict[int, str]) -> dict[int, _Kind]:
    """The kind of each online core: by its cpufreq policy, its capacity and its model."""
    policy_of: dict[int, Path] = {}
    for policy in Search().folders(root / _CPUS / "cpufreq", r"policy\d+"):
        for core in _list(read_text(policy / "related_cpus")):
            policy_of[core] = policy
    kinds = {}
    for core, model in models.items():
        policy = policy_of.get(core, Path(os.devnull))  # below which nothing can be read
        kinds[core] = _Kind(
            min_hz=_hz(policy / "cpuinfo_min_freq"),
            max_hz=_hz(policy / "cpuinfo_max_freq"),
            governor=read_text(policy / "scaling_governor"),
            model=model,
            capacity=read_int(root / _CPUS / f"cpu{core}" / "cpu_capacity") or 0,
        )
    return kinds


def _hz(path: Path) -> int:
    """What a file tells in kHz; 0 where that is no clock."""
    khz = read_int(path) or 0
    return khz * _HZ_IN_KHZ if 0 < khz < _TOO_MANY_KHZ else 0


def _cluster(kind: _Kind, kinds: dict[int, _Kind]) -> device_pb2.CpuCluster:
    return device_pb2.CpuCluster(
        cores=[core for core, other in kinds.items() if other == kind],
        min_hz=kind.min_hz,
        max_hz=kind.max_hz,
        governor=kind.governor,
        model=kind.model,
    )


def _fastest(kinds: dict[int, _Kind]) -> int:
    """How many of these cores are about as fast as the fastest of them."""
    # Without capacities in the device tree, the kernel says 1024 of every core.
    told = len({kind.capacity for kind in kinds.values()}) > 1
    speeds = [kind.capacity if told else kind.max_hz for kind in kinds.values()]
    return sum(speed >= max(speeds) * _ABOUT_AS_FAST for speed in speeds)


def _physical_cores(root: Path, online: list[int]) -> int:
    """Cores that share no execution units; 0 where the kernel does not tell."""
    siblings = set()
    for core in online:
        topology = root / _CPUS / f"cpu{core}" / "topology"
        # The second is the first's name before Linux 5.5.
        siblings.add(
            read_text(topology / "core_cpus_list") or read_text(topology / "thread_siblings_list")
        )
    return len(siblings - {""})


def _status(root: Path, key: str) -> str:
    for line in read_text(root / "proc/self/status").splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return value.strip()
    return ""


def _list(text: str) -> list[int]:
    """The CPUs in "0-3,8" or "0 1 2 3"; nothing if it is anything else."""
    cpus: list[int] = []
    for part in re.split(r"[,\s]+", text.strip()):
        span = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", part)
        if not span or int(span[2] or 0) > _MOST_CPUS:
            return []
        cpus.extend(range(int(span[1]), int(span[2] or span[1]) + 1))
    return cpus
