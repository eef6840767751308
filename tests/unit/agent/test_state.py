"""Readings of device state, on recorded boards and on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import boards
from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent.sensors import _vcio
from edgeopt_agent.worker import canary, state
from edgeopt_agent.worker.state import StateReader

START = benchmark_pb2.StateReading.MOMENT_START
BETWEEN = benchmark_pb2.StateReading.MOMENT_BETWEEN_BLOCKS
END = benchmark_pb2.StateReading.MOMENT_END
SECOND = 1_000_000_000
TICK_NS = SECOND // os.sysconf("SC_CLK_TCK")
# Format: Documentation/filesystems/proc.rst; the figures are of a virtual machine.
STAT = "cpu  1597015 47872 285487 2856788 12127 0 3865 {steal} 0 0\ncpu0 621860 22365 116237"


class Clock:
    """The device's, which stands still unless it is told to go on."""

    def __init__(self) -> None:
        self.now = 1

    def monotonic_ns(self) -> int:
        return self.now

    def thread_time_ns(self) -> int:
        return 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr(state, "time", stopped)
    return stopped


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the canary takes, look by look."""
    times: list[int] = []
    monkeypatch.setattr(_vcio.fcntl, "ioctl", boards.firmware_ioctl)
    monkeypatch.setattr(canary, "first", lambda: times.pop(0))
    monkeypatch.setattr(canary, "measure_until", lambda _good, _patience: times.pop(0))
    return times


def canaries(reader: StateReader, clock: Clock, *moments: int, step_s: float) -> list[int | None]:
    times = []
    for moment in moments:
        reading = reader.read(moment)  # type: ignore[arg-type]
        times.append(reading.canary_ns if reading.HasField("canary_ns") else None)
        clock.now += round(step_s * SECOND)
    return times


def test_the_canary_is_timed_at_both_ends_and_when_it_is_due(
    tmp_path: Path, clock: Clock, looks: list[int]
) -> None:
    reader = StateReader(10 * SECOND, boards.lay_out("pi4", tmp_path))
    looks += [100, 101, 102]
    moments = [START, BETWEEN, BETWEEN, BETWEEN, END]
    assert canaries(reader, clock, *moments, step_s=5) == [100, None, 101, None, 102]


def test_a_slow_canary_is_looked_at_again_soon(
    tmp_path: Path, clock: Clock, looks: list[int]
) -> None:
    reader = StateReader(10 * SECOND, boards.lay_out("pi4", tmp_path))
    looks += [100, 120, 119, 105]
    moments = [START, *[BETWEEN] * 24]
    times = canaries(reader, clock, *moments, step_s=0.5)
    assert [(place, time) for place, time in enumerate(times) if time] == [
        (0, 100),
        (20, 120),
        (22, 119),
        (24, 105),
    ]


def test_without_an_interval_there_is_no_canary(
    tmp_path: Path, clock: Clock, looks: list[int]
) -> None:
    reader = StateReader(0, boards.lay_out("pi4", tmp_path))
    assert canaries(reader, clock, START, BETWEEN, END, step_s=20) == [None] * 3
    assert not looks


def test_it_has_more_patience_when_nothing_is_measured_any_more(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[float, int]] = []

    def look(good_ns: float, patience_ns: int) -> int:
        asked.append((good_ns, patience_ns))
        return 100

    monkeypatch.setattr(canary, "first", lambda: 100)
    monkeypatch.setattr(canary, "measure_until", look)
    reader = StateReader(SECOND, boards.lay_out("vm", tmp_path))
    canaries(reader, clock, START, BETWEEN, END, step_s=1)
    (between_good, between), (end_good, end) = asked
    assert between_good == end_good == pytest.approx(110)
    assert between < end


def test_neighbours_are_read_twice_a_second_at_most(tmp_path: Path, clock: Clock) -> None:
    root = boards.lay_out("vm", tmp_path)
    boards.write(root / "proc/loadavg", "1.78 1.16 0.83 3/109 6281")
    boards.write(root / "proc/stat", STAT.format(steal=2868))
    reader = StateReader(0, root)
    first = reader.read(START)
    assert (first.runnable, first.steal_ns) == (3, 2868 * TICK_NS)
    boards.write(root / "proc/loadavg", "1.78 1.16 0.83 7/109 6281")
    boards.write(root / "proc/stat", STAT.format(steal=2900))
    clock.now += SECOND // 5
    assert not reader.read(BETWEEN).HasField("runnable")
    clock.now += SECOND // 2
    later = reader.read(BETWEEN)
    assert (later.runnable, later.steal_ns) == (7, 2900 * TICK_NS)
    assert reader.read(END).HasField("steal_ns")


def test_what_android_denies_is_left_out(tmp_path: Path) -> None:
    root = boards.lay_out("vm", tmp_path)
    for name in ("loadavg", "stat"):
        boards.write(root / "proc" / name, "x")
        (root / "proc" / name).chmod(0)
    with boards.unprivileged():
        reading = StateReader(0, root).read(START)
    assert not reading.HasField("runnable")
    assert not reading.HasField("steal_ns")


def test_a_pis_sensors_are_read_as_often_as_they_change(tmp_path: Path, clock: Clock) -> None:
    reader = StateReader(0, boards.lay_out("pi4", tmp_path))
    seen = []
    for _ in range(12):
        clock.now += 20_000_000
        seen.append({value.channel for value in reader.read(BETWEEN).sensors.values})
    clocks, temperatures = (
        [place for place, channels in enumerate(seen) if name in channels]
        for name in ("cpu0", "cpu-thermal")
    )
    assert clocks == list(range(12))
    assert temperatures == [0, 5, 10]


def test_this_machine_tells_all_of_it() -> None:
    reader = StateReader(10 * SECOND)
    start, end = reader.read(START), reader.read(END)
    for reading in (start, end):
        assert reading.canary_ns > 0
        assert reading.runnable >= 1
        assert reading.HasField("steal_ns")
    assert start.sensors.time_ns < end.sensors.time_ns
