"""Samples power beside a worker that is idle and works in turns: an energy pass."""

from __future__ import annotations

import math
import random
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent import sensors
from edgeopt_agent.sensors import Found, Quantity, Sensor

# Times and values together, 8 bytes each: three rails at 1 kHz for 15 minutes take 3.6 million.
_MOST_NUMBERS = 4_000_000
# gRPC takes messages of 4 MiB.
_NUMBERS_PER_EVENT = 3_500_000 // 8
_LEAST_INTERVAL_NS = 1_000_000
# From here on a thread can afford to wait for a moment of its own in each interval.
_SPREAD_NS = 10_000_000
# A command that a slow sensor waits for is given up after that at the latest.
_JOIN_S = 20.0
_POWER = {Quantity.POWER_MW, Quantity.ENERGY_MJ}
# Built-in sensors whose absence says nothing about power.
_NO_POWER = {
    "clock",
    "dumpsys-thermal",
    "rpi-temperature",
    "rpi-throttle",
    "thermal",
    "throttle",
}


class PowerSampler:
    """Reads every sensor of power or energy as often as it has news, each in a thread of its own.

    A slow sensor holds up no other, and none is read in the confined worker. What a battery is
    charged with is read too, because it tells whether power readings mean anything.

    Memory has a bound, shared evenly by the sensors. One that reaches its share goes on at half its
    rate, and forgets every second sample that it has.

    Args:
        channels: names of power and energy channels; empty: all of the device.
        root: "/", or a recorded tree.
        most_numbers: the bound, in times and values.
    """

    def __init__(
        self,
        channels: Sequence[str] = (),
        root: Path = Path("/"),
        most_numbers: int = _MOST_NUMBERS,
    ) -> None:
        self._channels = list(channels)
        self._root = root
        self._most_numbers = most_numbers
        self._series: list[_Series] = []
        self._stopped = threading.Event()
        # Why there is nothing to sample, once it has begun; empty when there is.
        self.unavailable_reason = ""

    def start(self) -> None:
        """Finds the sensors and begins to sample; it may take as long as the slowest of them."""
        found = sensors.discover(self._root)
        self.unavailable_reason = _unavailable(found, self._channels)
        wanted: list[tuple[Sensor, list[int]]] = []
        for one in found:
            indices = _chosen(one.sensor, self._channels) if one.sensor else []
            if one.sensor and indices and not self.unavailable_reason:
                wanted.append((one.sensor, indices))
            else:
                one.close()
        for sensor, indices in wanted:
            share = self._most_numbers // len(wanted)
            self._series.append(_Series(sensor, indices, share, self._stopped))
        for series in self._series:
            series.start()

    def stop(self) -> list[benchmark_pb2.EnergyReadings]:
        """Ends sampling and closes the sensors.

        Returns:
            The samples, one sensor after the other, each in the order of time and in pieces that
            fit into a message; or the reason why there are none.
        """
        self._stopped.set()
        if self.unavailable_reason:
            return [benchmark_pb2.EnergyReadings(unavailable_reason=self.unavailable_reason)]
        readings = [piece for series in self._series for piece in series.end()]
        self._series.clear()
        return readings


class _Series(threading.Thread):
    """The samples of one sensor."""

    def __init__(
        self, sensor: Sensor, indices: list[int], share: int, stopped: threading.Event
    ) -> None:
        super().__init__(name=f"power-{sensor.channels[indices[0]].name}", daemon=True)
        self._sensor = sensor
        self._indices = indices
        self._most_rows = max(2, share // (1 + len(indices)))
        self._stopped = stopped
        self._interval_ns = max(sensor.min_interval_ns, _LEAST_INTERVAL_NS)
        self._times = array("q")
        self._columns = [array("d") for _ in indices]

    def run(self) -> None:
        """Reads on a grid of absolute times, so that what a reading takes does not add up."""
        due = time.monotonic_ns()
        while not self._stopped.wait(max(0, due + self._wait_ns() - time.monotonic_ns()) / 1e9):
            self._read()
            if len(self._times) >= self._most_rows:
                self._thin()
            due += self._interval_ns
            late = time.monotonic_ns() - due
            if late > 0:
                # What was missed is missed: catching up would read the same value twice.
                due += late // self._interval_ns * self._interval_ns

    def end(self) -> Iterator[benchmark_pb2.EnergyReadings]:
        """Waits for the thread, if it has begun, and gives what it has sampled."""
        if self.ident is not None:
            self.join(_JOIN_S)
        if not self.is_alive():
            self._sensor.close()
        names = [self._sensor.channels[index].name for index in self._indices]
        rows = min(len(self._times), *(len(column) for column in self._columns))
        step = max(1, _NUMBERS_PER_EVENT // (1 + len(names)))
        for first in range(0, rows, step):
            last = min(first + step, rows)
            yield benchmark_pb2.EnergyReadings(
                time_ns=self._times[first:last],
                channels=[
                    benchmark_pb2.EnergyReadings.Channel(name=name, values=column[first:last])
                    for name, column in zip(names, self._columns, strict=True)
                ],
            )

    def _read(self) -> None:
        before = time.monotonic_ns()
        try:
            values = self._sensor.read()
        except Exception:  # noqa: BLE001 - a third party's sensor may raise anything
            values = [math.nan] * len(self._sensor.channels)
        after = time.monotonic_ns()
        for column, index in zip(self._columns, self._indices, strict=True):
            column.append(values[index])
        self._times.append((before + after) // 2)

    def _thin(self) -> None:
        del self._times[::2]
        for column in self._columns:
            del column[::2]
        self._interval_ns *= 2

    def _wait_ns(self) -> int:
        """How long after its time a sample is taken.

        A slow sensor that tells the power of a moment would otherwise meet a paced load at the same
        phase again and again.
        """
        channels = [self._sensor.channels[index] for index in self._indices]
        if self._interval_ns < _SPREAD_NS or any(channel.averaged for channel in channels):
            return 0
        return int(random.random() * self._interval_ns / 2)  # noqa: S311 - not a secret


def _chosen(sensor: Sensor, names: Sequence[str]) -> list[int]:
    """Indices of the channels to keep; of charging always, for it tells what not to believe."""
    return [
        index
        for index, channel in enumerate(sensor.channels)
        if channel.quantity is Quantity.CHARGING
        or (channel.quantity in _POWER and (not names or channel.name in names))
    ]


def _unavailable(found: Sequence[Found], names: Sequence[str]) -> str:
    """Why no power can be sampled; empty when it can."""
    there = [
        channel.name
        for one in found
        if one.sensor
        for channel in one.sensor.channels
        if channel.quantity in _POWER
    ]
    if missing := [f"'{name}'" for name in names if name not in there]:
        has = ", ".join(there) or "none"
        return f"this device has no power or energy channel {', '.join(missing)}; it has: {has}"
    if there:
        return ""
    reasons = [
        f"{one.name}: {one.unavailable_reason}"
        for one in found
        if not one.sensor and one.name not in _NO_POWER
    ]
    return f"no sensor here measures power or energy ({'; '.join(reasons)})"
