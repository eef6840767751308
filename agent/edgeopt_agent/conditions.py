"""What a launch waits for before it begins: a cool device, a steady clock, no throttling."""

from __future__ import annotations

import asyncio
import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent import sensors
from edgeopt_agent.sensors import Quantity, Sensor
from edgeopt_agent.threads import Aside

_INTERVAL_S = 1.0
# How long sensors may take to be opened or read, before the device counts as one that cannot tell.
_PATIENCE_S = 20.0
# Clocks have stopped changing when over so long each stayed within this, relative.
_STEADY_S = 3.0
_STEADY = 0.02
# Jetson: a zone whose domain is switched off reads -256 °C, and JetPack 4's PMIC zone 100 °C
# exactly, whatever the board does.
_NO_TEMPERATURE = -200.0
_PMIC_CONSTANT = 100.0

_Values = dict[str, float]
_Readings = dict[Quantity, _Values]


async def wait_for(
    condition: benchmark_pb2.StartCondition,
    tell: Callable[[benchmark_pb2.Progress], None],
    root: Path = Path("/"),
) -> benchmark_pb2.BenchmarkWarning | None:
    """Returns when the condition holds, or after its timeout; looks about once a second.

    Args:
        condition: what is asked for, and how long to wait for it.
        tell: given the temperature and what is waited for, once per look that found it wanting.
        root: "/", or a recorded tree.

    Returns:
        None when all of it holds. Otherwise a warning with what was seen: NOT_COOL,
        THROTTLED_AT_START or CLOCK_UNSTEADY after the timeout, and START_UNKNOWN when the device
        has no sensor for a part of it, for which nobody waits, or one that hangs.
    """
    wanted = _wanted(condition)
    if not wanted:
        return None
    gauges = _Gauges(root, {one.quantity for one in wanted})
    aside = Aside("conditions")
    try:
        await aside.call(gauges.open, _PATIENCE_S)
        blind = [one for one in wanted if not gauges.has(one.quantity)]

        def read() -> Awaitable[_Readings]:
            return aside.call(gauges.read, _PATIENCE_S)

        unmet = await _wait(
            [one for one in wanted if one not in blind], condition.timeout_ns / 1e9, read, tell
        )
    except asyncio.TimeoutError:
        subjects = " and ".join(one.subject for one in wanted)
        message = (
            f"a sensor of this device did not answer within {_PATIENCE_S:g} s, so that it does not tell "
            f"{subjects}: the launch began without waiting for it"
        )
        return benchmark_pb2.BenchmarkWarning(code="START_UNKNOWN", message=message)
    finally:
        aside.end(gauges.close)
    blind = [one for one in blind if one.is_demanded]
    if not (unmet or blind):
        return None
    missing = f"this device does not tell {' and '.join(one.subject for one in blind)}"
    if not unmet:
        message = f"{missing}: the launch began without waiting for it"
        return benchmark_pb2.BenchmarkWarning(code="START_UNKNOWN", message=message)
    seen = "; ".join([*(one.complaint() for one in unmet), *([missing] if blind else [])])
    message = (
        f"after {condition.timeout_ns / 1e9:.0f} s the launch began although {seen}; cool the device, stop "
        "other work on it, or ask for less"
    )
    return benchmark_pb2.BenchmarkWarning(code=unmet[0].code, message=message)


async def _wait(
    wanted: list[_Part],
    timeout_s: float,
    read: Callable[[], Awaitable[_Readings]],
    tell: Callable[[benchmark_pb2.Progress], None],
) -> list[_Part]:
    """Waits for all parts; returns those that did not hold at the end."""
    end = time.monotonic() + timeout_s
    while True:
        values = await read()
        # Each of them looks, also when another has failed already: a clock needs its history.
        holds = [one.holds(values[one.quantity]) for one in wanted]
        unmet = [one for one, held in zip(wanted, holds, strict=True) if not held]
        left = end - time.monotonic()
        if not unmet or left <= 0:
            return unmet
        temperature = _hottest(values[Quantity.TEMPERATURE_CELSIUS])[1]
        tell(
            benchmark_pb2.Progress(
                phase=benchmark_pb2.Progress.PHASE_COOLING,
                temperature_celsius=0.0 if math.isnan(temperature) else temperature,
                condition=", ".join(one.goal for one in unmet),
            )
        )
        await asyncio.sleep(min(_INTERVAL_S, left))


class _Gauges:
    """The sensors of what a condition is about; slow ones where there are no others."""

    def __init__(self, root: Path, wanted: set[Quantity]) -> None:
        self._root = root
        self._wanted = wanted
        self._sensors: list[Sensor] = []

    def open(self) -> None:
        self._open(slow=False)
        if not all(map(self.has, self._wanted)):
            self.close()
            self._open(slow=True)

    def _open(self, *, slow: bool) -> None:
        worth_reading = self._wanted | {Quantity.TEMPERATURE_CELSIUS}
        self._sensors = sensors.working(self._root, slow=slow)
        for sensor in list(self._sensors):
            if not worth_reading & {channel.quantity for channel in sensor.channels}:
                self._sensors.remove(sensor)
                sensor.close()

    def has(self, quantity: Quantity) -> bool:
        return any(c.quantity == quantity for sensor in self._sensors for c in sensor.channels)

    def read(self) -> _Readings:
        values: _Readings = {quantity: {} for quantity in Quantity}
        for sensor in self._sensors:
            quantities = {channel.name: channel.quantity for channel in sensor.channels}
            for value in sensors.values(sensor):
                values[quantities[value.channel]][value.channel] = value.value
        return values

    def close(self) -> None:
        while self._sensors:
            self._sensors.pop().close()


class _Part(ABC):
    """One part of a condition."""

    quantity: Quantity
    code: str
    # Whether a device that cannot tell is worth a warning.
    is_demanded = True
    # What it is about.
    subject: str
    # What is waited for.
    goal: str

    @abstractmethod
    def holds(self, values: _Values) -> bool:
        """Whether it holds now; `values` are those of its quantity, by channel."""

    @abstractmethod
    def complaint(self) -> str:
        """What was seen at the last look, where it did not hold."""


class _Cool(_Part):
    quantity = Quantity.TEMPERATURE_CELSIUS
    code = "NOT_COOL"
    subject = "its temperature"

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self.goal = f"at most {limit:g} °C"
        self._seen = ("", math.nan)

    def holds(self, values: _Values) -> bool:
        self._seen = _hottest(values)
        return self._seen[1] <= self._limit

    def complaint(self) -> str:
        channel, temperature = self._seen
        if math.isnan(temperature):
            return "its temperature could not be read"
        return f"{channel} had {temperature:.1f} °C, more than {self._limit:g}"


class _NotThrottled(_Part):
    quantity = Quantity.THROTTLE_FLAGS
    code = "THROTTLED_AT_START"
    subject = "whether it throttles"
    goal = "no throttling"
    # It goes with every condition, and most computers cannot tell.
    is_demanded = False

    def __init__(self) -> None:
        self._set: list[str] = []

    def holds(self, values: _Values) -> bool:
        # What has throttled before is no reason to wait: it never ends.
        self._set = [
            f"'{name}' at {value:g}"
            for name, value in values.items()
            if value and not name.endswith("-sticky")
        ]
        return not self._set

    def complaint(self) -> str:
        return f"the device throttled ({', '.join(self._set)})"


class _Steady(_Part):
    quantity = Quantity.CLOCK_HZ
    code = "CLOCK_UNSTEADY"
    subject = "its clock"
    goal = "a steady clock"

    def __init__(self) -> None:
        self._history: deque[tuple[float, _Values]] = deque()
        self._watched = False

    def holds(self, values: _Values) -> bool:
        now = time.monotonic()
        self._history.append((now, values))
        # One look from before the time that counts is kept: it says how the clock was at its start.
        while len(self._history) > 1 and self._history[1][0] <= now - _STEADY_S:
            self._history.popleft()
        self._watched = self._history[0][0] <= now - _STEADY_S
        return self._watched and self._worst()[1] <= _STEADY

    def complaint(self) -> str:
        if not self._watched:
            return f"its clock could not be watched for {_STEADY_S:g} s"
        channel, spread = self._worst()
        return f"the clock of {channel} varied by {100 * spread:.0f} %"

    def _worst(self) -> tuple[str, float]:
        """The channel whose clock varied most, and by how much of its highest value."""
        seen: dict[str, list[float]] = {}
        for _, values in self._history:
            for channel, value in values.items():
                seen.setdefault(channel, []).append(value)
        spreads = {c: 1 - min(clocks) / max(clocks) for c, clocks in seen.items() if max(clocks)}
        return max(spreads.items(), key=lambda item: item[1], default=("", 0.0))


def _wanted(condition: benchmark_pb2.StartCondition) -> list[_Part]:
    wanted: list[_Part] = []
    if condition.max_temperature_celsius:
        wanted.append(_Cool(condition.max_temperature_celsius))
    if condition.not_throttled:
        wanted.append(_NotThrottled())
    if condition.steady_clock:
        wanted.append(_Steady())
    return wanted


def _hottest(values: _Values) -> tuple[str, float]:
    """The hottest channel that can be believed, and its temperature; NaN where there is none."""
    believed = {
        channel: value
        for channel, value in values.items()
        if value > _NO_TEMPERATURE
        and not (channel.upper().startswith("PMIC") and value == _PMIC_CONSTANT)
    }
    return max(believed.items(), key=lambda item: item[1], default=("", math.nan))
