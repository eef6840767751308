"""From the events of a benchmark to what its subjects gave."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgeopt.agent.v1 import benchmark_pb2, blob_pb2
from edgeopt_host import _enums, validity
from edgeopt_host._states import ENDED_BADLY
from edgeopt_host.errors import partner_failed
from edgeopt_host.run import (
    Block,
    Failure,
    Launch,
    PowerTrace,
    Reading,
    Warning,  # noqa: A004 - the document's name for it
)

_Moment = benchmark_pb2.StateReading.Moment

_INTERRUPTED = Warning(
    "INTERRUPTED",
    "the agent or its device restarted in the middle; these figures are from the second attempt",
)


@dataclass
class Collected:
    """What a benchmark's events held of one subject, sorted."""

    launches: list[Launch] = field(default_factory=list)
    execution: benchmark_pb2.Execution | None = None
    profile: benchmark_pb2.Profile | None = None
    outputs: blob_pb2.Digest | None = None
    predictions: benchmark_pb2.Predictions | None = None
    power: PowerTrace | None = None
    # Why there is no power trace.
    power_unavailable: str | None = None
    warnings: list[Warning] = field(default_factory=list)
    failure: Failure | None = None


class Collector:
    """Takes the events of a benchmark as they come.

    Of a benchmark that was interrupted and run again, the last attempt counts. Events of kinds that
    a newer agent has are left out.
    """

    def __init__(self, subjects: int = 1) -> None:
        self._sorters = [_Sorter() for _ in range(subjects)]
        # By launch, the code of the warning that its start condition did not hold.
        self._not_ready: dict[int, str] = {}
        self._attempt = 1
        self._running = False
        self._failure: benchmark_pb2.Failure | None = None

    def add(self, event: benchmark_pb2.BenchmarkEvent) -> None:
        """Sorts an event; a launch counts once its result and samples have come."""
        if event.HasField("benchmark"):
            self._note_state(event.benchmark)
        elif 0 <= event.subject < len(self._sorters):
            self._sorters[event.subject].sort(event)
            if event.HasField("warning") and event.warning.code in validity.NOT_READY:
                self._not_ready[event.launch] = event.warning.code

    def collected(self) -> list[Collected]:
        """What has come so far, of each subject."""
        collected = [sorter.collected() for sorter in self._sorters]
        # All subjects of a launch began after the same wait.
        for launch in [launch for one in collected for launch in one.launches]:
            launch.start_warning = self._not_ready.get(launch.number)
        if self._failure is not None:
            _blame(self._failure, collected)
        return collected

    def _note_state(self, benchmark: benchmark_pb2.Benchmark) -> None:
        queued = benchmark.state == benchmark_pb2.Benchmark.STATE_QUEUED
        if benchmark.attempt > self._attempt or (queued and self._running):
            self._sorters = [_Sorter(interrupted=True) for _ in self._sorters]
            self._not_ready = {}
        self._attempt = max(self._attempt, benchmark.attempt)
        self._running = benchmark.state == benchmark_pb2.Benchmark.STATE_RUNNING
        if benchmark.state in ENDED_BADLY:
            self._failure = benchmark.failure


def collect(events: Iterable[benchmark_pb2.BenchmarkEvent], subjects: int = 1) -> list[Collected]:
    """Sorts all events of a benchmark by subject."""
    collector = Collector(subjects)
    for event in events:
        collector.add(event)
    return collector.collected()


def _blame(failure: benchmark_pb2.Failure, collected: Sequence[Collected]) -> None:
    """A benchmark that failed gives no subject a figure to rely on; one of them may be why."""
    told = Failure(failure.reason or "DEVICE", failure.message or "the agent gave no reason")
    guilty = failure.metadata.get("subject", "")
    for index, one in enumerate(collected):
        one.failure = told
        if guilty.isdecimal() and index != int(guilty):
            partner = partner_failed(told.message)
            one.failure = Failure(partner.reason, partner.message)


class _Sorter:
    """The events of one subject."""

    def __init__(self, *, interrupted: bool = False) -> None:
        self._collected = Collected(warnings=[_INTERRUPTED] if interrupted else [])
        self._blocks: defaultdict[int, list[Block]] = defaultdict(list)
        self._readings: defaultdict[int, list[Reading]] = defaultdict(list)
        self._power = _Power()

    def sort(self, event: benchmark_pb2.BenchmarkEvent) -> None:
        collected, kind = self._collected, event.WhichOneof("event")
        if kind == "samples":
            _add_blocks(self._blocks[event.launch], event.samples)
        elif kind == "state":
            self._readings[event.launch].extend(map(_reading, event.state.readings))
        elif kind == "result" and self._blocks[event.launch]:
            collected.launches.append(
                _launch(
                    event.launch,
                    event.result,
                    self._blocks[event.launch],
                    self._readings[event.launch],
                )
            )
        elif kind == "execution" and collected.execution is None:
            collected.execution = event.execution
        elif kind == "profile":
            collected.profile = event.profile
        elif kind == "predictions":
            collected.predictions = event.predictions
        elif kind == "energy":
            self._power.add(event.energy)
        elif kind == "outputs":
            _outputs(event.outputs, collected)
        elif kind == "warning":
            _add_once(collected.warnings, Warning(event.warning.code, event.warning.message))

    def collected(self) -> Collected:
        found = self._collected
        power, unavailable = self._power.trace()
        return dataclasses.replace(
            found,
            launches=list(found.launches),
            warnings=list(found.warnings),
            power=power,
            power_unavailable=unavailable,
        )


class _Power:
    """An energy pass, which comes in pieces."""

    def __init__(self) -> None:
        self._times: list[int] = []
        self._values: dict[str, list[float]] = {}
        self._windows: list[list[int]] = []
        self._unavailable: str | None = None

    def add(self, readings: benchmark_pb2.EnergyReadings) -> None:
        before = len(self._times)
        self._times.extend(readings.time_ns)
        for channel in readings.channels:
            values = self._values.setdefault(channel.name, [])
            # A channel that one piece did not have.
            values.extend([math.nan] * (before - len(values)))
            values.extend(channel.values)
        self._windows.extend(
            [w.start_time_ns, w.end_time_ns, w.inferences] for w in readings.windows
        )
        self._unavailable = readings.unavailable_reason or self._unavailable

    def trace(self) -> tuple[PowerTrace | None, str | None]:
        """The trace, or why there is none; neither when nobody asked for energy."""
        if self._unavailable or not (self._times and self._windows):
            nothing = "no power was sampled" if self._windows or self._times else None
            return None, self._unavailable or nothing
        count = len(self._times)
        values = {
            name: np.array([*found, *[math.nan] * (count - len(found))][:count], np.float64)
            for name, found in self._values.items()
        }
        return PowerTrace(np.array(self._times, np.int64), values, self._windows), None


def _add_blocks(blocks: list[Block], samples: benchmark_pb2.Samples) -> None:
    for block in samples.blocks:
        if not block.latency_ns:
            continue
        latency_ns = np.array(block.latency_ns, np.int64)
        # One that was too large for a message comes in pieces.
        if blocks and block.duration_ns and blocks[-1].round == block.round:
            last = blocks[-1]
            last.latency_ns = np.concatenate([last.latency_ns, latency_ns])
            continue
        blocks.append(
            Block(
                block.start_time_ns,
                latency_ns,
                block.duration_ns,
                block.cpu_ns,
                block.round,
                list(block.stream_samples),
            )
        )


def _launch(
    number: int,
    result: benchmark_pb2.LaunchResult,
    blocks: list[Block],
    readings: list[Reading],
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
        number=number,
        stream_rss_bytes=list(result.stream_rss_bytes),
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
        canary_ns=state.canary_ns if state.HasField("canary_ns") else None,
        runnable=state.runnable if state.HasField("runnable") else None,
        steal_ns=state.steal_ns if state.HasField("steal_ns") else None,
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
