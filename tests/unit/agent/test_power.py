"""Sampling power beside a worker, from files that a test rewrites as a driver would."""

from __future__ import annotations

import math
import os
import threading
import time
from array import array
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import boards
import tiny
from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent import power, sensors
from edgeopt_agent.power import PowerSampler, _Series
from edgeopt_agent.sensors import Channel, Quantity, Sensor
from edgeopt_agent.worker import passes
from edgeopt_agent.worker.task import Task
from edgeopt_host import energy
from edgeopt_host.run import PowerTrace

CHANNEL = "ina226-power1"
IDLE_MW, NET_MW = 2500.0, 3000.0
MS = 1_000_000
SAMPLING = benchmark_pb2.Progress.PHASE_SAMPLING_POWER


class Chip:
    """An INA226 as the kernel shows it; its files change in place, as sysfs files do."""

    def __init__(self, folder: Path, interval_ms: int) -> None:
        self.root = boards.lay_out("pi4-ina226", folder)
        self._power = next(self.root.glob("sys/class/hwmon/hwmon*/power1_input"))
        boards.write(self._power.with_name("update_interval"), interval_ms)

    def show(self, content: str) -> None:
        with self._power.open("r+b") as file:
            os.pwrite(file.fileno(), content.rjust(15).encode() + b"\n", 0)

    def draw(self, milliwatts: float) -> None:
        self.show(str(round(milliwatts * 1000)))


class Clock:
    """The sampler's, which stands still but for what a test adds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 10**9
        stand_in = SimpleNamespace(monotonic_ns=lambda: self.now_ns)
        monkeypatch.setattr(power, "time", stand_in)


def working(chip: Chip) -> tuple[Sensor, list[int]]:
    """The chip's sensor, opened, and the indices of its power channels."""
    (sensor,) = [
        one
        for one in sensors.working(chip.root, slow=True)
        if any(channel.name == CHANNEL for channel in one.channels)
    ]
    return sensor, [i for i, channel in enumerate(sensor.channels) if channel.name == CHANNEL]


@pytest.fixture
def chip(tmp_path: Path) -> Chip:
    return Chip(tmp_path, interval_ms=20)


def sampled(readings: list[benchmark_pb2.EnergyReadings]) -> dict[str, list[float]]:
    values: dict[str, list[float]] = {}
    for piece in readings:
        for channel in piece.channels:
            assert len(channel.values) == len(piece.time_ns)
            values.setdefault(channel.name, []).extend(channel.values)
    return values


def until(condition: Callable[[], bool]) -> None:
    """Waits for a thread, however slow the machine is."""
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


def test_energy_from_a_chips_files_to_the_figure(
    chip: Chip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way of a measurement without a worker: files, sampler, message, estimate."""
    generator = np.random.default_rng(0)
    sensor, (index,) = working(chip)
    clock = Clock(monkeypatch)
    series = _Series(sensor, [index], 10_000, threading.Event())
    windows = []
    for turn in range(7):
        net = NET_MW * (turn % 2)
        start = clock.now_ns
        while clock.now_ns - start < 900 * MS:
            chip.draw(IDLE_MW + net + generator.normal(0, 20))
            series._read()
            clock.now_ns += 20 * MS
        if net:
            windows.append([start, clock.now_ns, 90])
    readings = list(series.end())
    (values,) = sampled(readings).values()
    times = [time_ns for piece in readings for time_ns in piece.time_ns]
    assert np.diff(times).tolist() == [20 * MS] * (7 * 45 - 1)
    trace = PowerTrace(np.array(times, np.int64), {CHANNEL: np.array(values)}, windows)
    facts = energy.ChannelFacts("power_mw", "input", 0.01)
    told = energy.measure(trace, {CHANNEL: facts})
    assert told.status == "measured", told.reason
    assert told.per_inference_mj == pytest.approx(NET_MW * 0.9 / 90, rel=0.05)
    assert told.idle_mw == pytest.approx(IDLE_MW, rel=0.05)


def test_what_cannot_be_read_is_nan_and_goes_on(chip: Chip) -> None:
    sampler = PowerSampler(root=chip.root)
    chip.draw(1000)
    sampler.start()
    (series,) = sampler._series
    for content, count in (("", 2), ("2000000", 2)):
        chip.show(content)
        there = len(series._times) + count
        until(lambda there=there: len(series._times) >= there)
    values = sampled(sampler.stop())[CHANNEL]
    assert values[-1] == 2000.0
    assert any(math.isnan(value) for value in values)


def test_a_flood_is_thinned_and_still_covers_all_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chip = Chip(tmp_path, interval_ms=1)
    chip.draw(1000)
    sensor, (index,) = working(chip)
    clock = Clock(monkeypatch)
    start, count = clock.now_ns, 0

    class Stops:
        """The event that ends the series: time passes while it is waited for, up to one second."""

        def wait(self, seconds: float) -> bool:
            nonlocal count
            count += 1
            clock.now_ns += round(seconds * 1e9)
            return clock.now_ns - start > 1000 * MS

    series = _Series(sensor, [index], 100, Stops())  # type: ignore[arg-type]
    series.run()
    times = [time_ns for piece in series.end() for time_ns in piece.time_ns]
    assert 25 <= len(times) <= 50
    assert times[0] - start < 250 * MS
    assert clock.now_ns - times[-1] < 250 * MS
    # The rate has fallen with it: 50 rows at 1 ms, 25 each at 2, 4, 8, 16 and 32 ms.
    assert count < 250


def test_a_sampler_keeps_to_its_sensors_grid_of_time(chip: Chip) -> None:
    """End to end, on the clock of a machine that may be busy."""
    chip.draw(IDLE_MW)
    sampler = PowerSampler(root=chip.root)
    start = time.monotonic_ns()
    sampler.start()
    (series,) = sampler._series
    until(lambda: len(series._times) >= 10)
    pieces = sampler.stop()
    end = time.monotonic_ns()
    times = [time_ns for piece in pieces for time_ns in piece.time_ns]
    assert times == sorted(set(times))
    assert start <= times[0] <= times[-1] <= end
    # No more often than it has news, but for the moment that a reading takes.
    assert len(times) <= (end - start) / (20 * MS) + 2
    assert sampled(pieces) == {CHANNEL: [IDLE_MW] * len(times)}


def test_a_device_without_power_says_why(tmp_path: Path) -> None:
    sampler = PowerSampler(root=boards.lay_out("vm", tmp_path))
    sampler.start()
    (readings,) = sampler.stop()
    reason = readings.unavailable_reason
    assert sampler.unavailable_reason == reason
    assert reason.startswith("no sensor here measures power or energy (")
    assert "rapl: no RAPL domain in /sys/class/powercap" in reason
    assert "hwmon-power: " in reason
    assert "thermal" not in reason


def test_a_channel_that_is_named_wrongly_is_told_of(chip: Chip) -> None:
    sampler = PowerSampler(["VDD_IN"], root=chip.root)
    sampler.start()
    (readings,) = sampler.stop()
    assert readings.unavailable_reason == (
        f"this device has no power or energy channel 'VDD_IN'; it has: {CHANNEL}"
    )


def test_charging_comes_along_with_what_was_named(tmp_path: Path) -> None:
    sampler = PowerSampler(["package-0"], root=boards.lay_out("x86-rapl", tmp_path))
    sampler.start()
    series = list(sampler._series)
    until(lambda: all(one._times for one in series))
    values = sampled(sampler.stop())
    assert values.keys() == {"package-0", "BAT0-charging"}
    assert values["package-0"][0] == pytest.approx(240_422_366.267)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_stopping_leaves_nothing_open(chip: Chip) -> None:
    before = descriptors()
    for _ in range(3):
        sampler = PowerSampler(root=chip.root)
        sampler.start()
        sampler.stop()
    assert descriptors() == before


class Broken(Sensor):
    channels = (Channel("meter", Quantity.POWER_MW), Channel("mains", Quantity.POWER_MW))
    closed = False

    @classmethod
    def discover(cls, root: Path) -> Broken:
        del root
        return cls()

    def read(self) -> list[float]:
        raise ConnectionError("unplugged")

    def close(self) -> None:
        self.closed = True


def test_a_plug_ins_error_is_a_sample_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeopt_agent.sensors import Found

    sensor = Broken()
    monkeypatch.setattr("edgeopt_agent.sensors.discover", lambda _: [Found("meter", sensor)])
    sampler = PowerSampler()
    sampler.start()
    (series,) = sampler._series
    until(lambda: len(series._times) > 3)
    values = sampled(sampler.stop())
    assert values.keys() == {"meter", "mains"}
    assert all(math.isnan(value) for value in values["meter"])
    assert sensor.closed


def test_hours_of_samples_fit_into_messages() -> None:
    stopped = threading.Event()
    stopped.set()
    series = _Series(Broken(), [0, 1], 10_000_000, stopped)
    count = 400_000
    series._times = array("q", range(count))
    series._columns = [array("d", [1.0]) * count, array("d", [2.0]) * count]
    series.start()
    pieces = list(series.end())
    assert max(piece.ByteSize() for piece in pieces) < 3_600_000
    assert [time_ns for piece in pieces for time_ns in piece.time_ns] == list(range(count))
    assert {name: len(v) for name, v in sampled(pieces).items()} == {"meter": count, "mains": count}


def energy_pass(folder: Path, plan: benchmark_pb2.Plan) -> list[benchmark_pb2.BenchmarkEvent]:
    (folder / "subjects/0/model").mkdir(parents=True)
    tiny.matmul(folder / "subjects/0/model/model.onnx", 64)
    subject = benchmark_pb2.Subject(runtime="onnx", threads=1)
    subject.files.add(name="model.onnx")
    events: list[benchmark_pb2.BenchmarkEvent] = []
    benchmark = benchmark_pb2.Benchmark(subjects=[subject], plan=plan)
    passes.energy(Task(benchmark, 0, folder, events.append))
    return events


def test_the_worker_works_and_sleeps_in_turns(tmp_path: Path) -> None:
    plan = benchmark_pb2.Plan(warmup_inferences=3)
    idle_ns, work_ns = 500_000_000, 200_000_000
    plan.energy.windows = 3
    plan.energy.idle_duration_ns, plan.energy.work_duration_ns = idle_ns, work_ns
    wall, busy = time.monotonic_ns(), time.thread_time_ns()
    events = energy_pass(tmp_path, plan)
    wall, busy = time.monotonic_ns() - wall, time.thread_time_ns() - busy
    windows = list(events[-1].energy.windows)
    assert [event.WhichOneof("event") for event in events[:-1]] == ["progress"] * (len(events) - 1)
    assert len(windows) == 3
    for window in windows:
        assert window.end_time_ns - window.start_time_ns >= work_ns
        assert window.inferences > 0
    for before, after in pairwise(windows):
        assert after.start_time_ns - before.end_time_ns >= idle_ns
    # Four idle times: a wait that spins would have used the CPU.
    assert busy < wall - 3.5 * idle_ns
    told = [event.progress for event in events if event.progress.phase == SAMPLING]
    assert [one.fraction for one in told] == sorted(one.fraction for one in told)
    assert told[-1].inferences == sum(window.inferences for window in windows)
    assert 0.8 < told[-1].fraction <= 1


def test_the_worker_works_at_the_plans_rate(tmp_path: Path) -> None:
    plan = benchmark_pb2.Plan(rate_hz=50, warmup_inferences=1)
    plan.energy.windows = 1
    plan.energy.work_duration_ns = 400_000_000
    (window,) = energy_pass(tmp_path, plan)[-1].energy.windows
    seconds = (window.end_time_ns - window.start_time_ns) / 1e9
    assert window.inferences <= seconds * 50 + 2
