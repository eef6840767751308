"""What a sensor is."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path


class Quantity(enum.Enum):
    """What a channel measures, in the unit that its name ends with."""

    TEMPERATURE_CELSIUS = "temperature_celsius"
    CLOCK_HZ = "clock_hz"
    POWER_MW = "power_mw"
    ENERGY_MJ = "energy_mj"  # counted up since an arbitrary moment
    VOLTAGE_MV = "voltage_mv"
    CURRENT_MA = "current_ma"
    THROTTLE_FLAGS = "throttle_flags"  # zero: nothing throttles; if named "...-sticky": nothing has
    THROTTLE_COUNT = "throttle_count"  # events since boot
    CHARGING = "charging"  # one: a charger is at work, so the battery tells nothing of the load


class Scope(enum.Enum):
    """What part of the device a power, energy, voltage or current channel is about."""

    INPUT = "input"  # all that the board or the module draws
    RAIL = "rail"  # a part, apart from all other rails: these add up
    PART = "part"  # contained in another channel, or beside the module: never added to anything
    BATTERY = "battery"  # what a battery gives; negative: what goes into it
    PACKAGE = "package"  # a processor, without its board: these add up


@dataclass(frozen=True)
class Channel:
    """One figure of a sensor; the name is unique within the device."""

    name: str
    quantity: Quantity
    # None: not told, or not a matter of power.
    scope: Scope | None = None
    # The systematic error that the maker states, relative: 0.01 is one percent. 0: unknown.
    gain_error: float = 0.0
    # Values are means over the time since the one before, not of a moment.
    averaged: bool = False
    # An energy counter starts again at 0 when it reaches this; 0: it never does.
    wraps_at: float = 0.0


class Sensor(ABC):
    """Reads one kind of figure, fast enough to stand between two timed blocks.

    Files stay open between readings: `pread` on a kept descriptor costs 2 µs, opening
    the file again 19.
    """

    channels: tuple[Channel, ...]
    # The shortest time in which a new reading can differ from the last.
    min_interval_ns: int = 1_000_000
    # It needs a command, the network or a stream of its own. The agent's process reads it, and
    # never a worker, which is confined and may have none of these.
    slow: bool = False

    @classmethod
    @abstractmethod
    def discover(cls, root: Path) -> Sensor:
        """Finds the sensor below `root` ("/", or a recorded tree).

        Raises:
            Unavailable: with the reason, when the device has none or denies reading it.
        """

    @abstractmethod
    def read(self) -> list[float]:
        """One value per channel, in order; NaN where a channel could not be read this time."""

    def close(self) -> None:  # noqa: B027 - many have nothing to close
        """Closes what `discover` opened."""
