"""What Android's battery service tells: whether it charges, voltage and temperature."""

from __future__ import annotations

import math
import re
from pathlib import Path

from edgeopt_agent.errors import Unavailable
from edgeopt_agent.sensors import _dumpsys
from edgeopt_agent.sensors._base import Channel, Quantity
from edgeopt_agent.sensors._command import CommandSensor

_SERVICE = "battery"
_LINE = re.compile(r"^\s*([A-Za-z ]{1,32}): (\S{1,32})$", re.MULTILINE)
_PLUGS = ("AC powered", "USB powered", "Wireless powered", "Dock powered")


class DumpsysBattery(CommandSensor):
    """mV and °C of the battery, and whether a charger is connected: `dumpsys battery`.

    The dump of Android's BatteryService: voltage in mV, temperature in tenths of °C. It has no
    current, Samsung's aside, and so no power; it tells what power must not be believed.
    """

    channels = (
        Channel("dumpsys-battery-voltage", Quantity.VOLTAGE_MV),
        Channel("dumpsys-battery-temperature", Quantity.TEMPERATURE_CELSIUS),
        Channel("dumpsys-battery-charging", Quantity.CHARGING),
    )

    @classmethod
    def discover(cls, root: Path) -> DumpsysBattery:
        answer = _dumpsys.ask(root, _SERVICE)
        if "UPDATES STOPPED" in answer:
            raise Unavailable("Android's battery state is made up; dumpsys battery reset ends that")
        return cls(_dumpsys.command(root, _SERVICE), _dumpsys.TIMEOUT_S, answer)

    def parse(self, answer: str) -> list[float]:
        told = dict(_LINE.findall(answer))
        plugs = {told[plug] for plug in _PLUGS if plug in told}
        return [
            _number(told.get("voltage", "")),
            _number(told.get("temperature", "")) / 10,
            float("true" in plugs) if plugs else math.nan,
        ]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
