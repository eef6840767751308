"""Power from hwmon chips: INA219, INA226, INA3221 (Jetson), PMBus, ACPI meters, GPUs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeopt_agent.sensors import _jetson
from edgeopt_agent.sensors._base import Channel, Quantity, Scope
from edgeopt_agent.sysfs import FileSensor, KeptFile, Search, read_int

_UW_IN_MW = 1e-3
_NS_IN_MS = 1_000_000
# Chips average over a second or two at most; more is nonsense.
_MOST_MS = 60_000
# Of an INA3221, in4 to in6 are shunt voltages and in7 their sum (Documentation/hwmon/ina3221.rst).
_INA3221_RAILS = (1, 2, 3)
_MONITOR = re.compile(r"ina\d+")
# Maximum gain errors of shunt and bus voltage, added; the shunt's tolerance is not known here.
# Texas Instruments: SBOS448 (1 % each over temperature, the less accurate A), SBOS547, SBOS644,
# SBOS576.
_GAIN_ERRORS = {"ina219": 0.02, "ina226": 0.002, "ina231": 0.01, "ina3221": 0.005}


@dataclass(frozen=True)
class _Rail:
    chip: str
    number: int
    label: str
    path: Path
    averaged: bool = False
    open_file: Callable[[Path, float], KeptFile] = KeptFile


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
    INA3221 driver has neither: there, in*_input times curr*_input.

    What a rail is about: the labels of an INA3221 come from a board's device tree and are a
    Jetson's (VDD_IN, VDD_CPU_GPU_CV, VDD_SOC). A lone power monitor without a label is one that
    somebody has wired to the board, and what it is for is the supply: the input. Not so when its
    current is negative: then it sits at a battery, and power1 has lost the sign (networkupstools/nut
    #2960). Of several, or of other chips, nothing tells what they measure.
    """

    @classmethod
    def discover(cls, root: Path) -> HwmonPower:
        search = Search()
        intervals = []
        rails: list[_Rail] = []
        # The kernel mirrors batteries as chips of the same name; they have a sensor of their own.
        supplies = Search().folders(root / "sys/class/power_supply", r".+")
        mirrors = {supply.name.replace("-", "_") for supply in supplies}
        for chip in search.folders(root / "sys/class/hwmon", r"hwmon\d+"):
            name = search.text(chip / "name") or chip.name
            if name in mirrors:
                continue
            own = [*_powers(search, chip, name)]
            if name == "ina3221" and not own:
                own = [*_products(search, chip)]
            rails += own
            if own:
                interval_ms = read_int(chip / "update_interval") or 1
                intervals.append(min(max(interval_ms, 1), _MOST_MS) * _NS_IN_MS)
        for rail in rails:
            search.add(_channel(rail, rails), rail.path, _UW_IN_MW, rail.open_file)
        sensor = cls(search.require("no hwmon chip measures power here"))
        sensor.min_interval_ns = min(intervals)
        return sensor


def _channel(rail: _Rail, rails: list[_Rail]) -> Channel:
    kind = "rail" if rail.open_file is _Product else "power"
    name = rail.label or f"{rail.chip}-{kind}{rail.number}"
    gain_error = _GAIN_ERRORS.get(rail.chip, 0.0)
    monitors = [other for other in rails if _MONITOR.fullmatch(other.chip)]
    scope = None
    if rail.chip == "ina3221" and rail.label:
        scope = _jetson.scope(rail.label, [other.label for other in monitors])
        gain_error = _jetson.GAIN_ERROR
    elif monitors == [rail] and not rail.label and not _reversed(rail):
        scope = Scope.INPUT
    return Channel(name, Quantity.POWER_MW, scope, gain_error, rail.averaged)


def _reversed(rail: _Rail) -> bool:
    return (read_int(rail.path.with_name(f"curr{rail.number}_input")) or 0) < 0


def _powers(search: Search, chip: Path, name: str) -> Iterator[_Rail]:
    inputs = search.numbers(chip, r"power(\d+)_input")
    averages = set(search.numbers(chip, r"power(\d+)_average")) - set(inputs)
    for number, kind in [(n, "input") for n in inputs] + [(n, "average") for n in sorted(averages)]:
        label = search.text(chip / f"power{number}_label")
        if _jetson.connected(label):
            path = chip / f"power{number}_{kind}"
            yield _Rail(name, number, label, path, averaged=kind == "average")


def _products(search: Search, chip: Path) -> Iterator[_Rail]:
    for number in _INA3221_RAILS:
        label = search.text(chip / f"in{number}_label")
        if _jetson.connected(label) and read_int(chip / f"in{number}_enable") != 0:
            voltage = chip / f"in{number}_input"
            yield _Rail("ina3221", number, label, voltage, open_file=_Product)
