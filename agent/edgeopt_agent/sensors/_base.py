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


@dataclass(frozen=True)
class Channel:
    """One figure of a sensor; the name is unique within the device."""

    name: str
    quantity: Quantity


class Sensor(ABC):
    """Reads one kind of figure, fast enough to stand between two timed blocks.

    Files stay open between readings: `pread` on a kept descriptor costs 2 µs, opening
    the file again 19.
    """

    channels: tuple[Channel, ...]
    # The shortest time in which a new reading can differ from the last.
    min_interval_ns: int = 1_000_000

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
