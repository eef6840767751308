"""Batteries: their gauges' signs and units, and the commands that tell of them on Android."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import boards
from edgeopt_agent import sensors
from edgeopt_agent.errors import Unavailable
from edgeopt_agent.sensors import _command, _dumpsys_thermal
from edgeopt_agent.sensors._battery import Battery
from edgeopt_agent.sensors._dumpsys_battery import DumpsysBattery
from edgeopt_agent.sensors._dumpsys_thermal import DumpsysThermal
from edgeopt_agent.sensors._gauge import drawn_mw
from edgeopt_agent.sensors._termux_battery import TermuxBattery

NAN = pytest.approx(math.nan, nan_ok=True)
TERMUX = "data/data/com.termux/files/usr/bin/termux-battery-status"


def read(sensor: sensors.Sensor) -> dict[str, float]:
    values = dict(zip([c.name for c in sensor.channels], sensor.read(), strict=True))
    sensor.close()
    return values


# Every row but the last two is in shared/design/platforms.md 4.4 or C.4.
@pytest.mark.parametrize(
    ("voltage_mv", "current", "flow", "expected"),
    [
        pytest.param(4099, -820_000, 1, 3361.18, id="termux: µA, negative while discharging"),
        pytest.param(4000, 500_000, 1, 2000, id="Mi A1: µA, positive while discharging"),
        pytest.param(3888, -326_171, -1, -1268.15, id="Mi 8: µA, negative while charging"),
        pytest.param(3888, 326_171, -1, -1268.15, id="most: µA, positive while charging"),
        pytest.param(3900, -394, 1, 1536.6, id="P8 Lite 2017: mA"),
        pytest.param(3900, -1500, 1, 5850, id="1.5 A or 1.5 mA? awake: A"),
        pytest.param(3815, 976, math.nan, math.nan, id="Pixel 3a: not charging"),
        pytest.param(3815, 976, -1, math.nan, id="charging: µA or mA?"),
        pytest.param(3815, 0, 1, math.nan, id="a gauge that does not measure"),
        pytest.param(math.nan, 820_000, 1, math.nan, id="no voltage"),
    ],
)
def test_power_from_a_gauge(
    voltage_mv: float, current: float, flow: float, expected: float
) -> None:
    assert drawn_mw(voltage_mv, current, flow) == pytest.approx(expected, rel=1e-4, nan_ok=True)


def test_a_charging_phone_tells_that_it_charges_and_what_flows_in(tmp_path: Path) -> None:
    values = read(Battery.discover(boards.lay_out("mi8", tmp_path)))
    assert values == {
        "battery-voltage": pytest.approx(3888.173),
        "battery-current": pytest.approx(-326.171),
        "battery-drawn": pytest.approx(-1268.2, rel=1e-4),
        "battery-charging": 1,
    }


def test_the_sign_follows_the_status_not_the_gauge(tmp_path: Path) -> None:
    root = boards.lay_out("mi8", tmp_path)
    sensor = Battery.discover(root)
    supplies = root / "sys/class/power_supply"
    boards.write(supplies / "usb/online", 0)
    boards.write(supplies / "battery/status", "Discharging")
    boards.write(supplies / "battery/current_now", 326171)
    voltage, current, drawn, charging = sensor.read()
    assert [voltage, current] == pytest.approx([3888.173, 326.171])
    assert drawn == pytest.approx(1268.2, rel=1e-4)
    assert charging == 0
    sensor.close()


@pytest.mark.parametrize(
    ("status", "online", "charging"),
    [
        ("Charging", 0, 1),
        ("Discharging", 1, 1),  # a charger too weak for the load
        ("Full", 1, 1),
        ("Not charging", 1, 1),
        ("Not charging", 0, 0),
        ("Unknown", 0, 0),
        ("Discharging", 0, 0),
        ("Discharging", None, 0),
        ("Full", None, math.nan),
    ],
)
def test_charging_is_a_charger_at_work(
    tmp_path: Path, status: str, online: int | None, charging: float
) -> None:
    root = boards.lay_out("mi8", tmp_path)
    supplies = root / "sys/class/power_supply"
    boards.write(supplies / "battery/status", status)
    if online is None:
        (supplies / "usb/online").unlink()
    else:
        boards.write(supplies / "usb/online", online)
    told = read(Battery.discover(root))["battery-charging"]
    assert told == pytest.approx(charging, nan_ok=True)


def test_a_laptop_on_its_battery(tmp_path: Path) -> None:
    values = read(Battery.discover(boards.lay_out("x86-rapl", tmp_path)))
    assert values == {
        "BAT0-voltage": pytest.approx(11660),
        "BAT0-power": pytest.approx(5002),
        "BAT0-drawn": pytest.approx(5002),
        "BAT0-charging": 0,
    }


def test_a_battery_without_current_has_no_power(tmp_path: Path) -> None:
    root = boards.lay_out("mi8", tmp_path)
    (root / "sys/class/power_supply/battery/current_now").unlink()
    values = read(Battery.discover(root))
    assert values.keys() == {"battery-voltage", "battery-charging"}


# shared/design/platforms.md C.4: today's form, the six keys of older versions, damage.
@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            (
                '{"present": true,"plugged": "UNPLUGGED","status": "DISCHARGING","temperature": "22.3",'
                '"voltage": 4099,"current": -820000,"energy": null}'
            ),
            [4099, -820, 22.3, pytest.approx(3361.18), 0],
        ),
        (
            (
                '{"health":"GOOD","percentage":96,"plugged":"PLUGGED_AC","status":"CHARGING",'
                '"temperature":24.600000381469727,"current":-252}'
            ),
            [NAN, -0.252, pytest.approx(24.6), NAN, 1],
        ),
        (
            (
                '{"health":"GOOD","percentage":45,"plugged":"UNPLUGGED","status":"DISCHARGING",'
                '"temperature":34.5,"current":-394}'
            ),
            [NAN, -0.394, 34.5, NAN, 0],
        ),
        (
            (
                '{"health":"GOOD","percentage":52,"plugged":"UNPLUGGED","status":"NOT_CHARGING",'
                '"temperature":31.0,"current":232}'
            ),
            [NAN, 0.232, 31, NAN, 0],
        ),
        (
            (
                '{"health":"UNKNOWN","percentage":71,"plugged":"PLUGGED_AC","status":"CHARGING",'
                '"temperature":0.0}'
            ),
            [NAN, NAN, 0, NAN, 1],
        ),
        (
            '{"plugged": null, "status": null, "temperature": null, "voltage": "4099"}',
            [4099, NAN, NAN, NAN, NAN],
        ),
        ("[1, 2]", [NAN] * 5),
        ("", [NAN] * 5),
    ],
)
def test_termux_in_all_its_forms(tmp_path: Path, document: str, expected: list[float]) -> None:
    boards.write(tmp_path / TERMUX, f"#!/bin/sh\necho '{document}'")
    sensor = TermuxBattery.discover(tmp_path)
    assert sensor.read() == expected
    # And again: now it is the command that answers.
    assert sensor.read() == expected


def test_termux_is_asked_anew_for_each_reading(tmp_path: Path) -> None:
    root = boards.lay_out("termux", tmp_path)
    sensor = TermuxBattery.discover(root)
    assert sensor.read()[0] == 4099
    boards.write(root / TERMUX, "#!/bin/sh\necho '{\"voltage\": 3700}'")
    assert sensor.read()[0] == 3700
    boards.write(root / TERMUX, "#!/bin/sh\nexit 1")
    assert all(math.isnan(value) for value in sensor.read())


def test_termux_that_hangs_names_the_app_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeopt_agent.sensors._termux_battery._TIMEOUT_S", 0.05)
    boards.write(tmp_path / TERMUX, "#!/bin/sh\nexec sleep 60")
    with pytest.raises(Unavailable, match=r"did not answer within 0\.05 s; is .*Termux:API"):
        TermuxBattery.discover(tmp_path)


def test_a_battery_is_not_counted_twice(tmp_path: Path) -> None:
    root = boards.lay_out("mi8", tmp_path)
    boards.write(root / TERMUX, "#!/bin/sh\necho '{\"voltage\": 3888}'")
    with pytest.raises(Unavailable, match="see battery"):
        TermuxBattery.discover(root)
    (root / "sys/class/power_supply/battery/current_now").unlink()
    TermuxBattery.discover(root).close()


def test_dumpsys_tells_what_is_measured_now(tmp_path: Path) -> None:
    root = boards.lay_out("termux", tmp_path)
    # 57.9, not the cached 84.208; "vbat" is a voltage.
    assert read(DumpsysThermal.discover(root)) == {"thermal-status": 0, "hal-CPU": 57.9}
    assert read(DumpsysBattery.discover(root)) == {
        "dumpsys-battery-voltage": 4063,
        "dumpsys-battery-temperature": pytest.approx(32.6),
        "dumpsys-battery-charging": 0,
    }


def test_a_phone_at_usb_charges(tmp_path: Path) -> None:
    root = boards.lay_out("termux", tmp_path)
    script = root / "system/bin/dumpsys"
    boards.write(script, script.read_text().replace("USB powered: false", "USB powered: true"))
    assert read(DumpsysBattery.discover(root))["dumpsys-battery-charging"] == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        # AOSP, DumpUtils.checkDumpPermission and cmds/dumpsys.
        ("Permission Denial: can't dump X from pid=12, uid=10123", "pm grant com.termux"),
        ("Can't find service: X", "Android has no such service"),
    ],
)
def test_a_refusal_of_dumpsys_says_what_to_do(tmp_path: Path, answer: str, reason: str) -> None:
    boards.write(tmp_path / "system/bin/dumpsys", f'#!/bin/sh\necho "{answer}"')
    for sensor in (DumpsysThermal, DumpsysBattery):
        with pytest.raises(Unavailable, match=reason):
            sensor.discover(tmp_path)


def test_a_hal_that_is_not_ready_has_no_temperature(tmp_path: Path) -> None:
    root = boards.lay_out("termux", tmp_path)
    script = root / "system/bin/dumpsys"
    ready = script.read_text()
    boards.write(script, ready.replace("HAL Ready: true", "HAL Ready: false"))
    with pytest.raises(Unavailable, match="not ready"):
        DumpsysThermal.discover(root)
    boards.write(script, ready.replace("Current temperatures from HAL:", "Current temperatures:"))
    with pytest.raises(Unavailable, match="no current temperature"):
        DumpsysThermal.discover(root)


def test_a_set_battery_state_is_not_believed(tmp_path: Path) -> None:
    answer = "Current Battery Service state:\n  (UPDATES STOPPED -- use 'reset' to restart)"
    boards.write(tmp_path / "system/bin/dumpsys", f"#!/bin/sh\ncat <<END\n{answer}\nEND")
    with pytest.raises(Unavailable, match="made up"):
        DumpsysBattery.discover(tmp_path)


def test_thermal_status_and_names(tmp_path: Path) -> None:
    root = boards.lay_out("termux", tmp_path)
    script = root / "system/bin/dumpsys"
    one = "\tTemperature{mValue=57.9, mType=0, mName=CPU, mStatus=0}\n"
    more = "\tTemperature{mValue=NaN, mType=3, mName=skin temp, mStatus=0}\n"
    text = script.read_text().replace("Thermal Status: 0", "Thermal Status: 2")
    boards.write(script, text.replace(one, one + one.replace("57.9", "61.5") + more))
    values = read(DumpsysThermal.discover(root))
    assert values.pop("hal-skin-temp") == NAN
    assert values == {"thermal-status": 2, "hal-CPU": 57.9, "hal-CPU-2": 61.5}


def test_commands_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"no .*/termux-battery-status here"):
        TermuxBattery.discover(tmp_path)
    (tmp_path / "dumpsys").mkdir()
    with pytest.raises(Unavailable, match="permission denied"):
        _command.run([str(tmp_path / "dumpsys")], 1)
    boards.write(tmp_path / "fails", "#!/bin/sh\nexit 3")
    with pytest.raises(Unavailable, match="failed with status 3"):
        _command.run([str(tmp_path / "fails")], 5)


@given(st.text())
def test_foreign_answers_of_dumpsys(answer: str) -> None:
    _dumpsys_thermal.temperatures(answer)
    _dumpsys_thermal.temperatures(f"Current temperatures from HAL:\n{answer}")
    battery = DumpsysBattery([""], 1, "")
    assert len(battery.parse(answer)) == 3
    assert len(battery.parse(f"  temperature: {answer}\n  USB powered: {answer}")) == 3


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    )
)
def test_foreign_answers_of_termux(value: object) -> None:
    keys = ("voltage", "current", "temperature", "status", "plugged")
    sensor = TermuxBattery([""], 1, "")
    assert len(sensor.parse(json.dumps(dict.fromkeys(keys, value)))) == 5
    assert len(sensor.parse(json.dumps(value))) == 5
