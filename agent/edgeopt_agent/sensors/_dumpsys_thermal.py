"""Android's temperatures and how far it throttles."""

from __future__ import annotations

import math
import re
from pathlib import Path

from edgeopt_agent.errors import Unavailable
from edgeopt_agent.sensors import _dumpsys
from edgeopt_agent.sensors._base import Channel, Quantity
from edgeopt_agent.sensors._command import CommandSensor
from edgeopt_agent.sysfs import unique

_SERVICE = "thermalservice"
_STATUS = re.compile(r"^Thermal Status: (\d{1,3})$", re.MULTILINE)
_CURRENT = "Current temperatures from HAL:"
_TEMPERATURE = re.compile(
    r"^\s+Temperature\{mValue=([-+.\w]{1,32}), mType=(-?\d{1,4}), mName=([^,}\n]{1,64}),",
    re.MULTILINE,
)
# Battery current limits: V, A and %, no temperatures (android.os.Temperature).
_NO_TEMPERATURE = {6, 7, 8}


class DumpsysThermal(CommandSensor):
    """°C of the thermal HAL, and Android's thermal status: `dumpsys thermalservice`.

    "Current temperatures from HAL" are measured for the command, "Cached temperatures" whenever.
    "thermal-status" is 0 (none) to 6 (shutdown), as in PowerManager.THERMAL_STATUS_*.
    """

    @classmethod
    def discover(cls, root: Path) -> DumpsysThermal:
        answer = _dumpsys.ask(root, _SERVICE)
        if "HAL Ready: false" in answer:
            raise Unavailable("Android's thermal HAL is not ready, so it tells no temperature")
        if not temperatures(answer):
            raise Unavailable("dumpsys thermalservice tells no current temperature")
        sensor = cls(_dumpsys.command(root, _SERVICE), _dumpsys.TIMEOUT_S, answer)
        sensor.channels = (
            Channel("thermal-status", Quantity.THROTTLE_FLAGS),
            *(Channel(name, Quantity.TEMPERATURE_CELSIUS) for name in temperatures(answer)),
        )
        return sensor

    def parse(self, answer: str) -> list[float]:
        current = temperatures(answer)
        status = _STATUS.search(answer)
        return [
            float(status[1]) if status else math.nan,
            *(current.get(channel.name, math.nan) for channel in self.channels[1:]),
        ]


def temperatures(answer: str) -> dict[str, float]:
    """°C of the section "Current temperatures from HAL" by name, each with "hal-" before it."""
    section = answer.partition(_CURRENT)[2].lstrip("\n")
    # It ends where a line is not indented.
    section = re.split(r"^\S", section, maxsplit=1, flags=re.MULTILINE)[0]
    found: dict[str, float] = {}
    for value, kind, name in _TEMPERATURE.findall(section):
        if int(kind) not in _NO_TEMPERATURE:
            found[unique("-".join(["hal", *name.split()]), found)] = _number(value)
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
