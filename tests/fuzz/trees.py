"""Targets: what the kernel and its drivers tell, from the recorded boards with edited files."""

from __future__ import annotations

import math
import os
from pathlib import Path

from hypothesis import strategies as st

import boards
from edgeopt_agent import sensors
from edgeopt_agent.facts import _android, _cpuinfo, cpu, emulation, read_device, system
from edgeopt_agent.sensors import _dumpsys_thermal, _rpi_pmic, _rpi_temperature, _rpi_throttle
from edgeopt_agent.sensors._dumpsys_battery import DumpsysBattery
from edgeopt_agent.sensors._termux_battery import TermuxBattery
from fuzz.inputs import Edit, edited, edits, text, utf8
from fuzz.target import Target, scratch

# "deny" lines and scripts are for the tests of the sensors.
_BOARDS = sorted({*boards.NAMES} - {"android-denied", "pi-container", "termux"})
_FOLDER = scratch()
_FILES: dict[str, list[Path]] = {}
_ANYWHERE = (
    "proc/self/cgroup",
    "proc/self/status",
    "sys/fs/cgroup/cpu.max",
    "sys/fs/cgroup/memory.max",
    "sys/devices/system/cpu/online",
    "sys/devices/system/cpu/cpufreq/policy0/related_cpus",
    "sys/devices/system/cpu/cpu0/cpu_capacity",
    "sys/devices/system/cpu/cpufreq/policy99999999999/scaling_cur_freq",
    "sys/class/power_supply/bät 1/type",
    "sys/class/power_supply/\udcff/type",
    "sys/class/power_supply/\udcff/voltage_now",
    "sys/class/hwmon/hwmon٣/temp1_input",
    "sys/class/hwmon/hwmon7/temp٣_input",
    "sys/class/dmi/id/product_name",
    "sys/firmware/devicetree/base/model",
    "etc/os-release",
)
_TOKENS = (
    *(
        "-1",
        "max",
        "max 100000",
        "0::/",
        "0::/../..",
        "0-3",
        "0-8191",
        "5-1",
        "99999",
        "0x41",
        "Battery",
    ),
    *(
        "18446744073709551615",
        "-9223372036854775808",
        "1" * 400,
        "1" * 5000,
        "1e5",
        " : ",
        "\t",
        "kB",
    ),
    *(
        "processor : ",
        "CPU implementer : ",
        "CPU part : ",
        "model name : ",
        "cpu MHz : 1e300",
        "\0",
    ),
    *("MemTotal: ", "PRETTY_NAME=", '"', "'", "/a\0b", "a" * 5000, "../" * 50),
)


def _lay_out() -> list[bytes]:
    samples = []
    for board in _BOARDS:
        root = boards.lay_out(board, _FOLDER / board)
        files = [path for path in root.rglob("*") if path.is_file()]
        for script in [path for path in files if os.access(path, os.X_OK)]:
            # What a damaged script does is anybody's guess.
            script.unlink()
            files.remove(script)
        _FILES[board] = sorted(files)
        samples += [path.read_bytes() for path in _FILES[board]]
    return sorted({sample for sample in samples if len(sample) < 4096})


_SAMPLES = [sample.decode() for sample in _lay_out()]
# Edits of a file by its number; or what a file of this path becomes, None being none.
_FileEdit = tuple[int, list[Edit]] | tuple[str, bytes | None]
_PIECES = st.sampled_from([token.encode() for token in _TOKENS]) | st.binary(max_size=8)
_FILE_EDIT = st.tuples(st.integers(0, 2**16), edits(_PIECES)) | st.tuples(
    st.sampled_from(_ANYWHERE), utf8(_SAMPLES, _TOKENS) | st.none()
)


def _with_edits(board: str, file_edits: list[_FileEdit]) -> dict[Path, bytes | None]:
    """Edits the tree; returns what to restore."""
    earlier: dict[Path, bytes | None] = {}
    files = _FILES[board]
    for which, change in file_edits:
        path = files[which % len(files)] if isinstance(which, int) else _FOLDER / board / which
        there = path.read_bytes() if path.is_file() else None
        earlier.setdefault(path, there)
        _write(path, edited(there or b"", change, b"") if isinstance(change, list) else change)
    return earlier


def _write(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _read_tree(given: tuple[str, list[_FileEdit]]) -> None:
    board, file_edits = given
    root = _FOLDER / board
    earlier = _with_edits(board, file_edits)
    try:
        device = read_device(_FOLDER, root)
        device.SerializeToString()
        emulation.read(root, "aarch64")
        for sensor in sensors.working(root):
            try:
                assert all(math.isfinite(value.value) for value in sensors.values(sensor))
            finally:
                sensor.close()
        for fact in device.sensors:
            # `discover` catches what a third party's sensor may raise; these must raise nothing.
            assert "Error: " not in fact.unavailable_reason, fact.unavailable_reason
    finally:
        for path, content in earlier.items():
            _write(path, content)


def _read_cpuinfo(given: str) -> None:
    for fields in _cpuinfo.parse(given).values():
        _cpuinfo.core_name(fields)
        emulation._midr(fields)


def _read_list(given: str) -> None:
    assert len(cpu._list(given)) <= 8193 * (given.count(",") + len(given.split()) + 1)


def _read_throttled(given: str) -> None:
    flags = _rpi_throttle.parse(given)
    assert math.isnan(flags) or 0 <= flags < 2**32


def _read_firmware(given: str) -> None:
    assert all(isinstance(value, float) for value in _rpi_pmic.parse(given.splitlines()).values())
    _rpi_temperature.parse(given)


def _read_commands(given: str) -> None:
    found = _dumpsys_thermal.temperatures(f"Current temperatures from HAL:\n{given}")
    assert all(name.startswith("hal-") for name in found)
    for sensor in (DumpsysBattery([""], 1, ""), TermuxBattery([""], 1, "")):
        assert len(sensor.parse(given)) == len(sensor.channels)


_CPUINFO = [sample for sample in _SAMPLES if "processor" in sample]
_OS_RELEASE = [sample for sample in _SAMPLES if "PRETTY_NAME" in sample]
_PMIC = ["VDD_CORE_A current(7)=6.22421000A\n VDD_CORE_V volt(15)=0.86173300V\n"]
_ANDROID = [
    "\tTemperature{mValue=57.9, mType=0, mName=CPU, mStatus=0}\n",
    "  USB powered: true\n  voltage: 4063\n  temperature: 326\n",
    '{"status": "DISCHARGING", "voltage": 4099, "current": -820000, "temperature": "22.3"}',
]
_GETPROP = ["[ro.product.model]: [Pixel 7]\n[ro.build.version.release]: [14]\n[a]: []\n"]

TARGETS = [
    Target(
        "board-tree",
        st.tuples(st.sampled_from(_BOARDS), st.lists(_FILE_EDIT, max_size=6)),
        _read_tree,
        cost=4,
    ),
    Target("cpuinfo", text(_CPUINFO, _TOKENS), _read_cpuinfo),
    Target("cpu-list", text(["0-3,8", "0 1 2 3"], _TOKENS), _read_list),
    Target("os-release", text(_OS_RELEASE, _TOKENS), system.os_release),
    Target("getprop", text(_GETPROP, ("[", "]", ": ")), _android.parse),
    Target("vcgencmd", text(["throttled=0x50005"], ("0x", "=")), _read_throttled),
    Target("pmic", text([*_PMIC, "temp=39.5'C"], ("nan", "_A ", "_V ", "=", "\n")), _read_firmware),
    Target("android", text(_ANDROID, ("{", "}", '"', "null", "NaN", "\n\t")), _read_commands),
]
