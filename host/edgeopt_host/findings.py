"""Warnings about a run: what makes its figures less than they seem, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgeopt_host.run import Run, Warning  # noqa: A004 - the document's name for it

# docs/concepts/measurement.md tells where these come from.
_FEW_SAMPLES = 93  # the fewest from which a 95 % bound on p95 exists (binomial)
_NOISY_SPREAD = 0.05
_NOISY_WAIT = 0.05
_OVERHEAD = 0.05


def warnings(run: Run) -> list[Warning]:
    """All that apply to a run that was measured."""
    found = (_few_samples, _oversubscribed, _noisy, _throttled, _emulated, _overhead)
    return [warning for finding in found for warning in finding(run)]


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
    medians = np.array([np.median(b.latency_ns) for launch in run.launches for b in launch.blocks])
    middle = np.median(medians)
    # 1.4826: from a median absolute deviation to a standard deviation.
    spread = float(1.4826 * np.median(np.abs(medians - middle)) / middle)
    wait = _cpu_wait_share(run)
    signs = []
    if spread > _NOISY_SPREAD:
        signs.append(f"the median varies by {100 * spread:.0f} % from block to block")
    if wait > _NOISY_WAIT:
        signs.append(f"the measuring thread waited {100 * wait:.0f} % of its time for a CPU")
    if signs:
        yield Warning(
            "NOISY",
            f"{' and '.join(signs)}: other work disturbs this device; stop it, or use fewer --threads or "
            "more --launches",
        )


def _cpu_wait_share(run: Run) -> float:
    waited = timed = 0
    for launch in run.launches:
        marks = [
            reading.cpu_wait_ns for reading in launch.readings if reading.cpu_wait_ns is not None
        ]
        if marks:
            waited += marks[-1] - marks[0]
            timed += launch.timed_ns
    return waited / timed if timed else 0.0


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
