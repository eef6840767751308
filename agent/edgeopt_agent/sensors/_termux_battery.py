"""The battery of a phone that denies its files to apps, through Termux:API."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from edgeopt_agent.errors import Unavailable
from edgeopt_agent.sensors._base import Channel, Quantity, Scope
from edgeopt_agent.sensors._battery import Battery
from edgeopt_agent.sensors._command import CommandSensor, run
from edgeopt_agent.sensors._gauge import drawn_mw

_COMMAND = "data/data/com.termux/files/usr/bin/termux-battery-status"
# Seven seconds were seen (fastfetch #243). Without the app Termux:API it waits for ever.
_TIMEOUT_S = 15.0
_FLOWS = {"DISCHARGING": 1.0, "CHARGING": -1.0}


class TermuxBattery(CommandSensor):
    """mV, mA, °C and mW of the battery, and whether a charger is connected.

    `termux-battery-status` prints JSON whose numbers may be strings or null, and older versions six
    keys alone, without voltage. "current" is in µA, but: its sign is the device's own; values below
    1000 were multiplied by 1000, being mA then, and devices that give mA from 1000 on were missed
    (termux-api, BatteryStatusAPI.java). It is given as if it were µA; what it means is in "-drawn",
    see _gauge.
    """

    channels = (
        Channel("termux-battery-voltage", Quantity.VOLTAGE_MV),
        Channel("termux-battery-current", Quantity.CURRENT_MA),
        Channel("termux-battery-temperature", Quantity.TEMPERATURE_CELSIUS),
        Channel("termux-battery-drawn", Quantity.POWER_MW, Scope.BATTERY),
        Channel("termux-battery-charging", Quantity.CHARGING),
    )

    @classmethod
    def discover(cls, root: Path) -> TermuxBattery:
        if _kernel_tells(root):
            raise Unavailable("the kernel's files tell the battery's power, see battery")
        command = [str(root / _COMMAND)]
        try:
            answer = run(command, _TIMEOUT_S)
        except Unavailable as reason:
            if "did not answer" not in str(reason):
                raise
            raise Unavailable(f"{reason}; is the app Termux:API installed?") from None
        return cls(command, _TIMEOUT_S, answer)

    def parse(self, answer: str) -> list[float]:
        told = _object(answer)
        voltage, current = _number(told.get("voltage")), _number(told.get("current"))
        flow = _FLOWS.get(str(told.get("status")), math.nan)
        drawn = drawn_mw(voltage, current, flow)
        return [voltage, current / 1e3, _number(told.get("temperature")), drawn, _charging(told)]


def _charging(told: dict[str, Any]) -> float:
    plugged = str(told.get("plugged"))
    if plugged.startswith("PLUGGED") or told.get("status") == "CHARGING":
        return 1.0
    return 0.0 if plugged == "UNPLUGGED" or told.get("status") == "DISCHARGING" else math.nan


def _kernel_tells(root: Path) -> bool:
    try:
        battery = Battery.discover(root)
    except Unavailable:
        return False
    battery.close()
    return any(channel.scope is Scope.BATTERY for channel in battery.channels)


def _object(answer: str) -> dict[str, Any]:
    try:
        told = json.loads(answer)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _number(value: object) -> float:
    try:
        return float(value) if isinstance(value, (int, float, str)) else math.nan
    except (ValueError, OverflowError):
        return math.nan
