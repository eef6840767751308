"""Clocks of the CPU."""

from __future__ import annotations

import math
import re
from pathlib import Path

from edgeopt_agent.sensors._base import Channel, Quantity
from edgeopt_agent.sysfs import FileSensor, KeptFile, Search

_KHZ = 1e3
_MHZ = 1e6
_MHZ_LINE = re.compile(rb"^cpu MHz\s*:\s*([0-9.]+)", re.MULTILINE)


class _CpuInfo(KeptFile):
    def parse(self, content: bytes) -> float:
        line = _MHZ_LINE.search(content)
        return float(line[1]) if line else math.nan


class Clock(FileSensor):
    """Hz, one channel per cpufreq policy, named after the first core of those that share the clock.

    kHz of scaling_cur_freq: what the driver or, on a Raspberry Pi, the firmware says it runs at
    (Documentation/admin-guide/pm/cpufreq.rst). x86 machines without cpufreq, which are virtual ones
    as a rule, have "cpu MHz" in /proc/cpuinfo: one channel, the first core's, often a constant.
    """

    # Where the kernel computes a frequency from counters, it keeps the result for 10 ms and more.
    min_interval_ns = 10_000_000

    @classmethod
    def discover(cls, root: Path) -> Clock:
        search = Search()
        for policy in search.folders(root / "sys/devices/system/cpu/cpufreq", r"policy\d+"):
            channel = Channel(policy.name.replace("policy", "cpu"), Quantity.CLOCK_HZ)
            search.add(channel, policy / "scaling_cur_freq", _KHZ)
        cpuinfo = root / "proc/cpuinfo"
        if not search.found and "cpu MHz" in search.text(cpuinfo):
            search.add(Channel("cpu0", Quantity.CLOCK_HZ), cpuinfo, _MHZ, _CpuInfo)
        return cls(search.require("no cpufreq policy, and /proc/cpuinfo names no clock"))
