"""Batteries: phones, laptops, UPS boards."""

from __future__ import annotations

from pathlib import Path

from edgeopt_agent.sensors._base import Quantity
from edgeopt_agent.sysfs import FileSensor, Search

_MICRO_TO_MILLI = 1e-3
_FIGURES = {
    "voltage": Quantity.VOLTAGE_MV,
    "current": Quantity.CURRENT_MA,
    "power": Quantity.POWER_MW,
}


class Battery(FileSensor):
    """mV, mA and mW of each battery's gauge, as the driver gives them.

    µV, µA and µW of /sys/class/power_supply/*/{voltage,current,power}_now
    (Documentation/ABI/testing/sysfs-class-power). The sign is the driver's own: most give a
    negative current while discharging, some a positive one (Xiaomi Mi A1), some a negative one
    while charging (Xiaomi Mi 8); some phones give mA where µA are documented (Huawei P8 Lite 2017).
    A reader has to learn sign and unit from a change of state, which is why nothing is corrected
    here. Android denies these files to apps on many devices.
    """

    # Gauges answer about once a second; a laptop's firmware is not to be asked more often.
    min_interval_ns = 1_000_000_000

    @classmethod
    def discover(cls, root: Path) -> Battery:
        search = Search()
        for supply in search.folders(root / "sys/class/power_supply", r".+"):
            # "Device": the battery of a mouse or a headset.
            if (
                search.text(supply / "type") != "Battery"
                or search.text(supply / "scope") == "Device"
                or search.text(supply / "present") == "0"
            ):
                continue
            for figure, quantity in _FIGURES.items():
                path = supply / f"{figure}_now"
                search.add(f"{supply.name}-{figure}", quantity, path, _MICRO_TO_MILLI)
        return cls(search.require("no battery here"))
