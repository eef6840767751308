"""Completes a run: from what a device told of itself and of a subject to the run's figures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from edgeopt.agent.v1 import benchmark_pb2, device_pb2
from edgeopt_host import _enums, energy, findings, validity
from edgeopt_host.collect import Collected
from edgeopt_host.run import (
    Device,
    Energy,
    Failure,
    Launch,
    Memory,
    Operator,
    Run,
    Temperature,
    Tensor,
    Warning,  # noqa: A004 - the document's name for it
)
from edgeopt_host.stats import latency, load

_Quantity = device_pb2.SensorChannel.Quantity


def describe(run: Run, facts: device_pb2.Device) -> None:
    """Puts into a run what there is to know of its device before it begins."""
    run.device = device(run.device.name, facts)
    run.channel_facts = energy.from_device(facts)
    run.channels = {
        channel.name: _enums.name(_Quantity, channel.quantity, "QUANTITY_")
        for sensor in facts.sensors
        for channel in sensor.channels
    }
    governors = [cluster.governor for cluster in facts.cpu.clusters if cluster.governor]
    run.state.governor = governors[0] if governors else None


def fill(runs: Sequence[Run], collected: Sequence[Collected]) -> None:
    """Completes the runs of a benchmark, whose device has been described, by what was collected.

    Figures are those of the launches that count; when none does, of all, and a warning says so.
    """
    mark(runs, collected)
    for run, found in zip(runs, collected, strict=True):
        _fill(run, found)


def mark(runs: Sequence[Run], collected: Sequence[Collected]) -> None:
    """Puts into runs what can be told in milliseconds, while their device waits for an answer.

    That is `launches`, those marked that do not count, `runtime`, `state`, the inputs of `shape`, and
    the device's own `warnings`; no figure that is computed from launches.
    """
    for run, found in zip(runs, collected, strict=True):
        run.launches = found.launches
        run.warnings = list(found.warnings)
        if found.execution is not None:
            _fill_execution(run, found.execution)
    _mark_tainted(runs)
    for run in runs:
        _fill_state(run)


def counting(launches: Sequence[Launch]) -> list[Launch]:
    """The launches that count; all of them when none does."""
    return [launch for launch in launches if launch.tainted is None] or list(launches)


def _mark_tainted(runs: Sequence[Run]) -> None:
    """What taints a launch of one subject taints its partners: they are compared.

    In a sustained run, throttling is what is measured.
    """
    if _is_sustained(runs[0]):
        return
    by_number: defaultdict[int, list[Launch]] = defaultdict(list)
    for run in runs:
        for launch in run.launches:
            by_number[launch.number].append(launch)
    for together in by_number.values():
        why = validity.taint(together, runs[0].channels)
        for launch in together:
            launch.tainted = why


def _fill(run: Run, collected: Collected) -> None:
    run.error = collected.failure
    if run.error is None and not run.launches:
        message = (
            "the benchmark ended without an error and without any figures; update edgeopt there"
        )
        run.error = Failure("NO_RESULT", message)
    if collected.profile is not None:
        run.profile = [
            Operator(o.name, o.type, o.duration_ns / 1000, o.calls, o.provider or None)
            for o in collected.profile.operators
        ]
        if reason := collected.profile.unavailable_reason:
            run.profile = None
            run.warnings.append(Warning("NO_PROFILE", f"no time per operator: {reason}"))
    _fill_energy(run, collected)
    if run.launches:
        _fill_figures(run)
        run.warnings.extend(findings.warnings(run))


def device(name: str, facts: device_pb2.Device) -> Device:
    """A device as a run's document shows it."""
    return Device(
        name=name,
        board=facts.board.model or None,
        cpu=facts.cpu.model or None,
        architecture=facts.cpu.architecture or None,
        cores=facts.cpu.logical_cores or None,
        usable_cores=facts.cpu.usable_cores or None,
        memory_bytes=facts.memory.limit_bytes or facts.memory.total_bytes or None,
        os=facts.os.name or None,
        kernel=facts.os.kernel or None,
        python=facts.os.python or None,
        agent_version=facts.agent_version or None,
        emulated=facts.emulated,
    )


def _fill_execution(run: Run, execution: benchmark_pb2.Execution) -> None:
    used = run.runtime
    used.implementation = execution.implementation
    used.version = execution.version
    used.threads = execution.threads
    used.requested_provider = execution.requested_provider or None
    used.actual_provider = execution.actual_provider or None
    if execution.HasField("delegated_share"):
        used.delegated_share = execution.delegated_share
    if execution.HasField("partitions"):
        used.partitions = execution.partitions
    used.quantized_engine = execution.quantized_engine or None
    run.shape.inputs = [Tensor(t.name, list(t.dimensions), t.dtype) for t in execution.inputs]


def _fill_figures(run: Run) -> None:
    launches = counting(run.launches)
    run.latency_ms = latency.summarize(launches)
    load.fill(run, launches)
    if _is_sustained(run):
        from edgeopt_host.stats import sustained

        run.sustained = sustained.sustained(launches[0], run.channels)
    run.load_ms = float(np.median([launch.load_ns for launch in launches])) / 1e6
    run.first_inference_ms = (
        float(np.median([launch.first_inference_ns for launch in launches])) / 1e6
    )
    run.harness_overhead_us = (
        float(np.median([launch.harness_overhead_ns for launch in launches])) / 1e3
    )
    run.memory = Memory(
        peak_rss_bytes=_most(launch.peak_rss_bytes for launch in launches),
        runtime_rss_bytes=_most(launch.runtime_rss_bytes for launch in launches),
        model_rss_bytes=_most(launch.model_rss_bytes for launch in launches),
        per_stream_bytes=run.memory.per_stream_bytes,
        streams_that_fit=run.memory.streams_that_fit,
    )


def _is_sustained(run: Run) -> bool:
    return bool(((run.request or {}).get("plan") or {}).get("filler_s"))


def _most(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _fill_energy(run: Run, collected: Collected) -> None:
    run.power = collected.power
    if run.power is not None:
        asked = ((run.request or {}).get("plan") or {}).get("energy") or {}
        named = asked.get("channels") or ()
        run.energy = energy.measure(run.power, run.channel_facts, named=named)
    elif collected.power_unavailable is not None:
        run.energy = Energy("unavailable", collected.power_unavailable)


def _fill_state(run: Run) -> None:
    state = run.state
    readings = [reading for launch in run.launches for reading in launch.readings]
    by_quantity: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
    for reading in readings:
        split: defaultdict[str, dict[str, float]] = defaultdict(dict)
        for channel, value in reading.values.items():
            split[run.channels.get(channel, "")][channel] = value
        for quantity, values in split.items():
            by_quantity[quantity].append(values)
    if hottest := [max(values.values()) for values in by_quantity["temperature_celsius"]]:
        state.temperature_c = Temperature(hottest[0], max(hottest), hottest[-1])
    if clocks := by_quantity["clock_hz"]:
        names = {name for values in clocks for name in values}
        state.clock_mhz = {
            name: float(np.mean([values[name] for values in clocks if name in values])) / 1e6
            for name in sorted(names)
        }
    state.throttled = _throttled(run)


def _throttled(run: Run) -> bool | None:
    """Whether anything throttled during the run; None where the device cannot tell."""
    told = [validity.throttled(launch.readings, run.channels) for launch in run.launches]
    return True if True in told else next((one for one in told if one is not None), None)
