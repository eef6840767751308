"""What a Raspberry Pi's firmware tells of power and temperature."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import boards
from edgeopt_agent import sensors
from edgeopt_agent.errors import Unavailable
from edgeopt_agent.sensors import Quantity, Scope, _rpi_pmic, _rpi_temperature, _vcio
from edgeopt_agent.sensors._rpi_pmic import RaspberryPiPmic
from edgeopt_agent.sensors._rpi_temperature import RaspberryPiTemperature


@pytest.fixture(autouse=True)
def mailbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_vcio.fcntl, "ioctl", boards.firmware_ioctl)


def read(root: Path) -> dict[str, float]:
    sensor = RaspberryPiPmic.discover(root)
    values = dict(zip([c.name for c in sensor.channels], sensor.read(), strict=True))
    sensor.close()
    return values


def change(root: Path, old: str, new: str) -> None:
    path = root / "dev/vcio"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def test_rails_are_paired_by_name_whatever_their_index(tmp_path: Path) -> None:
    root = boards.lay_out("pi5", tmp_path)
    values = read(root)
    assert len(values) == 14
    assert values["VDD_CORE"] == pytest.approx(6.22421 * 0.861733 * 1e3)
    # 3V3_DAC: current 17, volt 20; 0V8_AON: current 16, volt 19.
    assert values["3V3_DAC"] == pytest.approx(0.00006105 * 3.313183 * 1e3)
    assert values["0V8_AON"] == pytest.approx(0.0030525 * 0.8002922 * 1e3)
    assert values["EXT5V"] == pytest.approx(5090.66)
    assert values["BATT"] == 0


def test_rails_add_up_and_what_has_no_current_is_no_power(tmp_path: Path) -> None:
    sensor = RaspberryPiPmic.discover(boards.lay_out("pi5", tmp_path))
    about = {channel.name: (channel.quantity, channel.scope) for channel in sensor.channels}
    sensor.close()
    assert about.pop("EXT5V") == (Quantity.VOLTAGE_MV, Scope.INPUT)
    assert about.pop("BATT") == (Quantity.VOLTAGE_MV, None)
    assert {*about.values()} == {(Quantity.POWER_MW, Scope.RAIL)}


def test_an_answer_in_lines_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = boards.lay_out("pi5", tmp_path)
    with_nul = read(root)
    ioctl = functools.partial(boards.firmware_ioctl, separator=b"\n")
    monkeypatch.setattr(_vcio.fcntl, "ioctl", ioctl)
    assert read(root) == with_nul


def test_a_rail_of_an_early_firmware_and_one_nobody_knows(tmp_path: Path) -> None:
    root = boards.lay_out("pi5", tmp_path)
    change(root, "0V8_SW_", "0V8_SYS_")
    change(root, "HDMI_", "SOMETHING_")
    values = read(root)
    assert values["0V8_SYS"] == pytest.approx(0.376709 * 0.8014644 * 1e3)
    assert values["SOMETHING"] == pytest.approx(0.0241758 * 5.08664 * 1e3)
    assert "0V8_SW" not in values


def test_not_a_number_and_exactly_nothing(tmp_path: Path) -> None:
    root = boards.lay_out("pi5", tmp_path)
    change(root, "BATT_V volt(25)=0.00000000V", "BATT_V volt(25)=nanV")
    change(root, "current(4)=0.06666720A", "current(4)=0.00000000A")
    change(root, "current(7)=6.22421000A", "current(7)=nanA")
    values = read(root)
    assert math.isnan(values["BATT"])
    assert values["DDR_VDDQ"] == 0
    assert math.isnan(values["VDD_CORE"])


def test_a_rail_that_is_missing_once_is_nan_once(tmp_path: Path) -> None:
    root = boards.lay_out("pi5", tmp_path)
    sensor = RaspberryPiPmic.discover(root)
    names = [channel.name for channel in sensor.channels]
    change(root, "HDMI_V volt", "HDMI_V  vlt")
    values = dict(zip(names, sensor.read(), strict=True))
    assert math.isnan(values["HDMI"])
    assert values["VDD_CORE"] > 5000
    change(root, "HDMI_V  vlt", "HDMI_V volt")
    assert not math.isnan(dict(zip(names, sensor.read(), strict=True))["HDMI"])
    sensor.close()


def test_a_current_that_is_missing_once_is_not_taken_for_none(tmp_path: Path) -> None:
    root = boards.lay_out("pi5", tmp_path)
    sensor = RaspberryPiPmic.discover(root)
    names = [channel.name for channel in sensor.channels]
    change(root, "HDMI_A current", "HDMI_A")
    assert math.isnan(dict(zip(names, sensor.read(), strict=True))["HDMI"])
    sensor.close()


def test_a_pi_without_the_chip_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="measures no rails"):
        RaspberryPiPmic.discover(boards.lay_out("pi-container", tmp_path))


def test_the_firmware_tells_the_temperature_that_the_kernel_cannot(tmp_path: Path) -> None:
    root = boards.lay_out("pi-container", tmp_path)
    sensor = RaspberryPiTemperature.discover(root)
    assert sensor.read() == [39.5]
    change(root, "temp=39.5'C", "temp=nonsense")
    assert math.isnan(sensor.read()[0])
    sensor.close()
    boards.write(root / "dev/vcio", "nothing")
    unwell = RaspberryPiTemperature.discover(root)
    assert math.isnan(unwell.read()[0])
    unwell.close()


def test_the_temperature_is_read_once(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="the kernel's thermal zones can be read, see thermal"):
        RaspberryPiTemperature.discover(boards.lay_out("pi5", tmp_path))


def test_a_worker_reads_what_the_firmware_tells(tmp_path: Path) -> None:
    names = [type(sensor).__name__ for sensor in sensors.working(boards.lay_out("pi5", tmp_path))]
    assert "RaspberryPiPmic" in names


@given(st.text())
def test_foreign_answers_are_left_out_or_nan(answer: str) -> None:
    _rpi_pmic.parse(answer.splitlines())
    _rpi_pmic.parse([f"{answer}_A current(1)={answer}A"])
    celsius = _rpi_temperature.parse(answer)
    assert math.isnan(celsius) or answer.strip().startswith("temp=")
