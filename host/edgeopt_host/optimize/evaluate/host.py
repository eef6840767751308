"""The original's latency in its own framework on this host, as the guide's `benchmark_model` times it."""

from __future__ import annotations

import datetime as dt
import platform
import statistics
import time
from dataclasses import dataclass
from typing import Any

from edgeopt_host.optimize import formats
from edgeopt_host.optimize.data import Prepared
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.formats.predict import bind, check, stored
from edgeopt_host.optimize.model import Model
from edgeopt_host.optimize.random_inputs import random_inputs

WARM_UPS, RUNS = 10, 100
# A slow model is timed as often as fits, and three times at least.
_LONGEST_S = 60.0
_FEWEST = 3
UNTIMED = "the original was not timed: its input shapes are not known"


@dataclass(frozen=True)
class HostLatency:
    """Of one example at a time.

    Attributes:
        framework: with its version.
        mean_ms: of all runs.
        median_ms: which other work on the host moves less.
        runs: how many were timed.
        threads: that the framework was told to use.
        time: when it was timed, UTC, ISO 8601.
        machine: the name of this host in its network; empty when it has none.
    """

    framework: str
    mean_ms: float
    median_ms: float
    runs: int
    threads: int
    time: str
    machine: str

    @property
    def fps(self) -> float:
        """Frames per second: 1000 / mean_ms."""
        return 1000 / self.mean_ms

    def document(self) -> dict[str, Any]:
        return {
            "framework": self.framework,
            "mean_ms": self.mean_ms,
            "median_ms": self.median_ms,
            "fps": self.fps,
            "runs": self.runs,
            "threads": self.threads,
            "time": self.time,
            "machine": self.machine,
        }


def time_original(model: Model, data: Prepared | None, seed: int) -> HostLatency | None:
    """Times a model on this host, as `time_on_host`.

    Args:
        model: of any format that this host runs.
        data: whose first example it is fed; a random one without data.
        seed: of the random one.

    Returns:
        None when the shapes of its inputs are not known: UNTIMED says so.

    Raises:
        EdgeoptError: DATA_INVALID when the example does not fit it; else as `formats.open_runner`.
    """
    example = next(iter(data.splits.values())).take(slice(0, 1)) if data else None
    described = formats.describe(model, example)
    if example is None:
        example = random_inputs(described.inputs, 1, seed)
    return None if example is None else time_on_host(model, example, described.framework)


def time_on_host(
    model: Model, example: Examples, framework: str, *, threads: int = 1
) -> HostLatency:
    """Times a model: 10 warm-ups, then 100 inferences of batch 1, for a minute at most.

    An inference is a call from Python with arrays to arrays, as an application makes it. It is a
    yardstick for the gain of leaving a framework; what models do on devices is measured there.

    Args:
        model: of any format.
        example: one.
        framework: what to call it.
        threads: for one inference.

    Raises:
        EdgeoptError: DATA_INVALID when the example does not fit it.
    """
    runner = formats.open_runner(model, threads=threads)
    inputs = runner.signature.inputs
    names = bind(inputs, example)
    check(inputs, names, example)
    feeds = {spec.name: stored(spec, example.inputs[names[spec.name]]) for spec in inputs}
    begun = dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
    end = time.perf_counter() + _LONGEST_S
    taken: list[float] = []
    for number in range(WARM_UPS + RUNS):
        start = time.perf_counter()
        if start > end and len(taken) >= _FEWEST:
            break
        runner(feeds)
        if number >= WARM_UPS or start > end:
            taken.append(1000 * (time.perf_counter() - start))
    return HostLatency(
        framework,
        statistics.fmean(taken),
        statistics.median(taken),
        len(taken),
        threads,
        begun,
        platform.node(),
    )
