"""Warnings about a run: when they come, what they say to do, and when they stay away."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from edgeopt_host import findings
from edgeopt_host.run import Block, Device, Latency, Launch, Model, Reading, Run, RuntimeUsed

SECOND = 1_000_000_000
Floats = np.ndarray[Any, np.dtype[np.float64]]


def launch(latencies_ms: Floats | None = None, readings: Sequence[Reading] = ()) -> Launch:
    given = np.full(400, 10.0) if latencies_ms is None else latencies_ms
    ns = np.round(1e6 * given).astype(np.int64)
    blocks = [Block(place, part) for place, part in enumerate(np.array_split(ns, 20))]
    return Launch(0, 0, 0, 0, 2 * SECOND, None, None, None, None, None, blocks, [*readings])


def run(*launches: Launch, **changes: Any) -> Run:
    made = Run(
        "id", "t", "c", Model("m", "0", 1, "onnx"), Device("d", cores=4), RuntimeUsed("onnx")
    )
    made.launches = [*launches] or [launch()]
    made.latency_ms = Latency(count=400 * len(made.launches))
    made.runtime.threads = 2
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def messages(made: Run) -> dict[str, str]:
    return {warning.code: warning.message for warning in findings.warnings(made)}


def readings(
    runnable: Sequence[int | None] = (), steal_ns: Sequence[int | None] = ()
) -> list[Reading]:
    count = max(len(runnable), len(steal_ns))
    queue, steal = (([*given, *[None] * count])[:count] for given in (runnable, steal_ns))
    return [
        Reading("between_blocks", place * SECOND, {}, runnable=one, steal_ns=other)
        for place, (one, other) in enumerate(zip(queue, steal, strict=True))
    ]


def test_a_quiet_run_is_not_warned_of() -> None:
    assert messages(run()) == {}


@pytest.mark.parametrize("governor", ["powersave", "ondemand", "schedutil"])
def test_a_governor_that_moves_the_clock_is_named_with_the_command(governor: str) -> None:
    made = run()
    made.state.governor = governor
    message = messages(made)["GOVERNOR"]
    assert f"'{governor}'" in message
    assert "echo performance | sudo tee /sys/devices/system/cpu/cpufreq/policy*" in message


def test_the_performance_governor_is_fine() -> None:
    made = run()
    made.state.governor = "performance"
    assert messages(made) == {}


def test_a_run_queue_longer_than_the_cores_is_warned_of() -> None:
    assert messages(run(launch(readings=readings(runnable=[4, 3, 4])))) == {}
    busy = messages(run(launch(readings=readings(runnable=[6, 7, 1, None]))))
    assert busy.keys() == {"NOISY_NEIGHBOURS"}
    assert "6 processes and threads want to run on 4 cores" in busy["NOISY_NEIGHBOURS"]


def test_stolen_time_is_warned_of() -> None:
    # 4 s on 2 threads.
    some = [0, None, None, None, SECOND // 4]
    assert messages(run(launch(readings=readings(steal_ns=some)))) == {}
    much = [SECOND, None, None, None, 2 * SECOND]
    assert (
        "gave 12 % of the time"
        in messages(run(launch(readings=readings(steal_ns=much))))["NOISY_NEIGHBOURS"]
    )


def scattered(seed: int, share: float, factor: float) -> Floats:
    generator = np.random.default_rng(seed)
    noise = 0.03 * generator.normal(size=400)
    second = np.where(generator.random(400) < share, np.log(factor), 0.0)
    return 10.0 * np.exp(noise + second)


def test_two_places_where_latencies_gather_are_both_named() -> None:
    message = messages(run(*(launch(scattered(seed, 0.3, 1.5)) for seed in range(3))))["BIMODAL"]
    assert re.search(r"7\d % about (9\.9\d?|10) ms and 2\d % about (14\.9|15) ms", message)


def test_one_launch_of_three_with_two_places_is_not_enough() -> None:
    mixed = [launch(scattered(0, 0.3, 1.5)), launch(scattered(1, 0, 1)), launch(scattered(2, 0, 1))]
    assert "BIMODAL" not in messages(run(*mixed))


def test_launches_that_differ_are_not_two_places() -> None:
    differing = [launch(scattered(seed, 0, 1) * factor) for seed, factor in enumerate((1, 1.3, 1))]
    assert "BIMODAL" not in messages(run(*differing))


def test_launches_that_do_not_count_are_told_with_their_reasons() -> None:
    good, hot, slow = (launch() for _ in range(3))
    hot.tainted = "the firmware told of throttling"
    told = messages(run(good, launch(), hot))
    assert told.keys() == {"TAINTED"}
    assert (
        "1 of 3 launches do not count, and the figures are those of the others: the firmware"
        in (told["TAINTED"])
    )
    slow.tainted = "a fixed piece of work took 20 % longer than at the start"
    assert messages(run(good, hot, slow)).keys() == {"TAINTED", "INVALID"}


def test_a_run_without_a_launch_that_counts_says_what_its_figures_are_of() -> None:
    hot = launch()
    hot.tainted = "the firmware told of under-voltage"
    told = messages(run(hot))
    assert "none counts, so the figures are those of all" in told["TAINTED"]
    assert "INVALID" in told


def test_findings_are_of_the_launches_that_count() -> None:
    spells = 10.0 * np.repeat([1, 2], 200) * scattered(0, 0, 1) / 10
    noisy = launch(spells, readings(runnable=[9, 9, 9]))
    assert {"NOISY", "NOISY_NEIGHBOURS", "BIMODAL"} <= messages(run(noisy)).keys()
    noisy.tainted = "the firmware told of throttling"
    assert messages(run(noisy, launch(), launch())).keys() == {"TAINTED"}


def test_heat_under_load_that_lasts_is_no_noise() -> None:
    heated = launch(np.linspace(10.0, 16.0, 400))
    assert "NOISY" in messages(run(heated))
    assert messages(run(heated, sustained={"ratio": 1.5})) == {}


def test_sleeping_between_paced_inferences_is_no_waiting() -> None:
    waits = [
        Reading("start", 0, {}, cpu_wait_ns=0, thread_cpu_ns=0),
        Reading("end", 10 * SECOND, {}, cpu_wait_ns=SECOND // 2, thread_cpu_ns=3 * SECOND // 2),
    ]
    assert "waited 25 % of the time" in messages(run(launch(readings=waits)))["NOISY"]
    waits[1].thread_cpu_ns = 10 * SECOND
    assert messages(run(launch(readings=waits))) == {}
