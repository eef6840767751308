"""Batteries: phones, laptops, UPS boards."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Sequence
from pathlib import Path

from edgeopt_agent.sensors._base import Channel, Quantity, Scope
from edgeopt_agent.sensors._gauge import drawn_mw
from edgeopt_agent.sysfs import FileSensor, KeptFile, Search

_MICRO_TO_MILLI = 1e-3
_FIGURES = {
    "voltage": Quantity.VOLTAGE_MV,
    "current": Quantity.CURRENT_MA,
    "power": Quantity.POWER_MW,
}
_FLOWS = {b"Discharging": 1.0, b"Charging": -1.0}
# Android's own, of which "bms" and others are gauges.
_ANDROID = "battery"


class Battery(FileSensor):
    """mV, mA and mW of each battery's gauge as the driver gives them, and what they mean.

    µV, µA and µW of /sys/class/power_supply/*/{voltage,current,power}_now
    (Documentation/ABI/testing/sysfs-class-power). "-drawn" is the power that the battery gives, as
    far as status and size of the figures tell (see _gauge); nothing else is corrected. "-charging"
    is 1 while the battery charges or a charger is connected: then the device draws from the
    charger, and the battery's power is not the device's. Android denies these files to apps on
    many devices.
    """

    # Gauges answer about once a second; a laptop's firmware is not to be asked more often.
    min_interval_ns = 1_000_000_000

    @classmethod
    def discover(cls, root: Path) -> Battery:
        search = Search()
        supplies = search.folders(root / "sys/class/power_supply", r".+")
        batteries = [supply for supply in supplies if _is_battery(search, supply)]
        if any(battery.name == _ANDROID for battery in batteries):
            batteries = [battery for battery in batteries if battery.name == _ANDROID]
        chargers = [
            supply / "online"
            for supply in supplies
            if search.text(supply / "type") != "Battery"
            and search.text(supply / "scope") != "Device"
        ]
        for battery in batteries:
            before = len(search.found)
            for figure, quantity in _FIGURES.items():
                channel = Channel(f"{battery.name}-{figure}", quantity)
                search.add(channel, battery / f"{figure}_now", _MICRO_TO_MILLI)
            if len(search.found) > before:
                drawn = Channel(f"{battery.name}-drawn", Quantity.POWER_MW, Scope.BATTERY)
                search.add(drawn, battery / "status", open_file=_Drawn)
                charging = Channel(f"{battery.name}-charging", Quantity.CHARGING)
                opener = functools.partial(_Charging, chargers)
                search.add(charging, battery / "status", open_file=opener)
        return cls(search.require("no battery here"))


def _is_battery(search: Search, supply: Path) -> bool:
    return (
        search.text(supply / "type") == "Battery"
        # "Device": the battery of a mouse or a headset.
        and search.text(supply / "scope") != "Device"
        and search.text(supply / "present") != "0"
    )


class _Flow(KeptFile):
    """A battery's status: 1 while it discharges, -1 while it charges, NaN in between."""

    def parse(self, content: bytes) -> float:
        return _FLOWS.get(content.strip(), math.nan)


class _Drawn(_Flow):
    """mW that the battery gives: µW where the driver has them, else µV times µA."""

    def __init__(self, status: Path, scale: float) -> None:
        super().__init__(status, scale)
        power = status.with_name("power_now")
        names = ["power_now"] if power.exists() else ["voltage_now", "current_now"]
        self._figures: list[KeptFile] = []
        try:
            self._figures += [KeptFile(status.with_name(name)) for name in names]
        except OSError:
            self.close()
            raise

    def read_number(self) -> float:
        flow = super().read_number()
        figures = [file.read_number() for file in self._figures]
        if len(figures) == 1:
            return flow * abs(figures[0]) * _MICRO_TO_MILLI
        voltage, current = figures
        return drawn_mw(voltage * _MICRO_TO_MILLI, current, flow)

    def close(self) -> None:
        for file in self._figures:
            file.close()
        super().close()


class _Charging(_Flow):
    """1 while the battery charges or a charger is connected, 0 while it alone gives, else NaN."""

    def __init__(self, chargers: Sequence[Path], status: Path, scale: float) -> None:
        super().__init__(status, scale)
        self._chargers: list[KeptFile] = []
        for online in chargers:
            with contextlib.suppress(OSError):
                self._chargers.append(KeptFile(online))

    def read_number(self) -> float:
        flow = super().read_number()
        online = [charger.read_number() for charger in self._chargers]
        if flow < 0 or any(number > 0 for number in online):
            return 1.0
        return 0.0 if flow > 0 or 0.0 in online else math.nan

    def close(self) -> None:
        for charger in self._chargers:
            charger.close()
        super().close()
