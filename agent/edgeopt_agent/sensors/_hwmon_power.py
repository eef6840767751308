"""Power from hwmon chips: INA219, INA226, INA3221 (Jetson), PMBus, ACPI meters, GPUs."""

from __future__ import annotations

import re
from pathlib import Path

from edgeopt_agent.sensors._base import Quantity
from edgeopt_agent.sysfs import FileSensor, KeptFile, Search, read_int

_UW_IN_MW = 1e-3
_NS_IN_MS = 1_000_000
# Chips average over a second or two at most; more is nonsense.
_MOST_MS = 60_000
# "NC" as a word of its own: a rail that is not connected.
_NOT_CONNECTED = re.compile(r"(?<![A-Za-z])NC(?![A-Za-z])")
# Of an INA3221, in4 to in6 are shunt voltages and in7 their sum (Documentation/hwmon/ina3221.rst).
_INA3221_RAILS = (1, 2, 3)


class _Product(KeptFile):
    """mV times mA: µW."""

    def __init__(self, voltage: Path, scale: float) -> None:
        super().__init__(voltage, scale)
        try:
            self._current = KeptFile(voltage.with_name(voltage.name.replace("in", "curr", 1)))
        except OSError:
            super().close()
            raise

    def read_number(self) -> float:
        return super().read_number() * self._current.read_number()

    def close(self) -> None:
        self._current.close()
        super().close()


class HwmonPower(FileSensor):
    """mW of each rail; a board's input and the rails fed from it stand side by side.

    µW of power*_input, else power*_average (Documentation/hwmon/sysfs-interface.rst). The mainline
    INA3221 driver has neither: there, in*_input times curr*_input, on labelled channels named after
    the rail (VDD_IN, VDD_CPU_GPU_CV, VDD_SOC).
    """

    @classmethod
    def discover(cls, root: Path) -> HwmonPower:
        search = Search()
        intervals = []
        # The kernel mirrors batteries as chips of the same name; they have a sensor of their own.
        supplies = Search().folders(root / "sys/class/power_supply", r".+")
        mirrors = {supply.name.replace("-", "_") for supply in supplies}
        for chip in search.folders(root / "sys/class/hwmon", r"hwmon\d+"):
            name = search.text(chip / "name") or chip.name
            if name in mirrors:
                continue
            before = len(search.found)
            _add_power(search, chip, name)
            if name == "ina3221" and len(search.found) == before:
                _add_products(search, chip)
            if len(search.found) > before:
                interval_ms = read_int(chip / "update_interval") or 1
                intervals.append(min(max(interval_ms, 1), _MOST_MS) * _NS_IN_MS)
        sensor = cls(search.require("no hwmon chip measures power here"))
        sensor.min_interval_ns = min(intervals)
        return sensor


def _add_power(search: Search, chip: Path, name: str) -> None:
    inputs = search.numbers(chip, r"power(\d+)_input")
    averages = set(search.numbers(chip, r"power(\d+)_average")) - set(inputs)
    for number, kind in [(n, "input") for n in inputs] + [(n, "average") for n in sorted(averages)]:
        label = search.text(chip / f"power{number}_label") or f"{name}-power{number}"
        if not _NOT_CONNECTED.search(label):
            search.add(label, Quantity.POWER_MW, chip / f"power{number}_{kind}", _UW_IN_MW)


def _add_products(search: Search, chip: Path) -> None:
    for number in _INA3221_RAILS:
        label = search.text(chip / f"in{number}_label") or f"ina3221-rail{number}"
        if _NOT_CONNECTED.search(label) or read_int(chip / f"in{number}_enable") == 0:
            continue
        voltage = chip / f"in{number}_input"
        search.add(label, Quantity.POWER_MW, voltage, _UW_IN_MW, _Product)
