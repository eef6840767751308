"""What recorded boards tell about themselves, and what foreign text does to the parsers."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import boards
from edgeopt.agent.v1 import device_pb2
from edgeopt_agent import facts, sensors
from edgeopt_agent.facts import (
    _android,
    _cgroup,
    _cpuinfo,
    board,
    cpu,
    emulation,
    memory,
    system,
)

KIB = 1024


@pytest.mark.parametrize(
    ("name", "model", "source"),
    [
        ("pi5", "Raspberry Pi 5 Model B Rev 1.0", "device-tree"),
        ("pi4", "Raspberry Pi 4 Model B Rev 1.5", "device-tree"),
        ("orin-nano", "NVIDIA Jetson Orin Nano Developer Kit", "device-tree"),
        ("nano", "NVIDIA Jetson Nano Developer Kit", "device-tree"),
        ("x86-rapl", "LENOVO 20XWCTO1WW", "dmi"),
        ("android-denied", "Samsung SM-G965W", "android"),
        ("vm", "", "unknown"),
    ],
)
def test_board(tmp_path: Path, name: str, model: str, source: str) -> None:
    assert board.read(boards.lay_out(name, tmp_path)) == device_pb2.Board(
        model=model, source=source
    )


def test_board_by_the_older_path_and_by_the_mainboard(tmp_path: Path) -> None:
    dmi = tmp_path / "sys/class/dmi/id"
    boards.write(dmi / "sys_vendor", "To Be Filled By O.E.M.")
    boards.write(dmi / "product_name", "System Product Name")
    boards.write(dmi / "board_vendor", "ASUSTeK COMPUTER INC.")
    boards.write(dmi / "board_name", "PRIME B450M-A")
    assert board.read(tmp_path).model == "ASUSTeK COMPUTER INC. PRIME B450M-A"
    boards.write(tmp_path / "proc/device-tree/model", "Some Board\0")
    assert board.read(tmp_path).model == "Some Board"


@pytest.mark.parametrize(
    ("name", "model", "cores", "performance"),
    [
        ("pi5", "Cortex-A76", 4, 2),  # a quota of 2.5 CPUs
        ("pi4", "Cortex-A72", 4, 4),
        ("orin-nano", "Cortex-A78AE", 6, 6),
        ("nano", "Cortex-A57", 4, 4),
        ("android-denied", "Kryo 3xx Silver + Kryo 3xx Gold", 8, 4),
        ("vm", "AMD EPYC", 2, 1),  # a quota of 1.5 CPUs
    ],
)
def test_cpu(tmp_path: Path, name: str, model: str, cores: int, performance: int) -> None:
    read = cpu.read(boards.lay_out(name, tmp_path))
    assert (read.model, read.logical_cores) == (model, cores)
    assert read.performance_cores == performance
    assert read.architecture == platform.machine()


def test_clusters_of_a_phone(tmp_path: Path) -> None:
    little, big = cpu.read(boards.lay_out("android-denied", tmp_path)).clusters
    assert little.cores == [0, 1, 2, 3]
    assert little.max_hz == 1_766_400_000
    assert big == device_pb2.CpuCluster(
        cores=[4, 5, 6, 7], max_hz=2_803_200_000, model="Kryo 3xx Gold"
    )


def test_equal_clusters_are_one_kind(tmp_path: Path) -> None:
    assert list(cpu.read(boards.lay_out("orin-nano", tmp_path)).clusters) == [
        device_pb2.CpuCluster(
            cores=range(6),
            min_hz=115_200_000,
            max_hz=1_510_400_000,
            governor="schedutil",
            model="Cortex-A78AE",
        )
    ]


def test_threads_share_a_physical_core(tmp_path: Path) -> None:
    read = cpu.read(boards.lay_out("x86-rapl", tmp_path))
    assert (read.logical_cores, read.physical_cores) == (2, 1)


def test_pinned_to_the_slow_cores_the_slow_cores_count(tmp_path: Path) -> None:
    root = boards.lay_out("android-denied", tmp_path)
    boards.write(root / "proc/self/status", "Cpus_allowed_list:\t0-2")
    read = cpu.read(root)
    assert (read.usable_cores, read.performance_cores) == (3, 3)
    boards.write(root / "proc/self/status", "Cpus_allowed_list:\t0-4")
    read = cpu.read(root)
    assert (read.usable_cores, read.performance_cores) == (5, 1)


def test_capacity_tells_more_than_clocks(tmp_path: Path) -> None:
    root = boards.lay_out("orin-nano", tmp_path)
    for core in range(6):
        path = root / f"sys/devices/system/cpu/cpu{core}/cpu_capacity"
        boards.write(path, 1024 if core > 3 else 400)
    assert cpu.read(root).performance_cores == 2


def test_favoured_cores_of_x86_are_not_alone(tmp_path: Path) -> None:
    boards.write(tmp_path / "sys/devices/system/cpu/online", "0-3")
    for core, mhz in enumerate((5000, 5200, 5000, 3800)):
        policy = tmp_path / f"sys/devices/system/cpu/cpufreq/policy{core}"
        boards.write(policy / "related_cpus", core)
        boards.write(policy / "cpuinfo_max_freq", mhz * 1000)
    read = cpu.read(tmp_path)
    assert read.performance_cores == 3
    assert [list(cluster.cores) for cluster in read.clusters] == [[0, 2], [1], [3]]


def test_a_core_named_once_names_all(tmp_path: Path) -> None:
    # As old Arm kernels do, below the last processor.
    text = "Processor\t: AArch64 Processor rev 1\n" + "processor\t: 0\nprocessor\t: 1\n"
    boards.write(tmp_path / "proc/cpuinfo", text + "CPU implementer\t: 0x41\nCPU part\t: 0xd07")
    read = cpu.read(tmp_path)
    assert [cluster.model for cluster in read.clusters] == ["Cortex-A57"]
    assert read.logical_cores == 2


def test_an_unknown_core_is_told_by_its_numbers() -> None:
    fields = {"CPU implementer": "0x41", "CPU part": "0xfff"}
    assert _cpuinfo.core_name(fields) == "implementer 0x41 part 0xfff"


def test_memory_with_the_limit_of_an_outer_group(tmp_path: Path) -> None:
    assert memory.read(boards.lay_out("vm", tmp_path)) == device_pb2.Memory(
        total_bytes=24684096 * KIB, limit_bytes=512 * KIB**2, available_bytes=512 * KIB**2
    )


def test_memory_limit_of_version_2(tmp_path: Path) -> None:
    root = boards.lay_out("pi5", tmp_path)
    assert memory.read(root).limit_bytes == KIB**3
    boards.write(root / "sys/fs/cgroup/system.slice/memory.max", 300 * KIB**2)
    assert memory.read(root).limit_bytes == 300 * KIB**2


def test_memory_limit_above_the_total_is_none(tmp_path: Path) -> None:
    root = boards.lay_out("android-denied", tmp_path)
    boards.write(root / "proc/self/cgroup", "4:memory:/\n0::/")
    boards.write(root / "sys/fs/cgroup/memory/memory.limit_in_bytes", 2**63 - 4096)
    assert memory.read(root) == device_pb2.Memory(
        total_bytes=5699736 * KIB, available_bytes=2204012 * KIB
    )


def test_memory_limit_in_a_container_that_sees_the_hosts_path(tmp_path: Path) -> None:
    boards.write(tmp_path / "proc/self/cgroup", "4:memory:/docker/7f\n0::/../../other")
    boards.write(tmp_path / "sys/fs/cgroup/memory/memory.limit_in_bytes", 1000)
    assert _cgroup.memory_limit(tmp_path) == 1000
    boards.write(tmp_path / "sys/fs/cgroup/memory.max", 500)
    assert _cgroup.memory_limit(tmp_path) == 500


def test_operating_system(tmp_path: Path) -> None:
    read = system.read(boards.lay_out("pi5", tmp_path / "pi"))
    assert read.name == "Debian GNU/Linux 12 (bookworm)"
    assert read.kernel == platform.release()
    assert read.python == platform.python_version()
    phone = boards.lay_out("android-denied", tmp_path / "phone")
    assert system.read(phone).name == "Android 8.0.0 (API 26)"


def test_getprop_that_fails_is_no_android(tmp_path: Path) -> None:
    command = tmp_path / "system/bin/getprop"
    boards.write(command, "#!/no/such/interpreter")
    assert _android.properties(tmp_path) == {}
    boards.write(command, "#!/bin/sh\nexit 1")
    assert _android.properties(tmp_path) == {}


def test_this_machine_is_not_refused() -> None:
    assert facts.refuse_reason() is None


def test_windows_and_32_bits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    monkeypatch.setattr(platform, "machine", lambda: "armv7l")
    reason = facts.refuse_reason()
    assert reason
    assert "32-bit Python (armv7l)" in reason
    assert "64-bit" in reason
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    reason = facts.refuse_reason()
    assert reason
    assert reason.startswith("This is Windows")


@pytest.mark.parametrize("name", boards.NAMES)
def test_a_real_board_is_not_emulated(tmp_path: Path, name: str) -> None:
    machine = "x86_64" if name in {"vm", "x86-rapl"} else "aarch64"
    assert emulation.read(boards.lay_out(name, tmp_path), machine) == ""


def test_qemu_user_by_the_program_that_runs(tmp_path: Path) -> None:
    # Tried with qemu-user 7.2.22 and 10.0.13, x86-64 on x86-64.
    link = tmp_path / "proc/thread-self/exe"
    link.parent.mkdir(parents=True)
    link.symlink_to("/usr/bin/qemu-aarch64-static")
    assert emulation.read(tmp_path) == "qemu-user"


def test_qemu_user_by_a_foreign_cpuinfo(tmp_path: Path) -> None:
    assert emulation.read(boards.lay_out("vm", tmp_path), "aarch64") == "qemu-user"


@pytest.mark.parametrize(
    "cpuinfo",
    [
        "processor : 0\nmodel name : QEMU TCG CPU version 2.5+",
        "processor : 0\nCPU implementer : 0x00\nCPU part : 0x051",
    ],
)
def test_qemu_system_by_a_cpu_that_only_its_translator_is(tmp_path: Path, cpuinfo: str) -> None:
    boards.write(tmp_path / "proc/cpuinfo", cpuinfo)
    assert emulation.read(tmp_path) == "qemu-system"


def test_a_machine_under_kvm_is_not_emulated(tmp_path: Path) -> None:
    # "-cpu qemu64" is called so with and without KVM.
    boards.write(
        tmp_path / "proc/cpuinfo", "processor : 0\nmodel name : QEMU Virtual CPU version 2.5+"
    )
    boards.write(tmp_path / "sys/class/dmi/id/sys_vendor", "QEMU")
    assert emulation.read(tmp_path, "x86_64") == ""


def test_device_of_a_recorded_board(tmp_path: Path) -> None:
    root = boards.lay_out("orin-nano", tmp_path / "root")
    device = facts.read_device(tmp_path / "state" / "that" / "is" / "not" / "there", root)
    assert device.board.source == "device-tree"
    assert device.storage_free_bytes > 0
    assert not device.runtimes
    told = {sensor.name: sensor for sensor in device.sensors}
    assert told["rapl"].unavailable_reason == "no RAPL domain in /sys/class/powercap"
    power = told["hwmon-power"]
    assert power.min_interval_ns == 7_000_000
    assert power.channels[0] == device_pb2.SensorChannel(
        name="VDD_IN",
        quantity=device_pb2.SensorChannel.QUANTITY_POWER_MW,
        scope=device_pb2.SensorChannel.SCOPE_INPUT,
        gain_error=0.015,
    )
    assert not power.slow


def test_every_quantity_and_scope_has_a_number_in_the_protocol() -> None:
    quantities = device_pb2.SensorChannel.Quantity.keys()
    assert {f"QUANTITY_{one.name}" for one in sensors.Quantity} == {*quantities[1:]}
    scopes = device_pb2.SensorChannel.Scope.keys()
    assert {f"SCOPE_{one.name}" for one in sensors.Scope} == {*scopes[1:]}


def test_what_a_counter_and_a_command_are_is_told(tmp_path: Path) -> None:
    told = {s.name: s for s in facts.sensor_facts(boards.lay_out("x86-rapl", tmp_path / "x86"))}
    package = told["rapl"].channels[0]
    assert package.averaged
    assert package.wraps_at == pytest.approx(262_143_328.850)
    told = {s.name: s for s in facts.sensor_facts(boards.lay_out("termux", tmp_path / "phone"))}
    assert told["termux-battery"].slow
    assert [one.name for one in told.values() if one.slow] == [
        "dumpsys-battery",
        "dumpsys-thermal",
        "termux-battery",
    ]


def test_device_that_denies_everything(tmp_path: Path) -> None:
    root = boards.lay_out("pi5", tmp_path)
    for path in root.rglob("*"):
        if path.is_file():
            path.chmod(0)
    with boards.unprivileged():
        device = facts.read_device(tmp_path, root)
    assert device.board == device_pb2.Board(source="unknown")
    assert device.memory == device_pb2.Memory()
    assert device.cpu.performance_cores == device.cpu.usable_cores == os.cpu_count()
    assert all(sensor.unavailable_reason for sensor in device.sensors)


def test_device_in_an_empty_tree(tmp_path: Path) -> None:
    device = facts.read_device(tmp_path, tmp_path / "nothing")
    assert device.cpu.usable_cores >= 1
    assert device.os.python == platform.python_version()


def test_this_machine() -> None:
    """Needs neither numpy nor a runtime, and fits what Python knows."""
    code = (
        "import sys; from pathlib import Path; from edgeopt_agent import facts;"
        "device = facts.read_device(Path('/tmp'));"
        "assert not {'numpy', 'grpc', 'cryptography'} & sys.modules.keys(), sys.modules.keys();"
        "sys.stdout.buffer.write(device.SerializeToString())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    device = device_pb2.Device.FromString(done.stdout)
    assert device.cpu.logical_cores == os.cpu_count()
    assert 1 <= device.cpu.performance_cores <= device.cpu.usable_cores
    assert device.memory.total_bytes > device.memory.available_bytes > 0
    assert device.agent_version
