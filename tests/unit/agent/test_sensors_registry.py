"""What the registry does with sensors that are broken, and with other people's."""

from __future__ import annotations

import math
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

import boards
from edgeopt_agent import sensors
from edgeopt_agent.sensors import Channel, Quantity, Sensor


def reasons(root: Path) -> dict[str, str]:
    """Why the sensors that do not work below `root` do not."""
    return {found.name: found.unavailable_reason for found in sensors.discover(root)}


class Broken(Sensor):
    channels = (Channel("broken", Quantity.POWER_MW),)
    closed = 0

    @classmethod
    def discover(cls, root: Path) -> Sensor:
        if root == Path("/explode"):
            raise ZeroDivisionError("a bug")
        return cls()

    def read(self) -> list[float]:
        return [1.0, 2.0]

    def close(self) -> None:
        type(self).closed += 1


class Mute(Broken):
    def read(self) -> list[float]:
        return [math.nan]


class Greedy(Broken):
    channels = (Channel("cpu0", Quantity.CLOCK_HZ),)

    def read(self) -> list[float]:
        return [1.0]


class Works(Greedy):
    channels = (Channel("theirs", Quantity.POWER_MW),)


class Slow(Works):
    slow = True
    asked = 0

    @classmethod
    def discover(cls, root: Path) -> Sensor:
        cls.asked += 1
        return super().discover(root)


def register(monkeypatch: pytest.MonkeyPatch, value: str, name: str = "theirs") -> None:
    point = EntryPoint(name, value, "edgeopt.sensors")
    monkeypatch.setattr(sensors, "entry_points", lambda group: EntryPoints([point]))  # noqa: ARG005


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (f"{__name__}:Broken", "it has 1 channels but gave 2 values"),
        (f"{__name__}:Mute", "no value from any channel: broken"),
        (f"{__name__}:Greedy", "another sensor has a channel of this name: cpu0"),
        (f"{__name__}:Missing", "AttributeError: "),
        ("no_such_package:Sensor", "ModuleNotFoundError: No module named 'no_such_package'"),
    ],
)
def test_a_broken_sensor_is_listed_as_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, reason: str
) -> None:
    register(monkeypatch, value)
    root = boards.lay_out("vm", tmp_path)
    assert reasons(root)["theirs"].startswith(reason)


def test_any_exception_becomes_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, f"{__name__}:Broken")
    assert reasons(Path("/explode"))["theirs"] == "ZeroDivisionError: a bug"


def test_a_third_partys_sensor_works_and_cannot_replace_a_built_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = boards.lay_out("vm", tmp_path)
    register(monkeypatch, f"{__name__}:Works")
    assert reasons(root)["theirs"] == ""
    assert sensors.names()[-1] == "theirs"
    register(monkeypatch, f"{__name__}:Works", name="clock")
    clock = next(found for found in sensors.discover(root) if found.name == "clock")
    assert clock.sensor
    assert clock.sensor.read() == [pytest.approx(2.59614e9)]


def test_a_slow_sensor_is_told_of_and_not_read_by_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = boards.lay_out("vm", tmp_path)
    register(monkeypatch, f"{__name__}:Slow")
    assert reasons(root)["theirs"] == ""
    asked = Slow.asked
    names = {channel.name for sensor in sensors.working(root) for channel in sensor.channels}
    assert names == {"cpu0"}
    assert Slow.asked == asked
    slow = {c.name for sensor in sensors.working(root, slow=True) for c in sensor.channels}
    assert slow == {"cpu0", "theirs"}


def test_reasons_are_told_for_the_real_machine() -> None:
    found = sensors.discover()
    for one in found:
        assert bool(one.sensor) != bool(one.unavailable_reason)
        one.close()
    assert [one.name for one in found] == sensors.names()


def test_importing_sensors_imports_nothing_heavy() -> None:
    code = (
        "import sys; from edgeopt_agent import sensors;"
        "[one.close() for one in sensors.discover()];"
        "print(sorted({'numpy', 'psutil', 'grpc'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
