"""From the events of a benchmark to a run."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from edgeopt.agent.v1 import benchmark_pb2, blob_pb2, device_pb2
from edgeopt_host import _enums, findings
from edgeopt_host._states import ENDED_BADLY
from edgeopt_host.run import (
    Block,
    Device,
    Failure,
    Launch,
    Memory,
    Operator,
    Reading,
    Run,
    Temperature,
    Tensor,
    Warning,  # noqa: A004 - the document's name for it
)
from edgeopt_host.stats import latency

_Moment = benchmark_pb2.StateReading.Moment
_Quantity = device_pb2.SensorChannel.Quantity

_INTERRUPTED = Warning(
    "INTERRUPTED",
    "the agent or its device restarted in the middle; these figures are from the second attempt",
)


@dataclass
class Collected:
    """What a benchmark's events held, sorted."""

    launches: list[Launch] = field(default_factory=list)
    execution: benchmark_pb2.Execution | None = None
    profile: benchmark_pb2.Profile | None = None
    outputs: blob_pb2.Digest | None = None
    warnings: list[Warning] = field(default_factory=list)
    failure: Failure | None = None


def collect(events: Iterable[benchmark_pb2.BenchmarkEvent]) -> Collected:
    """Sorts events; a launch counts once its result and samples have come.

    Of a benchmark that was interrupted and run again, the last attempt counts. Events of kinds that
    a newer agent has are left out.
    """
    collected = Collected()
    blocks: defaultdict[int, list[Block]] = defaultdict(list)
    readings: defaultdict[int, list[Reading]] = defaultdict(list)
    attempt, running = 1, False
    for event in events:
        kind = event.WhichOneof("event")
        if kind == "benchmark":
            queued = event.benchmark.state == benchmark_pb2.Benchmark.STATE_QUEUED
            if event.benchmark.attempt > attempt or (queued and running):
                collected = Collected(warnings=[_INTERRUPTED])
                blocks.clear()
                readings.clear()
            attempt = max(attempt, event.benchmark.attempt)
            running = event.benchmark.state == benchmark_pb2.Benchmark.STATE_RUNNING
            if event.benchmark.state in ENDED_BADLY:
                failure = event.benchmark.failure
                collected.failure = Failure(
                    failure.reason or "DEVICE", failure.message or "the agent gave no reason"
                )
        else:
            _sort(event, kind, collected, blocks, readings)
    return collected


def _sort(
    event: benchmark_pb2.BenchmarkEvent,
    kind: str | None,
    collected: Collected,
    blocks: defaultdict[int, list[Block]],
    readings: defaultdict[int, list[Reading]],
) -> None:
    if kind == "samples":
        blocks[event.launch].extend(
            Block(block.start_time_ns, np.array(block.latency_ns, np.int64))
            for block in event.samples.blocks
            if block.latency_ns
        )
    elif kind == "state":
        readings[event.launch].extend(map(_reading, event.state.readings))
    elif kind == "result" and blocks[event.launch]:
        collected.launches.append(
            _launch(event.result, blocks[event.launch], readings[event.launch])
        )
    elif kind == "execution" and collected.execution is None:
        collected.execution = event.execution
    elif kind == "profile":
        collected.profile = event.profile
    elif kind == "outputs":
        _outputs(event.outputs, collected)
    elif kind == "warning":
        _add_once(collected.warnings, Warning(event.warning.code, event.warning.message))


def describe(run: Run, facts: device_pb2.Device) -> None:
    """Puts into a run what there is to know of its device before it begins."""
    run.device = device(run.device.name, facts)
    run.channels = {
        channel.name: _enums.name(_Quantity, channel.quantity, "QUANTITY_")
        for sensor in facts.sensors
        for channel in sensor.channels
    }
    governors = [cluster.governor for cluster in facts.cpu.clusters if cluster.governor]
    run.state.governor = governors[0] if governors else None


def fill(run: Run, collected: Collected) -> None:
    """Completes a run, whose device has been described, by what was collected there."""
    run.launches = collected.launches
    run.error = collected.failure
    if run.error is None and not run.launches:
        message = (
            "the benchmark ended without an error and without any figures; update edgeopt there"
        )
        run.error = Failure("NO_RESULT", message)
    if collected.execution is not None:
        _fill_execution(run, collected.execution)
    if collected.profile is not None:
        run.profile = [
            Operator(o.name, o.type, o.duration_ns / 1000, o.calls, o.provider or None)
            for o in collected.profile.operators
        ]
        if reason := collected.profile.unavailable_reason:
            run.profile = None
            collected.warnings.append(Warning("NO_PROFILE", f"no time per operator: {reason}"))
    _fill_state(run)
    if run.launches:
        _fill_figures(run)
        collected.warnings.extend(findings.warnings(run))
    run.warnings = collected.warnings


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
    launches = run.launches
    run.latency_ms = latency.summarize(launches)
    timed_s = sum(launch.timed_ns for launch in launches) / 1e9
    if timed_s > 0:
        run.throughput_per_s = (run.latency_ms.count or 0) * run.shape.batch / timed_s
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
    )


def _most(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


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
    told = False
    for launch in run.launches:
        by_channel: defaultdict[str, list[int]] = defaultdict(list)
        for reading in launch.readings:
            for channel, value in reading.values.items():
                by_channel[channel].append(int(value))
        for channel, values in by_channel.items():
            quantity = run.channels.get(channel)
            told = told or quantity in {"throttle_flags", "throttle_count"}
            if quantity == "throttle_count":
                # It counts since the device was started.
                throttled = values[-1] > values[0]
            elif quantity == "throttle_flags" and channel.endswith("-sticky"):
                # Set since the kernel last cleared them, which it does at any time: what appears
                # from one reading to the next is this launch's.
                throttled = any(now & ~before for before, now in pairwise(values))
            else:
                throttled = quantity == "throttle_flags" and any(values)
            if throttled:
                return True
    return False if told else None


def _launch(
    result: benchmark_pb2.LaunchResult, blocks: list[Block], readings: list[Reading]
) -> Launch:
    memory = result.memory
    peak, runtime = _told(memory, "peak_rss_bytes"), _told(memory, "runtime_rss_bytes")
    return Launch(
        load_ns=result.load_ns,
        first_inference_ns=result.first_inference_ns,
        warmup_inferences=result.warmup_inferences,
        harness_overhead_ns=result.harness_overhead_ns,
        timed_ns=result.timed_ns,
        peak_rss_bytes=peak,
        runtime_rss_bytes=runtime,
        # The mark may lie below the runtime's where the kernel lets go of pages.
        model_rss_bytes=None if peak is None or runtime is None else max(0, peak - runtime),
        anonymous_bytes=_told(memory, "anonymous_bytes"),
        file_bytes=_told(memory, "file_bytes"),
        blocks=blocks,
        readings=readings,
    )


def _told(memory: benchmark_pb2.MemoryReading, name: str) -> int | None:
    return getattr(memory, name) if memory.HasField(name) else None


def _reading(state: benchmark_pb2.StateReading) -> Reading:
    return Reading(
        moment=_enums.name(_Moment, state.moment, "MOMENT_"),
        time_ns=state.sensors.time_ns,
        # A plug-in's sensor may say NaN for a channel it could not read this time.
        values={v.channel: v.value for v in state.sensors.values if math.isfinite(v.value)},
        cpu_wait_ns=state.cpu_wait_ns if state.HasField("cpu_wait_ns") else None,
        thread_cpu_ns=state.thread_cpu_ns,
    )


def _outputs(outputs: benchmark_pb2.Outputs, collected: Collected) -> None:
    if outputs.HasField("file"):
        collected.outputs = outputs.file
    if outputs.left_out:
        names = ", ".join(f"'{name}'" for name in outputs.left_out)
        message = f"{names}: sequences and maps are no tensors, so the outputs file leaves them out"
        _add_once(collected.warnings, Warning("OUTPUT_LEFT_OUT", message))


def _add_once(warnings: list[Warning], warning: Warning) -> None:
    if warning not in warnings:
        warnings.append(warning)
