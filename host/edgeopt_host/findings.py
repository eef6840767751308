"""Warnings about a run: what makes its figures less than they seem, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from edgeopt_host import validity
from edgeopt_host._text import plain
from edgeopt_host.run import (
    Launch,
    Reading,
    Run,
    Warning,  # noqa: A004 - the document's name for it
)
from edgeopt_host.stats import launches as units
from edgeopt_host.stats import load, modes

# docs/concepts/measurement.md tells where these come from.
_FEW_SAMPLES = 93  # the fewest from which a 95 % bound on p95 exists (binomial)
_NOISY_SPREAD = 0.05
_NOISY_WAIT = 0.05
_OVERHEAD = 0.05
_STEAL = 0.05
# Linux's governors that do not stay at the highest clock (Documentation/admin-guide/pm/cpufreq.rst;
# "interactive": Android's before schedutil).
_SLOW_GOVERNORS = {"powersave", "ondemand", "conservative", "schedutil", "interactive"}


def warnings(run: Run) -> list[Warning]:
    """All that apply to a run that was measured."""
    return [warning for finding in _FINDINGS for warning in finding(run)]


def _counted(run: Run) -> list[Launch]:
    """The launches that the figures are of."""
    return units.counted(run.launches) or run.launches


def _few_samples(run: Run) -> Iterator[Warning]:
    count = run.latency_ms.count or 0
    if count < _FEW_SAMPLES:
        yield Warning(
            "TOO_FEW_SAMPLES",
            f"{count} inferences say little about p95 and p99; measure longer with --duration or "
            "more --launches",
        )


def _oversubscribed(run: Run) -> Iterator[Warning]:
    threads = run.runtime.threads or 0
    # Affinity or a container's quota may leave fewer than there are.
    cores = run.device.usable_cores or run.device.cores or 0
    if threads > cores > 0:
        yield Warning(
            "OVERSUBSCRIBED",
            f"{threads} threads share {cores} usable cores and wait for each other; use --threads "
            f"{cores} or fewer",
        )


def _noisy(run: Run) -> Iterator[Warning]:
    medians = np.array([np.median(b.latency_ns) for launch in _counted(run) for b in launch.blocks])
    middle = np.median(medians)
    # 1.4826: from a median absolute deviation to a standard deviation.
    spread = float(1.4826 * np.median(np.abs(medians - middle)) / middle)
    wait = _waited(run)
    signs = []
    # Under load that lasts, it is heat that moves the median.
    if spread > _NOISY_SPREAD and run.sustained is None:
        signs.append(f"the median varies by {100 * spread:.0f} % from block to block")
    if wait > _NOISY_WAIT:
        signs.append(
            f"the measuring thread waited {100 * wait:.0f} % of the time that it wanted a CPU"
        )
    if signs:
        yield Warning(
            "NOISY",
            f"{' and '.join(signs)}: other work disturbs this device; stop it, or use fewer --threads or "
            "more --launches",
        )


def _neighbours(run: Run) -> Iterator[Warning]:
    """Whether others use the device: processes of it, or machines beside this virtual one."""
    queue = [
        reading.runnable
        for launch in _counted(run)
        for reading in launch.readings
        if reading.runnable is not None
    ]
    cores = run.device.cores or 0
    threads = min(run.runtime.threads or 1, cores or 1)
    lasted = threads * sum(map(_wall_ns, _counted(run)))
    steal = _rise(run, lambda reading: reading.steal_ns) / lasted if lasted else 0.0
    signs = []
    if queue and np.median(queue) > cores > 0:
        signs.append(
            f"{np.median(queue):.0f} processes and threads want to run on {cores} cores: stop other work on "
            "the device (top shows it)"
        )
    if steal > _STEAL:
        signs.append(
            f"the hypervisor gave {100 * steal:.0f} % of the time to other machines: measure on a machine "
            "of your own, or at another time"
        )
    if signs:
        yield Warning("NOISY_NEIGHBOURS", "; ".join(signs))


def _waited(run: Run) -> float:
    """The measuring thread's time in the queue for a CPU, over that and its time on one.

    Neither counts while it sleeps: between paced inferences, or while it is another's turn.
    """
    waited = _rise(run, lambda reading: reading.cpu_wait_ns)
    wanted = waited + _rise(run, lambda reading: reading.thread_cpu_ns)
    return waited / wanted if wanted else 0.0


def _rise(run: Run, counter: Callable[[Reading], int | None]) -> int:
    """By how much a counter rose within the launches that count."""
    rise = 0
    for launch in _counted(run):
        marks = [mark for reading in launch.readings if (mark := counter(reading)) is not None]
        rise += marks[-1] - marks[0] if marks else 0
    return rise


def _wall_ns(launch: Launch) -> int:
    return launch.readings[-1].time_ns - launch.readings[0].time_ns if launch.readings else 0


def _bimodal(run: Run) -> Iterator[Warning]:
    """Most launches gather in two places: in a single one, or over all, something else may."""
    launches = _counted(run)
    found = [modes.two(units.samples_ns(launch).astype(np.int64)) for launch in launches]
    sure = [one for one in found if one is not None]
    if run.sustained is None and 2 * len(sure) > len(found):
        low, high, share = (
            float(np.median([getattr(one, name) for one in sure]))
            for name in ("low", "high", "share")
        )
        yield Warning(
            "BIMODAL",
            f"latencies gather about two values, {100 * (1 - share):.0f} % about {low / 1e6:.3g} ms and "
            f"{100 * share:.0f} % about {high / 1e6:.3g} ms, so a percentile may jump from one to the other: "
            "fast and slow cores, a clock that switches, or other work; fix the clock, use fewer --threads, "
            "or compare the whole distribution",
        )


def _governor(run: Run) -> Iterator[Warning]:
    governor = run.state.governor
    if governor in _SLOW_GOVERNORS:
        yield Warning(
            "GOVERNOR",
            f"the governor '{plain(governor)}' moves the clock while the model runs; on the device, until it "
            "boots again: echo performance | sudo tee "
            "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor",
        )


def _tainted(run: Run) -> Iterator[Warning]:
    tainted = [launch.tainted for launch in run.launches if launch.tainted is not None]
    if not tainted:
        return
    left = "the figures are those of the others"
    if len(tainted) == len(run.launches):
        left = "none counts, so the figures are those of all"
    yield Warning(
        "TAINTED",
        f"{len(tainted)} of {len(run.launches)} launches do not count, and {left}: "
        f"{plain(validity.reasons(tainted))}; cool the device, check its power supply, stop other work, or "
        "wait for it with --cooldown-below",
    )
    if validity.mostly_tainted(run.launches):
        yield Warning(
            "INVALID",
            "more launches were disturbed than not, so these figures decide nothing: a gate calls this run "
            "not measurable; see TAINTED, and measure again",
        )


def _not_ready(run: Run) -> Iterator[Warning]:
    """Nothing taints a sustained run, but how it ends is told by how it began."""
    code = run.launches[0].start_warning
    if run.sustained is not None and code is not None:
        yield Warning(
            "INVALID",
            f"{validity.NOT_READY[code]}, so its first minute is not what the last should be held against: "
            f"a gate calls this run not measurable; see {code}, and measure again",
        )


def _throttled(run: Run) -> Iterator[Warning]:
    if run.state.throttled:
        yield Warning(
            "THROTTLED",
            "the device throttled its clock during the run, so these latencies are too long; cool it, "
            "check its power supply, and push again",
        )


def _emulated(run: Run) -> Iterator[Warning]:
    if run.device.emulated:
        yield Warning(
            "EMULATED",
            "this device is emulated: outputs and memory hold, latencies say nothing about a real board",
        )


def _overhead(run: Run) -> Iterator[Warning]:
    overhead_ms = (run.harness_overhead_us or 0.0) / 1000
    if run.latency_ms.p50 and overhead_ms > _OVERHEAD * run.latency_ms.p50:
        yield Warning(
            "HARNESS_OVERHEAD",
            f"{run.harness_overhead_us:.2g} µs of each latency is the harness's own; for so small a model, "
            "compare only figures of this device",
        )


_FINDINGS = (
    _tainted,
    _not_ready,
    _few_samples,
    _oversubscribed,
    load.overloaded,
    _noisy,
    _neighbours,
    _bimodal,
    _governor,
    _throttled,
    _emulated,
    _overhead,
)
