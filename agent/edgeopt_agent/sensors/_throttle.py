"""Throttling as the kernel tells it."""

from __future__ import annotations

import re
from pathlib import Path

from edgeopt_agent.sensors._base import Channel, Quantity
from edgeopt_agent.sysfs import FileSensor, Search

# Cooling devices that slow something down; fans and the like are none of them. "cpufreq" and
# "devfreq": the kernel's own; "balanced": Jetson with JetPack 4; "Processor": ACPI.
_SLOWS_DOWN = re.compile(r"cpufreq|devfreq|balanced|^Processor$")


class Throttle(FileSensor):
    """Whether something is slowed down now, or was: four kinds of channel.

    - a cooling device's cur_state: 0 while it does not interfere, else how far it does
      (Documentation/driver-api/thermal/sysfs-api.rst);
    - x86: events since boot per core and package, /sys/devices/system/cpu/cpu*/thermal_throttle
      (arch/x86/include/asm/mce.h, drivers/thermal/intel/therm_throt.c);
    - Jetson Orin: events since boot of the chip "soctherm_oc"; oc1 under-voltage, oc2 average and
      oc3 instantaneous over-current (NVIDIA Jetson Linux, Platform Power and Performance);
    - Raspberry Pi: whether its voltage was too low within the last 2 s, to any user, while
      rpi-throttle may be denied (drivers/hwmon/raspberrypi-hwmon.c).
    """

    @classmethod
    def discover(cls, root: Path) -> Throttle:
        search = Search()
        for device in search.folders(root / "sys/class/thermal", r"cooling_device\d+"):
            kind = search.text(device / "type")
            if _SLOWS_DOWN.search(kind):
                search.add(Channel(kind, Quantity.THROTTLE_FLAGS), device / "cur_state")
        packages = set()
        for cpu in search.folders(root / "sys/devices/system/cpu", r"cpu\d+"):
            counts = cpu / "thermal_throttle"
            _count(search, f"{cpu.name}-throttles", counts / "core_throttle_count")
            package = search.text(cpu / "topology/physical_package_id") or "0"
            if package not in packages:
                _count(search, f"package{package}-throttles", counts / "package_throttle_count")
            packages.add(package)
        for chip in search.folders(root / "sys/class/hwmon", r"hwmon\d+"):
            name = search.text(chip / "name")
            if name == "rpi_volt":
                channel = Channel("undervoltage", Quantity.THROTTLE_FLAGS)
                search.add(channel, chip / "in0_lcrit_alarm")
            if name == "soctherm_oc":
                for number in search.numbers(chip, r"oc(\d+)_event_cnt"):
                    _count(search, f"soctherm-oc{number}", chip / f"oc{number}_event_cnt")
        return cls(search.require("this kernel counts no throttling and has no cooling device"))


def _count(search: Search, name: str, path: Path) -> None:
    search.add(Channel(name, Quantity.THROTTLE_COUNT), path)
