"""Power of a Raspberry Pi 5, rail by rail."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path

from edgeopt_agent.errors import Unavailable
from edgeopt_agent.sensors._base import Channel, Quantity, Scope, Sensor
from edgeopt_agent.sensors._vcio import Firmware

_INPUT = "EXT5V"
_LINE = re.compile(r"(\w{1,64})_([AV]) +(?:current|volt)\(\d+\)=([-+.\w]{1,64})[AV]", re.ASCII)


class RaspberryPiPmic(Sensor):
    """mW of each rail that the power management chip feeds, and mV of those it only sees.

    `vcgencmd pmic_read_adc`, without the command (formats: the test files of ml-energy/zeus #274).
    A rail's current and voltage have different indices, and rails differ between firmwares: they
    are paired by name, "VDD_CORE_A" with "VDD_CORE_V". Rails add up to what the board itself draws:
    not what USB devices and HATs take from the 5 V, and not what the regulators lose. "EXT5V", the
    supply, has a voltage alone. A rail with little current reads as exactly 0.
    """

    # A round trip through the firmware's mailbox, which others use too.
    min_interval_ns = 100_000_000

    def __init__(self, firmware: Firmware, readings: dict[str, float]) -> None:
        """Takes the channels from a first reading."""
        self._firmware = firmware
        voltages = [name[:-2] for name in readings if name.endswith("_V")]
        self._rails = [name for name in voltages if f"{name}_A" in readings]
        self._alone = [name for name in voltages if f"{name}_A" not in readings]
        rails = [Channel(name, Quantity.POWER_MW, Scope.RAIL) for name in self._rails]
        self.channels = (*rails, *(_voltage(name) for name in self._alone))

    @classmethod
    def discover(cls, root: Path) -> RaspberryPiPmic:
        firmware = Firmware.find(root)
        try:
            readings = parse(firmware.lines("pmic_read_adc"))
        except (OSError, ValueError):
            readings = {}
        sensor = cls(firmware, readings)
        if not sensor._rails:
            sensor.close()
            raise Unavailable("the firmware measures no rails; of the Pis, the 5 alone does")
        return sensor

    def read(self) -> list[float]:
        try:
            readings = parse(self._firmware.lines("pmic_read_adc"))
        except (OSError, ValueError):
            readings = {}
        volts = {name: readings.get(f"{name}_V", math.nan) for name in (*self._rails, *self._alone)}
        return [
            *(1e3 * volts[name] * readings.get(f"{name}_A", math.nan) for name in self._rails),
            *(1e3 * volts[name] for name in self._alone),
        ]

    def close(self) -> None:
        self._firmware.close()


def parse(lines: Iterable[str]) -> dict[str, float]:
    """V and A by name, as in "VDD_CORE_A current(7)=6.22421000A"; other lines are left out."""
    found = (_LINE.fullmatch(line.strip()) for line in lines)
    return {f"{line[1]}_{line[2]}": _number(line[3]) for line in found if line}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _voltage(name: str) -> Channel:
    return Channel(name, Quantity.VOLTAGE_MV, Scope.INPUT if name == _INPUT else None)
