"""What every sensor promises, on a board that has it and on one that has not."""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import boards
from edgeopt_agent import sensors
from edgeopt_agent.errors import Unavailable
from edgeopt_agent.sensors import Quantity, Scope, Sensor, _vcio

# A row per sensor: a board that has it, one that has not.
ROWS = {
    "battery": ("x86-rapl", "pi5"),
    "clock": ("pi5", "ina"),
    "dumpsys-battery": ("termux", "android-denied"),
    "dumpsys-thermal": ("termux", "android-denied"),
    "hwmon-power": ("orin-nano", "pi4"),
    "jetson-iio": ("nano", "orin-nano"),
    "rapl": ("x86-rapl", "pi5"),
    "rpi-pmic": ("pi5", "pi-container"),
    "rpi-temperature": ("pi-container", "pi5"),
    "rpi-throttle": ("pi4", "vm"),
    "termux-battery": ("termux", "mi8"),
    "thermal": ("orin-nano", "vm"),
    "throttle": ("nano", "vm"),
}
_ELECTRIC = {Quantity.POWER_MW, Quantity.ENERGY_MJ, Quantity.VOLTAGE_MV, Quantity.CURRENT_MA}


@pytest.fixture(autouse=True)
def mailbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_vcio.fcntl, "ioctl", boards.firmware_ioctl)


def test_every_sensor_has_a_row() -> None:
    assert sorted(ROWS) == sensors.names()


@pytest.mark.parametrize("name", ROWS)
class TestSensor:
    @pytest.fixture
    def kind(self, name: str) -> type[Sensor]:
        return sensors._load(name)

    @pytest.fixture
    def root(self, name: str, tmp_path: Path) -> Path:
        return boards.lay_out(ROWS[name][0], tmp_path)

    @pytest.fixture
    def sensor(self, kind: type[Sensor], root: Path) -> Iterator[Sensor]:
        sensor = kind.discover(root)
        sensor.read()  # as the registry does
        yield sensor
        sensor.close()

    def test_a_value_per_channel(self, sensor: Sensor) -> None:
        values = sensor.read()
        assert len(values) == len(sensor.channels) > 0
        assert all(isinstance(value, float) for value in values)
        assert not all(math.isnan(value) for value in values)

    def test_channels_are_named_and_have_a_quantity(self, sensor: Sensor) -> None:
        names = [channel.name for channel in sensor.channels]
        assert len({*names}) == len(names)
        assert all(name and not name.isspace() for name in names)
        assert all(isinstance(channel.quantity, Quantity) for channel in sensor.channels)

    def test_what_channels_are_about_makes_sense(self, sensor: Sensor) -> None:
        for channel in sensor.channels:
            assert channel.scope is None or channel.quantity in _ELECTRIC
            assert 0 <= channel.gain_error < 0.1
            assert channel.wraps_at == 0 or channel.quantity is Quantity.ENERGY_MJ
        power = [
            c for c in sensor.channels if c.quantity in {Quantity.POWER_MW, Quantity.ENERGY_MJ}
        ]
        scopes = {channel.scope for channel in power}
        # What could be added twice.
        assert not {Scope.INPUT, Scope.RAIL} <= scopes
        assert sum(channel.scope is Scope.INPUT for channel in power) <= 1

    def test_interval_is_useful(self, sensor: Sensor) -> None:
        assert 1_000_000 <= sensor.min_interval_ns <= 10_000_000_000

    def test_reading_follows_the_device_and_opens_nothing(
        self, sensor: Sensor, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = sensor.read()
        for path in [path for path in root.rglob("*") if path.is_file()]:
            text = path.read_text("utf-8")
            if text.strip().isdecimal():
                path.write_text("7\n")  # in place: the kernel's files stay the same file too
            elif sensor.slow or path.name == "vcio":
                path.write_text(re.sub(r"\d\d", "77", text))
        if not sensor.slow:
            monkeypatch.setattr(os, "open", None)
        assert sensor.read() != before

    def test_a_failing_file_reads_as_nan(self, sensor: Sensor, root: Path) -> None:
        for path in root.rglob("*"):
            if path.is_file():
                path.write_text("<unknown>\n")
        assert all(math.isnan(value) for value in sensor.read())

    def test_close_gives_the_descriptors_back(self, kind: type[Sensor], root: Path) -> None:
        before = len(list(Path("/proc/self/fd").iterdir()))
        kind.discover(root).close()
        assert len(list(Path("/proc/self/fd").iterdir())) == before

    def test_unavailable_where_it_is_missing(
        self, kind: type[Sensor], name: str, tmp_path: Path
    ) -> None:
        with pytest.raises(Unavailable, match=r"\w+ \w+"):
            kind.discover(boards.lay_out(ROWS[name][1], tmp_path))

    def test_unavailable_in_an_empty_tree(self, kind: type[Sensor], tmp_path: Path) -> None:
        with pytest.raises(Unavailable):
            kind.discover(tmp_path / "nothing")

    def test_unavailable_names_what_is_denied(self, kind: type[Sensor], root: Path) -> None:
        for path in root.rglob("*"):
            if path.is_file():
                path.chmod(0)
        with boards.unprivileged(), pytest.raises(Unavailable) as refused:
            kind.discover(root)
        assert str(root) in str(refused.value)
        assert "permission denied" in str(refused.value)

    def test_folders_in_the_place_of_files_are_no_crash(
        self, kind: type[Sensor], root: Path
    ) -> None:
        for path in [path for path in root.rglob("*") if path.is_file()]:
            path.unlink()
            path.mkdir()
        try:
            sensor = kind.discover(root)
        except Unavailable:
            return
        assert all(math.isnan(value) for value in sensor.read())
        sensor.close()
        shutil.rmtree(root)
