"""The values of each sensor on recorded boards, and what the registry does with broken ones."""

from __future__ import annotations

import fcntl
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import boards
from edgeopt_agent import sensors
from edgeopt_agent.errors import Unavailable
from edgeopt_agent.sensors import _rpi_throttle, _vcio
from edgeopt_agent.sensors._vcio import Firmware

IOCTL = fcntl.ioctl


@pytest.fixture(autouse=True)
def mailbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_vcio.fcntl, "ioctl", boards.firmware_ioctl)


def read(root: Path) -> dict[str, float]:
    """Every channel's value, of every sensor that works below `root`."""
    values: dict[str, float] = {}
    for found in sensors.discover(root):
        if found.sensor:
            channels = [channel.name for channel in found.sensor.channels]
            values.update(zip(channels, found.sensor.read(), strict=True))
            found.close()
    return values


def reasons(root: Path) -> dict[str, str]:
    """Why the sensors that do not work below `root` do not."""
    return {
        found.name: found.unavailable_reason
        for found in sensors.discover(root)
        if not found.sensor and found.unavailable_reason
    }


def test_pi5_lists_its_mirrored_sensor_once_and_no_fan(tmp_path: Path) -> None:
    values = read(boards.lay_out("pi5", tmp_path))
    assert {name for name in values if not name[0].isdecimal() and name.islower()} == {
        "cpu0",
        "cpu-thermal",
        "throttled",
        "throttled-sticky",
        "undervoltage",
    }
    assert values["undervoltage"] == 0
    assert values["cpu-thermal"] == pytest.approx(47.386)
    assert values["throttled"] == values["throttled-sticky"] == 0b0101


def test_pi4_firmware_file_tells_now_from_before(tmp_path: Path) -> None:
    root = boards.lay_out("pi4", tmp_path)
    assert read(root)["throttled"] == 0b1000
    assert read(root)["throttled-sticky"] == 0b1000
    boards.write(root / "sys/devices/platform/soc/soc:firmware/get_throttled", "50000")
    assert read(root)["throttled"] == 0
    assert read(root)["throttled-sticky"] == 0b0101


def test_pi_without_access_to_the_firmware_says_what_to_do(tmp_path: Path) -> None:
    root = boards.lay_out("pi5", tmp_path)
    (root / "dev/vcio").chmod(0)
    with boards.unprivileged():
        reason = reasons(root)["rpi-throttle"]
    assert f"{root}/dev/vcio: permission denied" in reason
    assert "group" in reason


def test_a_firmware_that_does_not_answer_has_no_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = boards.lay_out("pi5", tmp_path)
    monkeypatch.setattr(_vcio.fcntl, "ioctl", IOCTL)  # which an ordinary file does not take
    assert "no value from any channel" in reasons(root)["rpi-throttle"]


def test_what_the_firmware_refuses_is_an_error_and_the_next_question_is_answered(
    tmp_path: Path,
) -> None:
    firmware = Firmware(boards.lay_out("pi5", tmp_path) / "dev/vcio")
    with pytest.raises(ValueError, match="refuses 'open_doors' with error 1"):
        firmware.gencmd("open_doors")
    with pytest.raises(ValueError, match="1024 bytes"):
        firmware.gencmd("x" * 1023)
    assert firmware.gencmd("get_throttled") == "throttled=0x50005"
    assert firmware.gencmd("measure_temp") == "temp=39.5'C"
    firmware.close()


def test_the_firmware_is_asked_seldom_and_the_kernel_often(tmp_path: Path) -> None:
    of = _rpi_throttle.RaspberryPiThrottle
    firmware = of.discover(boards.lay_out("pi5", tmp_path / "5"))
    kernel = of.discover(boards.lay_out("pi4", tmp_path / "4"))
    assert firmware.min_interval_ns == 1_000_000_000
    assert kernel.min_interval_ns < firmware.min_interval_ns
    kernel.close()
    firmware.close()


def test_orin_multiplies_labelled_rails_only(tmp_path: Path) -> None:
    values = read(boards.lay_out("orin-nano", tmp_path))
    assert values["VDD_IN"] == pytest.approx(4968 * 1120 / 1000)
    assert values["VDD_CPU_GPU_CV"] == pytest.approx(992.0)
    assert values["VDD_SOC"] == pytest.approx(1386.56)
    assert [name for name in values if "sum" in name or "rail" in name] == []


def test_orin_has_a_clock_per_cluster_and_counts_over_current(tmp_path: Path) -> None:
    values = read(boards.lay_out("orin-nano", tmp_path))
    assert {name: values[name] for name in ("cpu0", "cpu4")} == {"cpu0": 729.6e6, "cpu4": 1036.8e6}
    assert [values[f"soctherm-oc{number}"] for number in (1, 2, 3)] == [0, 15, 37]


def test_a_zone_that_is_switched_off_is_nan_until_it_wakes(tmp_path: Path) -> None:
    root = boards.lay_out("orin-nano", tmp_path)
    assert math.isnan(read(root)["cv0-thermal"])
    boards.write(root / "sys/class/thermal/thermal_zone2/temp", 51250)
    assert read(root)["cv0-thermal"] == pytest.approx(51.25)


def test_zones_come_in_numeric_order(tmp_path: Path) -> None:
    zones = [name for name in read(boards.lay_out("orin-nano", tmp_path)) if "-thermal" in name]
    assert zones == ["cpu-thermal", "gpu-thermal", "cv0-thermal", "tj-thermal"]


def test_jetpack_4_leaves_the_constant_pmic_out(tmp_path: Path) -> None:
    root = boards.lay_out("nano", tmp_path)
    values = read(root)
    assert "PMIC-Die" not in values
    assert values["CPU-therm"] == pytest.approx(23.0)
    assert (values["emergency-balanced"], values["aux-balanced"]) == (0, 4)
    assert "pwm-fan" not in values
    boards.write(root / "sys/class/thermal/thermal_zone4/temp", 41000)
    assert read(root)["PMIC-Die"] == pytest.approx(41.0)


def test_rapl_counts_millijoules_per_domain(tmp_path: Path) -> None:
    values = read(boards.lay_out("x86-rapl", tmp_path))
    assert values["package-0"] == pytest.approx(240_422_366.267)
    assert values["package-0-core"] == pytest.approx(118_821_284.256)


def test_rapl_denied_says_that_root_is_needed(tmp_path: Path) -> None:
    root = boards.lay_out("x86-rapl", tmp_path)
    for energy in root.glob("sys/class/powercap/*/energy_uj"):
        energy.chmod(0)
    with boards.unprivileged():
        reason = reasons(root)["rapl"]
    path = root / "sys/class/powercap/intel-rapl:0/energy_uj"
    assert reason == f"{path}: permission denied; since Linux 5.10 only root may read it"


def test_battery_is_read_once_and_only_the_machines_own(tmp_path: Path) -> None:
    values = read(boards.lay_out("x86-rapl", tmp_path))
    assert values["BAT0-voltage"] == pytest.approx(11660.0)
    assert values["BAT0-power"] == pytest.approx(5002.0)
    power = [name for name in values if "power" in name]
    assert power == ["BAT0-power", "amdgpu-power1"]
    assert values["amdgpu-power1"] == pytest.approx(4012.0)


def test_battery_keeps_the_drivers_sign(tmp_path: Path) -> None:
    # Xiaomi Mi 8 while charging, Pixel 3a: shared/design/platforms.md C.4.
    supplies = tmp_path / "sys/class/power_supply"
    boards.write(supplies / "battery/type", "Battery")
    boards.write(supplies / "battery/voltage_now", 3888173)
    boards.write(supplies / "battery/current_now", -326171)
    assert read(tmp_path) == {
        "battery-voltage": pytest.approx(3888.173),
        "battery-current": pytest.approx(-326.171),
    }
    boards.write(supplies / "battery/present", 0)
    assert reasons(tmp_path)["battery"] == "no battery here"


def test_x86_counts_throttling_per_core_and_once_per_package(tmp_path: Path) -> None:
    values = read(boards.lay_out("x86-rapl", tmp_path))
    throttling = {name: value for name, value in values.items() if "throttles" in name}
    assert throttling == {"cpu0-throttles": 12, "package0-throttles": 30, "cpu1-throttles": 12}
    assert (values["Processor"], values["Processor-2"]) == (0, 2)
    assert not values.keys() & {"Fan", "intel_powerclamp"}


def test_two_zones_of_one_type_get_two_names_and_no_mirror(tmp_path: Path) -> None:
    values = read(boards.lay_out("x86-rapl", tmp_path))
    assert values["acpitz"] == pytest.approx(27.8)
    assert values["acpitz-2"] == pytest.approx(29.8)
    assert values["coretemp-Package-id-0"] == pytest.approx(51.0)
    assert "acpitz-temp1" not in values


def test_power_monitors_by_name_and_never_twice(tmp_path: Path) -> None:
    root = boards.lay_out("ina", tmp_path)
    assert read(root) == {
        "ina3221-rail1": pytest.approx(5000.0),
        "ina3221-rail2": pytest.approx(2500.0),
        "ina3221-rail3": 0.0,
        "ina226-power1": pytest.approx(6250.0),
    }
    chip = root / "sys/class/hwmon/hwmon0"
    boards.write(chip / "in2_label", "NC")
    boards.write(chip / "in1_label", "VDD_SYNC")
    boards.write(chip / "in3_enable", 0)
    assert read(root).keys() == {"VDD_SYNC", "ina226-power1"}
    boards.write(chip / "power1_input", 4_900_000)
    assert read(root) == {"ina3221-power1": 4900.0, "ina226-power1": 6250.0}


def test_power_interval_is_the_chips_own(tmp_path: Path) -> None:
    root = boards.lay_out("ina", tmp_path)
    found = next(found for found in sensors.discover(root) if found.name == "hwmon-power")
    assert found.sensor
    assert found.sensor.min_interval_ns == 7_000_000


def test_clock_of_a_machine_without_cpufreq(tmp_path: Path) -> None:
    assert read(boards.lay_out("vm", tmp_path)) == {"cpu0": pytest.approx(2.59614e9)}


def test_android_denies_with_reasons(tmp_path: Path) -> None:
    root = boards.lay_out("android-denied", tmp_path)
    with boards.unprivileged():
        told = reasons(root)
    assert sorted(told) == sensors.names()
    assert told["thermal"] == f"{root}/sys/class/thermal: permission denied"
    assert told["battery"] == f"{root}/sys/class/power_supply: permission denied"
    assert told["hwmon-power"] == f"{root}/sys/class/hwmon: permission denied"
    assert told["clock"].endswith("policy0/scaling_cur_freq: permission denied")


def test_a_battery_that_may_be_seen_but_not_read(tmp_path: Path) -> None:
    supply = tmp_path / "sys/class/power_supply/battery"
    for name in ("type", "voltage_now"):
        boards.write(supply / name, 1)
        (supply / name).chmod(0)
    with boards.unprivileged():
        assert "battery/type: permission denied" in reasons(tmp_path)["battery"]


@given(st.text())
def test_foreign_answers_are_nan(answer: str) -> None:
    flags = _rpi_throttle.parse(answer)
    assert math.isnan(flags) or answer.strip().startswith("throttled=0x")


@given(st.integers(0, 0xFFFFFFFF))
def test_every_answer_of_the_firmware_is_understood(flags: int) -> None:
    assert _rpi_throttle.parse(f"throttled={flags:#x}\n") == flags


@settings(deadline=None)  # it writes files
@given(content=st.binary(max_size=64))
def test_foreign_content_of_a_temperature_is_a_number_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    root = tmp_path_factory.getbasetemp() / "foreign"
    boards.write(root / "sys/class/thermal/thermal_zone0/type", "cpu")
    (root / "sys/class/thermal/thermal_zone0/temp").write_bytes(content)
    kind = sensors._load("thermal")
    try:
        sensor = kind.discover(root)
    except Unavailable:
        return
    assert len(sensor.read()) == 1
    sensor.close()
