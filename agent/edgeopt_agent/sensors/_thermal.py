"""Temperatures: thermal zones and hwmon chips."""

from __future__ import annotations

import math
from pathlib import Path

from edgeopt_agent.sensors._base import Channel, Quantity
from edgeopt_agent.sysfs import FileSensor, Search, read_int

_CELSIUS = Quantity.TEMPERATURE_CELSIUS
_MILLI = 1e-3
# Jetson reports -256 °C for a zone whose domain is switched off: the three CV zones for good, the
# GPU's until something uses it. Such a channel stays and gives NaN meanwhile.
_SWITCHED_OFF = -200.0
# JetPack 4's PMIC zone stands at exactly 100 °C whatever the board does (seen in every public
# tegrastats line, also beside 20 °C zones): a constant, no temperature.
_PMIC_CONSTANT = 100_000


class Thermal(FileSensor):
    """m°C of /sys/class/thermal/thermal_zone*/temp and /sys/class/hwmon/hwmon*/temp*_input.

    Sources in the kernel's tree: Documentation/driver-api/thermal/sysfs-api.rst,
    Documentation/hwmon/sysfs-interface.rst.
    """

    # Silicon does not heat faster than this shows, and some zones are read over I2C or by firmware.
    min_interval_ns = 100_000_000

    @classmethod
    def discover(cls, root: Path) -> Thermal:
        search = Search()
        kinds = set()
        for zone in search.folders(root / "sys/class/thermal", r"thermal_zone\d+"):
            kind = search.text(zone / "type") or zone.name
            kinds.add(kind.replace("-", "_"))
            if kind.startswith("PMIC") and read_int(zone / "temp") == _PMIC_CONSTANT:
                continue
            search.add(Channel(kind, _CELSIUS), zone / "temp", _MILLI)
        for chip in search.folders(root / "sys/class/hwmon", r"hwmon\d+"):
            name = search.text(chip / "name") or chip.name
            # The kernel mirrors zones as chips of the zone's name, "-" written "_"
            # (drivers/thermal/thermal_hwmon.c).
            if name in kinds:
                continue
            for number in search.numbers(chip, r"temp(\d+)_input"):
                label = search.text(chip / f"temp{number}_label") or f"temp{number}"
                channel = Channel(f"{name}-{label}", _CELSIUS)
                search.add(channel, chip / f"temp{number}_input", _MILLI)
        return cls(search.require("no thermal zone and no hwmon chip with a temperature"))

    def read(self) -> list[float]:
        return [value if value > _SWITCHED_OFF else math.nan for value in super().read()]
