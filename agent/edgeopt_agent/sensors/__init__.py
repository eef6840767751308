"""The sensors this agent knows. A new one is a module beside these and a line here.

A third party registers a `Sensor` class through the entry point group `edgeopt.sensors`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from edgeopt.agent.v1 import device_pb2
from edgeopt_agent.errors import Unavailable
from edgeopt_agent.sensors._base import Channel, Quantity, Scope, Sensor

__all__ = [
    "Channel",
    "Found",
    "Quantity",
    "Scope",
    "Sensor",
    "discover",
    "names",
    "values",
    "working",
]

_BUILT_IN = {
    "battery": "edgeopt_agent.sensors._battery:Battery",
    "clock": "edgeopt_agent.sensors._clock:Clock",
    "dumpsys-battery": "edgeopt_agent.sensors._dumpsys_battery:DumpsysBattery",
    "dumpsys-thermal": "edgeopt_agent.sensors._dumpsys_thermal:DumpsysThermal",
    "hwmon-power": "edgeopt_agent.sensors._hwmon_power:HwmonPower",
    "jetson-iio": "edgeopt_agent.sensors._jetson_iio:JetsonIio",
    "rapl": "edgeopt_agent.sensors._rapl:Rapl",
    "rpi-pmic": "edgeopt_agent.sensors._rpi_pmic:RaspberryPiPmic",
    "rpi-temperature": "edgeopt_agent.sensors._rpi_temperature:RaspberryPiTemperature",
    "rpi-throttle": "edgeopt_agent.sensors._rpi_throttle:RaspberryPiThrottle",
    "termux-battery": "edgeopt_agent.sensors._termux_battery:TermuxBattery",
    "thermal": "edgeopt_agent.sensors._thermal:Thermal",
    "throttle": "edgeopt_agent.sensors._throttle:Throttle",
}
_GROUP = "edgeopt.sensors"


@dataclass(frozen=True)
class Found:
    """A sensor that works here, or why it does not."""

    name: str
    sensor: Sensor | None
    # Empty when the sensor works.
    unavailable_reason: str = ""

    def close(self) -> None:
        if self.sensor:
            self.sensor.close()


def names() -> list[str]:
    """Every sensor's name, the built-in ones first, whether it works here or not."""
    return [*_BUILT_IN, *sorted(entry_points(group=_GROUP).names - _BUILT_IN.keys())]


def discover(root: Path = Path("/"), *, slow: bool = True) -> list[Found]:
    """Looks for every sensor below `root` and reads each once; never raises. The caller closes.

    A channel's name is unique within the device: a sensor that brings a taken one is unavailable.
    Without `slow` the slow ones are left out, and not even asked.
    """
    found: list[Found] = []
    for name in names():
        taken = {channel.name for one in found if one.sensor for channel in one.sensor.channels}
        try:
            kind = _load(name)
            if slow or not kind.slow:
                found.append(Found(name, _working(kind, root, taken)))
        except Unavailable as reason:
            found.append(Found(name, None, str(reason)))
        except Exception as error:  # noqa: BLE001 - a third party's sensor may raise anything
            found.append(Found(name, None, f"{type(error).__name__}: {error}"))
    return found


def working(root: Path = Path("/"), *, slow: bool = False) -> list[Sensor]:
    """The sensors that work here, opened; the caller closes them. Slow ones only if asked for."""
    return [found.sensor for found in discover(root, slow=slow) if found.sensor is not None]


def values(sensor: Sensor) -> list[device_pb2.SensorValue]:
    """One reading of a sensor; channels that could not be read this time are left out."""
    return [
        device_pb2.SensorValue(channel=channel.name, value=value)
        for channel, value in zip(sensor.channels, sensor.read(), strict=True)
        if math.isfinite(value)
    ]


def _working(kind: type[Sensor], root: Path, taken: set[str]) -> Sensor:
    sensor = kind.discover(root)
    try:
        fault = _fault([channel.name for channel in sensor.channels], sensor.read(), taken)
    except BaseException:
        sensor.close()
        raise
    if fault:
        sensor.close()
        raise Unavailable(fault)
    return sensor


def _fault(channels: list[str], values: list[float], taken: set[str]) -> str:
    if len(values) != len(channels):
        return f"it has {len(channels)} channels but gave {len(values)} values"
    if all(math.isnan(value) for value in values):
        return f"no value from any channel: {', '.join(channels) or 'it has none'}"
    if clash := taken.intersection(channels):
        return f"another sensor has a channel of this name: {', '.join(sorted(clash))}"
    if len({*channels}) < len(channels):
        return f"two of its channels have one name: {', '.join(channels)}"
    return ""


def _load(name: str) -> type[Sensor]:
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        return getattr(import_module(module), attribute)  # type: ignore[no-any-return]
    return entry_points(group=_GROUP)[name].load()  # type: ignore[no-any-return]
