"""What a launch waits for, on recorded boards whose files change meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import boards
from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent import conditions
from edgeopt_agent.sensors import Channel, Quantity, Sensor, _vcio

Progress = benchmark_pb2.Progress
Warning_ = benchmark_pb2.BenchmarkWarning | None

ORIN_CLOCK = "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_vcio.fcntl, "ioctl", boards.firmware_ioctl)
    monkeypatch.setattr(conditions, "_INTERVAL_S", 0.01)
    monkeypatch.setattr(conditions, "_STEADY_S", 0.05)


def wait(
    root: Path, meanwhile: Callable[[Progress], None] = lambda _: None, **asked: object
) -> tuple[Warning_, list[Progress]]:
    """What `wait_for` returned, and what it told; `meanwhile` is called with each telling."""
    told: list[Progress] = []

    def tell(progress: Progress) -> None:
        told.append(progress)
        meanwhile(progress)

    asked.setdefault("timeout_ns", 60_000_000_000)
    condition = benchmark_pb2.StartCondition(**asked)  # type: ignore[arg-type]
    return asyncio.run(conditions.wait_for(condition, tell, root)), told


def test_a_pi_that_cools_is_waited_for_and_tells_how_warm_it_is(tmp_path: Path) -> None:
    root = boards.lay_out("pi4", tmp_path)  # at 80.3 °C
    falling = iter([67200, 58900, 54800])

    def cool(_: Progress) -> None:
        boards.write(root / "sys/class/thermal/thermal_zone0/temp", next(falling))

    warning, told = wait(root, cool, max_temperature_celsius=55)
    assert warning is None
    assert [round(progress.temperature_celsius, 1) for progress in told] == [80.3, 67.2, 58.9]
    assert {progress.phase for progress in told} == {Progress.PHASE_COOLING}
    assert {progress.condition for progress in told} == {"at most 55 °C"}


def test_what_holds_already_is_not_waited_for(tmp_path: Path) -> None:
    root = boards.lay_out("orin-nano", tmp_path)  # tj-thermal at 56.7 °C
    assert wait(root, max_temperature_celsius=57) == (None, [])


def test_nothing_asked_for_looks_at_nothing(tmp_path: Path) -> None:
    assert wait(tmp_path / "nowhere") == (None, [])


def test_a_board_that_stays_warm_begins_all_the_same_and_says_so(tmp_path: Path) -> None:
    root = boards.lay_out("orin-nano", tmp_path)
    warning, told = wait(root, max_temperature_celsius=50, timeout_ns=30_000_000)
    assert told
    assert warning is not None
    assert warning.code == "NOT_COOL"
    assert "tj-thermal had 56.7 °C, more than 50" in warning.message


def test_jetpack_4_constants_are_no_temperatures(tmp_path: Path) -> None:
    root = boards.lay_out("nano", tmp_path)
    # The zone is left out when it stands at 100 °C at the start; here it does so later.
    boards.write(root / "sys/class/thermal/thermal_zone4/temp", 41000)

    def stand(_: Progress) -> None:
        boards.write(root / "sys/class/thermal/thermal_zone4/temp", 100000)

    warning, told = wait(root, stand, max_temperature_celsius=30)
    assert warning is None
    assert [progress.temperature_celsius for progress in told] == [pytest.approx(41.0)]


def test_a_temperature_that_cannot_be_read_any_more_is_not_cool(tmp_path: Path) -> None:
    root = boards.lay_out("pi4", tmp_path)

    def fail(_: Progress) -> None:
        boards.write(root / "sys/class/thermal/thermal_zone0/temp", "")

    warning, _ = wait(root, fail, max_temperature_celsius=55, timeout_ns=50_000_000)
    assert warning is not None
    assert "its temperature could not be read" in warning.message


def test_a_throttle_flag_is_waited_for_and_a_sticky_one_is_not(tmp_path: Path) -> None:
    root = boards.lay_out("pi4", tmp_path)  # 0x80008: the soft limit, now and before

    def release(_: Progress) -> None:
        boards.write(root / "sys/devices/platform/soc/soc:firmware/get_throttled", "80000")

    warning, told = wait(root, release, not_throttled=True)
    assert warning is None
    assert [progress.condition for progress in told] == ["no throttling"]


def test_a_board_that_goes_on_throttling_is_named_with_its_flag(tmp_path: Path) -> None:
    root = boards.lay_out("pi5", tmp_path)  # 0x50005
    warning, _ = wait(root, not_throttled=True, timeout_ns=1)
    assert warning is not None
    assert warning.code == "THROTTLED_AT_START"
    assert "'throttled' at 5" in warning.message


def test_a_clock_is_watched_until_it_stands_still(tmp_path: Path) -> None:
    root = boards.lay_out("orin-nano", tmp_path)
    steps = iter([1510400, 729600, 1036800])

    def step(_: Progress) -> None:
        if (clock := next(steps, None)) is not None:
            boards.write(root / ORIN_CLOCK, clock)

    warning, told = wait(root, step, steady_clock=True)
    assert warning is None
    # Three steps, and then at least one more look while nothing changes.
    assert len(told) > 3
    assert {progress.condition for progress in told} == {"a steady clock"}


def test_a_clock_that_never_stands_still_is_named(tmp_path: Path) -> None:
    root = boards.lay_out("orin-nano", tmp_path)
    clocks = [1510400, 1208320]

    def swing(_: Progress) -> None:
        clocks.reverse()
        boards.write(root / ORIN_CLOCK, clocks[0])

    warning, _ = wait(root, swing, steady_clock=True, timeout_ns=300_000_000)
    assert warning is not None
    assert warning.code == "CLOCK_UNSTEADY"
    # From the recorded 729.6 MHz, or between the two.
    assert "the clock of cpu0 varied by" in warning.message


@pytest.mark.parametrize(
    ("asked", "subject"),
    [
        ({"max_temperature_celsius": 55.0}, "its temperature"),
        ({"max_temperature_celsius": 55.0, "not_throttled": True}, "its temperature"),
    ],
)
def test_a_machine_without_the_sensor_says_so_at_once(
    tmp_path: Path, asked: dict[str, object], subject: str
) -> None:
    warning, told = wait(boards.lay_out("vm", tmp_path), **asked)
    assert not told
    assert warning is not None
    assert warning.code == "START_UNKNOWN"
    assert f"does not tell {subject}" in warning.message
    assert "whether it throttles" not in warning.message


def test_no_throttling_is_asked_for_where_the_device_can_tell(tmp_path: Path) -> None:
    warning, told = wait(boards.lay_out("vm", tmp_path), not_throttled=True)
    assert (warning, told) == (None, [])


def test_what_can_be_seen_is_waited_for_although_something_else_cannot(tmp_path: Path) -> None:
    root = boards.lay_out("vm", tmp_path)
    boards.write(root / "sys/class/thermal/thermal_zone0/type", "cpu-thermal")
    boards.write(root / "sys/class/thermal/thermal_zone0/temp", 61000)
    (root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq").unlink(missing_ok=True)
    warning, told = wait(root, max_temperature_celsius=55, steady_clock=True, timeout_ns=20_000_000)
    assert told
    assert warning is not None
    assert warning.code == "NOT_COOL"


def test_a_cancelled_wait_ends(tmp_path: Path) -> None:
    root = boards.lay_out("pi4", tmp_path)
    condition = benchmark_pb2.StartCondition(max_temperature_celsius=40, timeout_ns=10**12)

    async def cancelled() -> None:
        told = asyncio.Event()
        task = asyncio.create_task(conditions.wait_for(condition, lambda _: told.set(), root))
        await told.wait()
        assert descriptors(root)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    until(lambda: not descriptors(root))


def descriptors(root: Path) -> list[str]:
    """Files below a folder that this process has open; threads of other tests may close theirs."""
    opened = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            opened.append(str(descriptor.readlink()))
    return [path for path in opened if path.startswith(str(root.resolve()))]


def until(condition: Callable[[], bool]) -> None:
    """Waits for a thread, however slow the machine is."""
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


class Thermometer(Sensor):
    """Hangs when it is told to, until it is let go."""

    channels = (Channel("ambient", Quantity.TEMPERATURE_CELSIUS),)

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.closed = threading.Event()

    @classmethod
    def discover(cls, root: Path) -> Thermometer:
        del root
        return cls()

    def read(self) -> list[float]:
        self.let_go.wait(60)
        return [20.0]

    def close(self) -> None:
        self.closed.set()


@pytest.mark.parametrize("hangs", ["open", "read"])
def test_a_sensor_that_hangs_counts_as_one_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, hangs: str
) -> None:
    sensor = Thermometer()

    def working(*_: object, **__: object) -> list[Sensor]:
        if hangs == "open":
            sensor.read()
        return [sensor]

    monkeypatch.setattr(conditions, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(conditions.sensors, "working", working)
    warning, told = wait(Path("/"), max_temperature_celsius=55)
    assert told == []
    assert warning is not None
    assert warning.code == "START_UNKNOWN"
    assert "did not answer within" in warning.message
    assert "its temperature" in warning.message
    assert not sensor.closed.is_set()
    sensor.let_go.set()
    assert sensor.closed.wait(30)


def test_who_cancels_does_not_wait_for_a_sensor_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sensor, opening = Thermometer(), threading.Event()

    def working(*_: object, **__: object) -> list[Sensor]:
        opening.set()
        sensor.read()
        return [sensor]

    async def cancelled() -> None:
        condition = benchmark_pb2.StartCondition(max_temperature_celsius=40, timeout_ns=10**12)
        task = asyncio.create_task(conditions.wait_for(condition, lambda _: None))
        assert await asyncio.to_thread(opening.wait, 30)
        task.cancel()
        await task

    monkeypatch.setattr(conditions.sensors, "working", working)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert not sensor.closed.is_set()
    # What was opened for nobody is closed all the same.
    sensor.let_go.set()
    assert sensor.closed.wait(30)
