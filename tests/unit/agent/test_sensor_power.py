"""What each board's power channels are about: read on recorded boards, and never added twice."""

from __future__ import annotations

from pathlib import Path

import pytest

import boards
from edgeopt_agent import sensors
from edgeopt_agent.sensors import Channel, Quantity, Scope, _vcio

_POWER = {Quantity.POWER_MW, Quantity.ENERGY_MJ}


@pytest.fixture(autouse=True)
def mailbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_vcio.fcntl, "ioctl", boards.firmware_ioctl)


def power(root: Path) -> dict[Channel, float]:
    """Every power and energy channel with its value."""
    read: dict[Channel, float] = {}
    for sensor in sensors.working(root, slow=True):
        read.update(zip(sensor.channels, sensor.read(), strict=True))
        sensor.close()
    return {channel: value for channel, value in read.items() if channel.quantity in _POWER}


def scopes(root: Path) -> dict[str, tuple[Scope | None, float]]:
    return {channel.name: (channel.scope, value) for channel, value in power(root).items()}


@pytest.mark.parametrize(
    ("board", "expected"),
    [
        (
            "nano",
            {
                "POM_5V_IN": (Scope.INPUT, 933),
                "POM_5V_GPU": (Scope.PART, 0),
                "POM_5V_CPU": (Scope.PART, 84),
            },
        ),
        (
            "xavier-nx",
            {
                "VDD_IN": (Scope.INPUT, 3256),
                "VDD_CPU_GPU_CV": (Scope.PART, 406),
                "VDD_SOC": (Scope.PART, 936),
            },
        ),
        (
            "agx-xavier",
            {
                "GPU": (Scope.RAIL, 1155),
                "CPU": (Scope.RAIL, 385),
                "SOC": (Scope.RAIL, 2504),
                "CV": (Scope.RAIL, 0),
                "VDDRQ": (Scope.RAIL, 192),
                "SYS5V": (Scope.RAIL, 2692),
            },
        ),
        (
            "tx2",
            {
                "VDD_SYS_GPU": (Scope.PART, 153),
                "VDD_SYS_SOC": (Scope.PART, 384),
                "VDD_4V0_WIFI": (Scope.PART, 38),
                "VDD_IN": (Scope.INPUT, 1038),
                "VDD_SYS_CPU": (Scope.PART, 153),
                "VDD_SYS_DDR": (Scope.PART, 192),
                "VDD_MUX": (Scope.PART, 3020),
                "VDD_5V0_IO_SYS": (Scope.PART, 930),
                "VDD_3V3_SYS": (Scope.PART, 410),
            },
        ),
        (
            "orin-nano",
            {
                "VDD_IN": (Scope.INPUT, pytest.approx(5564.16)),
                "VDD_CPU_GPU_CV": (Scope.PART, pytest.approx(992)),
                "VDD_SOC": (Scope.PART, pytest.approx(1386.56)),
            },
        ),
        (
            "agx-orin",
            {
                "VDD_GPU_SOC": (Scope.RAIL, pytest.approx(3200)),
                "VDD_CPU_CV": (Scope.RAIL, pytest.approx(400)),
                "VIN_SYS_5V0": (Scope.RAIL, pytest.approx(4305)),
                "VDDQ_VDD2_1V8AO": (Scope.RAIL, pytest.approx(1090)),
            },
        ),
        ("pi4-ina226", {"ina226-power1": (Scope.INPUT, 2500)}),
        # Sits at a battery, of whose direction power1 tells nothing.
        ("pi-ups", {"ina219-power1": (None, 176)}),
        # Which of two is the supply?
        (
            "ina",
            {
                "ina3221-rail1": (None, 5000),
                "ina3221-rail2": (None, 2500),
                "ina3221-rail3": (None, 0),
                "ina226-power1": (None, 6250),
            },
        ),
        (
            "x86-rapl",
            {
                "BAT0-power": (None, pytest.approx(5002)),
                "BAT0-drawn": (Scope.BATTERY, pytest.approx(5002)),
                "amdgpu-power1": (None, pytest.approx(4012)),
                "package-0": (Scope.PACKAGE, pytest.approx(240_422_366.267)),
                "package-0-core": (Scope.PART, pytest.approx(118_821_284.256)),
            },
        ),
        ("termux", {"termux-battery-drawn": (Scope.BATTERY, pytest.approx(4099 * 0.82))}),
        ("mi8", {"battery-drawn": (Scope.BATTERY, pytest.approx(-3888.173 * 0.326171))}),
        ("pi4", {}),
        ("vm", {}),
    ],
)
def test_the_rails_of_a_board(
    board: str, expected: dict[str, tuple[Scope | None, float]], tmp_path: Path
) -> None:
    assert scopes(boards.lay_out(board, tmp_path)) == expected


@pytest.mark.parametrize("board", boards.NAMES)
def test_a_board_has_one_input_or_rails_that_add_up(board: str, tmp_path: Path) -> None:
    told = [channel.scope for channel in power(boards.lay_out(board, tmp_path))]
    assert told.count(Scope.INPUT) <= 1
    assert Scope.INPUT not in told or Scope.RAIL not in told
    assert Scope.PART not in told or {Scope.INPUT, Scope.PACKAGE} & {*told}


def test_iio_and_hwmon_are_asked_by_their_own_sensor(tmp_path: Path) -> None:
    reasons = {
        found.name: found.unavailable_reason
        for found in sensors.discover(boards.lay_out("nano", tmp_path / "nano"))
    }
    assert reasons["jetson-iio"] == ""
    assert reasons["hwmon-power"] == "no hwmon chip measures power here"
    reasons = {
        found.name: found.unavailable_reason
        for found in sensors.discover(boards.lay_out("orin-nano", tmp_path / "orin"))
    }
    assert reasons["jetson-iio"].startswith("no Jetson with JetPack 4")


@pytest.mark.parametrize("board", ["nano", "xavier-nx", "agx-xavier", "tx2"])
def test_jetpack_4_boards_have_no_temperature_of_100_degrees(board: str, tmp_path: Path) -> None:
    thermal = sensors._load("thermal").discover(boards.lay_out(board, tmp_path))
    assert 0 < max(thermal.read()) < 50
    thermal.close()


def test_gain_errors_are_the_makers(tmp_path: Path) -> None:
    errors = {
        channel.name: channel.gain_error
        for board in ("ina", "pi4-ina226", "pi-ups", "agx-xavier", "termux")
        for channel in power(boards.lay_out(board, tmp_path / board))
    }
    assert errors["ina226-power1"] == 0.002
    assert errors["ina219-power1"] == 0.02
    assert errors["ina3221-rail1"] == 0.005
    assert errors["SYS5V"] == 0.015
    assert errors["termux-battery-drawn"] == 0


def test_only_averages_are_called_averages(tmp_path: Path) -> None:
    averaged = {c.name for c in power(boards.lay_out("x86-rapl", tmp_path)) if c.averaged}
    assert averaged == {"amdgpu-power1", "package-0", "package-0-core"}


def test_rapl_domains_beside_and_within_the_package(tmp_path: Path) -> None:
    root = boards.lay_out("x86-rapl", tmp_path)
    caps = root / "sys/class/powercap"
    # The kernel's powercap.rst; "dram" stands below its package and is not in it.
    for folder, name, energy in (
        ("intel-rapl:0:1", "uncore", 5_000_000),
        ("intel-rapl:0:2", "dram", 6_000_000),
        ("intel-rapl:1", "psys", 7_000_000),
        ("intel-rapl:2", "package-1", 8_000_000),
        ("intel-rapl-mmio:0", "package-0", 9_000_000),
    ):
        boards.write(caps / folder / "name", name)
        boards.write(caps / folder / "energy_uj", energy)
    told = {name: scope for name, (scope, _) in scopes(root).items() if scope is not Scope.BATTERY}
    assert told == {
        "BAT0-power": None,
        "amdgpu-power1": None,
        "package-0": Scope.PACKAGE,
        "package-0-core": Scope.PART,
        "package-0-uncore": Scope.PART,
        "package-0-dram": Scope.PACKAGE,
        "psys": Scope.INPUT,
        "package-1": Scope.PACKAGE,
    }
    # A counter of a platform that is not wired stands still.
    boards.write(caps / "intel-rapl:1/energy_uj", 0)
    assert "psys" not in scopes(root)


def test_a_counter_of_unknown_range_never_wraps(tmp_path: Path) -> None:
    root = boards.lay_out("x86-rapl", tmp_path)
    (root / "sys/class/powercap/intel-rapl:0:0/max_energy_range_uj").unlink()
    wraps = {channel.name: channel.wraps_at for channel in power(root)}
    assert wraps["package-0"] == pytest.approx(262_143_328.850)
    assert wraps["package-0-core"] == 0


def test_a_labelled_monitor_is_no_supply(tmp_path: Path) -> None:
    root = boards.lay_out("pi4-ina226", tmp_path)
    boards.write(root / "sys/class/hwmon/hwmon2/power1_label", "VDD_CAM")
    assert scopes(root) == {"VDD_CAM": (None, 2500)}
