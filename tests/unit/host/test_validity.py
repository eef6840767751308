"""What taints a launch, and what does not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edgeopt_host import validity
from edgeopt_host.run import (
    Block,
    Device,
    Launch,
    Model,
    Reading,
    Run,
    RuntimeUsed,
    Warning,  # noqa: A004 - the document's name for it
)

# Of a Raspberry Pi 4 whose kernel has the firmware's file (tests/boards/pi4.txt).
PI = {
    "cpu0": "clock_hz",
    "cpu-thermal": "temperature_celsius",
    "throttled": "throttle_flags",
    "throttled-sticky": "throttle_flags",
}
SECOND = 1_000_000_000


def launch(
    readings: Sequence[dict[str, float]] = (),
    latencies_ms: Sequence[float] = (),
    canaries: Sequence[int | None] = (),
) -> Launch:
    """A launch whose readings come before, between and after its blocks, one each second."""
    count = max(len(readings), len(canaries), len(latencies_ms) + 2, 2)
    values = [*readings, *[{}] * (count - len(readings))]
    looks = [*canaries, *[None] * (count - len(canaries))]
    moments = ["start", *["between_blocks"] * (count - 2), "end"]
    return Launch(
        *(0, 0, 0, 0, 0),
        *(None, None, None, None, None),
        blocks=[
            Block(place * SECOND + 1, np.full(20, round(1e6 * ms)), SECOND // 2, round=place)
            for place, ms in enumerate(latencies_ms)
        ],
        readings=[
            Reading(moment, place * SECOND, dict(seen), canary_ns=look)
            for place, (moment, seen, look) in enumerate(zip(moments, values, looks, strict=True))
        ],
    )


def clocks(*mhz: float, latencies_ms: Sequence[float]) -> Launch:
    """The clock after each block; idle before the first and after the last."""
    readings = [{"cpu0": 600e6}, *({"cpu0": value * 1e6} for value in mhz), {"cpu0": 600e6}]
    return launch(readings, latencies_ms)


def test_a_launch_that_nothing_disturbed_counts() -> None:
    quiet = {"cpu0": 1800e6, "cpu-thermal": 61.3, "throttled": 0.0, "throttled-sticky": 5.0}
    assert validity.taint([launch([quiet] * 20, [12.0] * 18, [100] * 20)], PI) is None


def test_a_device_without_sensors_has_nothing_to_say() -> None:
    assert validity.taint([launch(latencies_ms=[1.0] * 20)], {}) is None


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (0b0001, "under-voltage"),
        (0b0110, "a capped clock, throttling"),
        (0b1000, "the soft temperature limit"),
    ],
)
def test_a_pis_flags_are_named(flags: int, words: str) -> None:
    seen = [{"throttled": 0.0}, {"throttled": float(flags)}, {"throttled": 0.0}]
    assert validity.taint([launch(seen)], PI) == f"the firmware told of {words}"


def test_only_sticky_bits_that_are_new_count() -> None:
    before = {"throttled-sticky": 5.0}
    assert validity.taint([launch([before] * 3)], PI) is None
    cleared = [before, {"throttled-sticky": 0.0}, {"throttled-sticky": 4.0}]
    assert validity.taint([launch(cleared)], PI) == (
        "the firmware told of throttling between two readings"
    )


def test_a_jetsons_cooling_state_and_counts() -> None:
    channels = {"cpu-balanced": "throttle_flags", "soctherm-oc1": "throttle_count"}
    # A board that has counted 37 since it was started is not throttled for that.
    assert validity.taint([launch([{"cpu-balanced": 0, "soctherm-oc1": 37}] * 4)], channels) is None
    cooling = [{"cpu-balanced": 0}, {"cpu-balanced": 2}, {"cpu-balanced": 1}]
    assert validity.taint([launch(cooling)], channels) == "'cpu-balanced' stood at 2"
    counted = [{"soctherm-oc1": 37.0}, {"soctherm-oc1": 37.0}, {"soctherm-oc1": 40.0}]
    assert validity.taint([launch(counted)], channels) == (
        "'soctherm-oc1' counted 3 throttling events"
    )


def test_a_clock_that_fell_and_was_felt() -> None:
    # A Pi 4B at 80 °C goes from 1800 to 1500 MHz and below.
    fell = clocks(*[1800] * 12, *[1500] * 8, latencies_ms=[12.0] * 12 + [14.4] * 8)
    assert validity.taint([fell], PI) == "the clock of cpu0 fell from 1800 to 1500 MHz"


def test_a_clock_that_fell_where_nothing_waited_for_it() -> None:
    accelerator = clocks(*[1510] * 10, *[730] * 10, latencies_ms=[12.0] * 20)
    assert validity.taint([accelerator], PI) is None


def test_a_clock_that_rises_is_no_sign_of_anything() -> None:
    woken = clocks(*[600] * 4, *[1800] * 16, latencies_ms=[30.0] * 4 + [12.0] * 16)
    assert validity.taint([woken], PI) is None


def test_a_clock_that_dips_once_is_none_either() -> None:
    once = clocks(*[1800] * 10, 1500, *[1800] * 10, latencies_ms=[12.0] * 10 + [15.0] * 11)
    assert validity.taint([once], PI) is None


def test_slow_inferences_alone_taint_nothing() -> None:
    slower = clocks(*[1800] * 20, latencies_ms=[12.0] * 10 + [24.0] * 10)
    assert validity.taint([slower], PI) is None


@pytest.mark.parametrize(
    ("canaries", "percent"),
    [
        ([100, 105, 109, 109], None),
        ([100, None, 130, None, 101, 130, 99], None),
        ([100, 120, 115, 100, 100], 15),
        ([100, 100, 125], 25),
        ([140, 100, 100, 100], None),
        ([100], None),
        ([None, None], None),
    ],
)
def test_a_canary_is_believed_twice_in_a_row_or_at_the_end(
    canaries: list[int | None], percent: int | None
) -> None:
    reason = validity.taint([launch(canaries=canaries)], {})
    if percent is None:
        assert reason is None
    else:
        assert reason == f"a fixed piece of work took {percent} % longer than at the start"


def test_one_subject_taints_its_partners() -> None:
    throttled = launch([{"throttled": 4.0}])
    assert validity.taint([launch(), throttled], PI) == "the firmware told of throttling"


def test_whether_anything_throttled_is_unknown_where_no_channel_tells() -> None:
    assert validity.throttled(launch([{"cpu-thermal": 50.0}]).readings, PI) is None
    assert validity.throttled(launch([{"throttled": 0.0}]).readings, PI) is False
    assert validity.throttled(launch([{"throttled": 1.0}]).readings, PI) is True


def run(*tainted: str | None) -> Run:
    made = Run("id", "t", "c", Model("m", "0", 1, "onnx"), Device("d"), RuntimeUsed("onnx"))
    made.launches = [launch() for _ in tainted]
    for one, why in zip(made.launches, tainted, strict=True):
        one.tainted = why
    return made


def test_a_run_is_invalid_when_more_launches_fail_to_count_than_count() -> None:
    assert validity.is_invalid(run(None, None, None)) is None
    assert validity.is_invalid(run(None, "hot", None)) is None
    assert validity.is_invalid(run("hot", None)) is None
    assert validity.is_invalid(run("hot", None, "hot", "slow")) == (
        "3 of 4 launches do not count: hot (2 times); slow"
    )


def test_a_run_that_was_called_invalid_is() -> None:
    called = run(None)
    called.warnings = [Warning("INVALID", "three retries throttled")]
    assert validity.is_invalid(called) == "three retries throttled"


def test_latencies_under_overload_decide_nothing() -> None:
    paced = run(None, None)
    paced.shape.rate_hz, paced.shape.missed_deadlines, paced.throughput_per_s = 20.0, 1.0, 9.0
    assert "OVERLOADED: 9 of 20 inferences" in str(validity.without_latency(paced))
    assert validity.is_invalid(paced) is None
    paced.throughput_per_s = 20.0
    assert validity.without_latency(paced) is None
    # A stored run tells by its warning.
    paced.warnings = [Warning("OVERLOADED", "9 of 20 were done")]
    assert validity.without_latency(paced) == "OVERLOADED: 9 of 20 were done"
