"""The temperature of a Raspberry Pi whose thermal zone cannot be read."""

from __future__ import annotations

import math
import re
from pathlib import Path

from edgeopt_agent.errors import Unavailable
from edgeopt_agent.sensors._base import Channel, Quantity, Sensor
from edgeopt_agent.sensors._vcio import Firmware
from edgeopt_agent.sysfs import read_int


class RaspberryPiTemperature(Sensor):
    """°C of the SoC, as the firmware tells it: `vcgencmd measure_temp`, without the command.

    The same sensor as the kernel's zone "cpu-thermal", which costs less and is used where it can be
    read. In a container it often cannot.
    """

    channels = (Channel("soc-temperature", Quantity.TEMPERATURE_CELSIUS),)
    # Others use the firmware's mailbox too.
    min_interval_ns = 1_000_000_000

    def __init__(self, firmware: Firmware) -> None:
        self._firmware = firmware

    @classmethod
    def discover(cls, root: Path) -> RaspberryPiTemperature:
        zones = (root / "sys/class/thermal").glob("thermal_zone*/temp")
        if any(read_int(zone) is not None for zone in zones):
            raise Unavailable("the kernel's thermal zones can be read, see thermal")
        return cls(Firmware.find(root))

    def read(self) -> list[float]:
        try:
            return [parse(self._firmware.gencmd("measure_temp"))]
        except (OSError, ValueError):
            return [math.nan]

    def close(self) -> None:
        self._firmware.close()


def parse(answer: str) -> float:
    """The °C in "temp=39.5'C"; NaN in anything else."""
    celsius = re.fullmatch(r"temp=(-?\d{1,3}(?:\.\d{1,3})?)'C", answer.strip(), re.ASCII)
    return float(celsius[1]) if celsius else math.nan
