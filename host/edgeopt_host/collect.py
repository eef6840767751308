"""From the events of a benchmark to a run."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from edgeopt.agent.v1 import benchmark_pb2, blob_pb2, device_pb2
from edgeopt_host import findings
from edgeopt_host.run import (
    Block,
    Device,
    Failure,
    Launch,
    Memory,
    Operator,
    Reading,
    Run,
    State,
    Temperature,
    Tensor,
    Warning,  # noqa: A004 - the document's name for it
)
from edgeopt_host.stats import latency

_Moment = benchmark_pb2.StateReading.Moment
_Quantity = device_pb2.SensorChannel.Quantity


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
    """Sorts events; a launch counts once its result has come."""
    collected = Collected()
    blocks: defaultdict[int, list[Block]] = defaultdict(list)
    readings: defaultdict[int, list[Reading]] = defaultdict(list)
    for event in events:
        kind = event.WhichOneof("event")
        if kind == "samples":
            blocks[event.launch].extend(
                Block(block.start_time_ns, np.array(block.latency_ns, np.int64))
                for block in event.samples.blocks
            )
        elif kind == "state":
            readings[event.launch].extend(map(_reading, event.state.readings))
        elif kind == "result":
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
        elif kind == "benchmark" and event.benchmark.failure.reason:
            failure = event.benchmark.failure
            collected.failure = Failure(failure.reason, failure.message)
    return collected


def fill(run: Run, collected: Collected, facts: device_pb2.Device) -> None:
    """Completes a run by what was collected on a device of these facts."""
    run.launches = collected.launches
    run.error = collected.failure
    run.channels = {
        channel.name: _Quantity.Name(channel.quantity).removeprefix("QUANTITY_").lower()
        for sensor in facts.sensors
        for channel in sensor.channels
    }
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
    run.state = _state(run, facts)
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
    run.throughput_per_s = (run.latency_ms.count or 0) * run.shape.batch / timed_s
    run.load_ms = float(np.median([launch.load_ns for launch in launches])) / 1e6
    run.first_inference_ms = (
        float(np.median([launch.first_inference_ns for launch in launches])) / 1e6
    )
    run.harness_overhead_us = (
        float(np.median([launch.harness_overhead_ns for launch in launches])) / 1e3
    )
    # Zero is what an agent says whose kernel tells nothing.
    run.memory = Memory(
        peak_rss_bytes=max(launch.peak_rss_bytes for launch in launches) or None,
        runtime_rss_bytes=max(launch.runtime_rss_bytes for launch in launches) or None,
        model_rss_bytes=max(launch.model_rss_bytes for launch in launches) or None,
    )


def _state(run: Run, facts: device_pb2.Device) -> State:
    governors = [cluster.governor for cluster in facts.cpu.clusters if cluster.governor]
    state = State(governor=governors[0] if governors else None)
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
    state.throttled = _throttled(by_quantity["throttle_flags"], by_quantity["throttle_count"])
    return state


def _throttled(flags: list[dict[str, float]], counts: list[dict[str, float]]) -> bool | None:
    """Whether anything throttled during the run; None where the device cannot tell."""
    if not (flags or counts):
        return None
    now = [v for values in flags for name, v in values.items() if not name.endswith("-sticky")]
    # What has throttled since the kernel last looked: new bits are this run's.
    sticky = [v for values in flags for name, v in values.items() if name.endswith("-sticky")]
    newly = bool(sticky) and int(sticky[-1]) & ~int(sticky[0]) != 0
    counted = bool(counts) and any(counts[-1][name] > counts[0].get(name, 0) for name in counts[-1])
    return any(now) or newly or counted


def _launch(
    result: benchmark_pb2.LaunchResult, blocks: list[Block], readings: list[Reading]
) -> Launch:
    return Launch(
        load_ns=result.load_ns,
        first_inference_ns=result.first_inference_ns,
        warmup_inferences=result.warmup_inferences,
        harness_overhead_ns=result.harness_overhead_ns,
        timed_ns=result.timed_ns,
        peak_rss_bytes=result.memory.peak_rss_bytes,
        runtime_rss_bytes=result.memory.runtime_rss_bytes,
        model_rss_bytes=result.memory.model_rss_bytes,
        anonymous_bytes=result.memory.anonymous_bytes,
        file_bytes=result.memory.file_bytes,
        blocks=blocks,
        readings=readings,
    )


def _reading(state: benchmark_pb2.StateReading) -> Reading:
    return Reading(
        moment=_Moment.Name(state.moment).removeprefix("MOMENT_").lower(),
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
