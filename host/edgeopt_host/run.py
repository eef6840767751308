"""A run: one model measured on one device, as `push --format json` shows it and the store keeps it.

The classes mirror the document `edgeopt.push/1` of docs/reference/push-json.md: a field here is a
key there, and None is null. Times are milliseconds where a name ends in `_ms`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SCHEMA = "edgeopt.push/1"

Nanoseconds = np.ndarray[Any, np.dtype[np.int64]]


@dataclass
class File:
    name: str
    sha256: str
    size_bytes: int


@dataclass
class Model:
    name: str
    sha256: str
    size_bytes: int
    # "tflite", "onnx" or "ptl", a plug-in runtime's name, or None for a file that is no model.
    format: str | None
    # The main file first, then its companions (ONNX external data).
    files: list[File] = field(default_factory=list)


@dataclass
class Device:
    name: str
    board: str | None = None
    cpu: str | None = None
    architecture: str | None = None
    cores: int | None = None
    usable_cores: int | None = None
    memory_bytes: int | None = None
    os: str | None = None
    kernel: str | None = None
    python: str | None = None
    agent_version: str | None = None
    emulated: bool | None = None


@dataclass
class RuntimeUsed:
    name: str
    implementation: str | None = None
    version: str | None = None
    threads: int | None = None
    requested_provider: str | None = None
    actual_provider: str | None = None
    delegated_share: float | None = None
    partitions: int | None = None
    quantized_engine: str | None = None


@dataclass
class Tensor:
    name: str
    shape: list[int]
    dtype: str


@dataclass
class Shape:
    """The load's shape: runs of differing shapes are never compared."""

    batch: int = 1
    streams: int = 1
    # Inferences due per second and stream; None: back to back.
    rate_hz: float | None = None
    # Of a paced run: inferences that ended after the next was due, 0 to 1.
    missed_deadlines: float | None = None
    inputs: list[Tensor] = field(default_factory=list)


@dataclass
class Latency:
    """Percentiles by numpy's linear method over all launches; stddev with ddof 1."""

    count: int | None = None
    launches: int | None = None
    min: float | None = None
    mean: float | None = None
    stddev: float | None = None
    p50: float | None = None
    p50_ci95: list[float] | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


@dataclass
class Memory:
    peak_rss_bytes: int | None = None
    runtime_rss_bytes: int | None = None
    model_rss_bytes: int | None = None
    # With several streams: what one more takes, and how many fit into the device.
    per_stream_bytes: int | None = None
    streams_that_fit: int | None = None


@dataclass
class Energy:
    """`status` is "measured", "unavailable" (with the reason) or "not_requested"."""

    status: str = "not_requested"
    reason: str | None = None
    per_inference_mj: float | None = None
    ci95: list[float] | None = None
    # Channels that were added up.
    source: str | None = None
    # Samples per second that the source really gave.
    rate_hz: float | None = None
    # With what the device draws idle; `per_inference_mj` is without.
    total_per_inference_mj: float | None = None
    idle_mw: float | None = None
    # Whether its values are means; else each tells the power of a moment.
    averaged: bool | None = None
    # The sensor's systematic error, relative; None: unknown. Not in the interval.
    gain_error: float | None = None
    windows: int | None = None
    window_s: float | None = None


@dataclass
class Temperature:
    """Of the hottest channel."""

    start: float | None = None
    max: float | None = None
    end: float | None = None


@dataclass
class State:
    temperature_c: Temperature = field(default_factory=Temperature)
    throttled: bool | None = None
    # By channel: the mean over all readings.
    clock_mhz: dict[str, float] | None = None
    governor: str | None = None


@dataclass
class Paired:
    """Where a run stands in a benchmark of several subjects, measured in turns."""

    # Runs of one benchmark have the same.
    benchmark: str
    # The subject's index, from 0.
    subject: int
    # Ids of all runs of the benchmark, in the order of the subjects.
    runs: list[str]


@dataclass
class Operator:
    name: str
    type: str
    mean_us: float
    calls: int
    provider: str | None = None


@dataclass
class Warning:  # noqa: A001 - the document's name for it
    code: str
    message: str


@dataclass
class Failure:
    reason: str
    message: str


@dataclass
class Block:
    """Consecutive inferences of one launch."""

    # CLOCK_MONOTONIC of the device.
    start_ns: int
    latency_ns: Nanoseconds  # int64 (n,); with several streams one stream after the other
    # From its start to its end. 0: not told (an agent of the first release).
    duration_ns: int = 0
    # CPU time of the whole process meanwhile.
    cpu_ns: int = 0
    # Blocks of different subjects of one launch with the same round were measured together.
    round: int = 0
    # Samples of each stream; empty with one.
    stream_samples: list[int] = field(default_factory=list)


@dataclass
class Reading:
    """Device state at one moment: "start", "between_blocks" or "end"."""

    moment: str
    time_ns: int
    values: dict[str, float]  # by channel
    cpu_wait_ns: int | None = None
    thread_cpu_ns: int | None = None
    # CPU time of a fixed piece of work, where it was timed at this moment.
    canary_ns: int | None = None
    # Processes that were running or wanted to; time that the hypervisor gave to others.
    runnable: int | None = None
    steal_ns: int | None = None


@dataclass
class Launch:
    """One process on the device: everything it reported. Memory is None where its kernel is silent."""

    load_ns: int
    first_inference_ns: int
    warmup_inferences: int
    harness_overhead_ns: int
    timed_ns: int
    peak_rss_bytes: int | None
    runtime_rss_bytes: int | None
    # The peak's share above the runtime's.
    model_rss_bytes: int | None
    anonymous_bytes: int | None
    file_bytes: int | None
    blocks: list[Block]
    readings: list[Reading]
    # Its number in the benchmark: what several subjects have in common was measured in turns.
    number: int = 0
    # Why its figures do not count (throttling, a slower canary); None: they do.
    tainted: str | None = None
    # Code of the device's warning that it began though its start condition did not hold. Not stored:
    # `tainted` says it.
    start_warning: str | None = None
    # Resident memory after one, two, … streams were loaded and had executed an inference.
    stream_rss_bytes: list[int] = field(default_factory=list)


# The fields of Launch that are one number each.
LAUNCH_FIGURES = (
    "load_ns",
    "first_inference_ns",
    "warmup_inferences",
    "harness_overhead_ns",
    "timed_ns",
    "peak_rss_bytes",
    "runtime_rss_bytes",
    "model_rss_bytes",
    "anonymous_bytes",
    "file_bytes",
)


@dataclass
class PowerTrace:
    """What was read of power channels in an energy pass, and when the model worked."""

    # CLOCK_MONOTONIC of the device: int64 (n,).
    time_ns: Nanoseconds
    # By channel: float64 (n,), mW or, of energy counters, mJ; NaN where it could not be read.
    values: dict[str, np.ndarray[Any, np.dtype[np.float64]]]
    # [start, end, inferences] of each window.
    windows: list[list[int]]


# What figures were computed from, and how to read it.
_NOT_IN_DOCUMENT = ("launches", "power", "channel_facts", "correct", "channels")


@dataclass
class Run:
    # None until it is stored: what never began on a device is not.
    id: str | None
    # ISO 8601 in UTC, with seconds.
    time: str
    command: str
    model: Model
    device: Device
    runtime: RuntimeUsed
    labels: dict[str, str] = field(default_factory=dict)
    shape: Shape = field(default_factory=Shape)
    latency_ms: Latency = field(default_factory=Latency)
    throughput_per_s: float | None = None
    throughput_ci95: list[float] | None = None
    load_ms: float | None = None
    first_inference_ms: float | None = None
    harness_overhead_us: float | None = None
    memory: Memory = field(default_factory=Memory)
    energy: Energy = field(default_factory=Energy)
    state: State = field(default_factory=State)
    accuracy: dict[str, Any] | None = None
    # Latency, temperature and clock over a sustained run, and last minute over first.
    sustained: dict[str, Any] | None = None
    paired: Paired | None = None
    profile: list[Operator] | None = None
    warnings: list[Warning] = field(default_factory=list)
    error: Failure | None = None
    # What was asked: docs/reference/push-json.md has its keys.
    request: dict[str, Any] | None = None
    # What the figures above were computed from: not part of the document.
    launches: list[Launch] = field(default_factory=list, repr=False)
    power: PowerTrace | None = field(default=None, repr=False)
    # By power channel: what the trace is to be read by (energy.ChannelFacts).
    channel_facts: dict[str, Any] = field(default_factory=dict, repr=False)
    # Per labelled example, whether the model was right: bool (n,).
    correct: np.ndarray[Any, np.dtype[np.bool_]] | None = field(default=None, repr=False)
    # By channel: the unit-carrying quantity, such as "temperature_celsius".
    channels: dict[str, str] = field(default_factory=dict, repr=False)

    def document(self) -> dict[str, Any]:
        """This run as one entry of the document's `runs`.

        It is strict JSON in valid UTF-8: NaN and the infinities are null, and what is no text in a
        file's name is escaped.
        """
        kept = dataclasses.replace(
            self, launches=[], power=None, channel_facts={}, channels={}, correct=None
        )
        document = dataclasses.asdict(kept)
        for name in _NOT_IN_DOCUMENT:
            del document[name]
        return typing.cast("dict[str, Any]", _strict(document))

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Run:
        """The inverse of `document`. Keys of a later release are left out."""
        return typing.cast("Run", _build(cls, document))


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {_strict(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, np.generic):
        return _strict(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


# Reading the annotations costs more than everything else here.
_hints = functools.cache(typing.get_type_hints)


def _build(kind: Any, value: Any) -> Any:
    """Makes dataclasses of nested dicts, following the annotations."""
    arguments = [a for a in typing.get_args(kind) if a is not type(None)]
    if value is None or not (arguments or dataclasses.is_dataclass(kind)):
        return value
    if typing.get_origin(kind) is list:
        return [_build(arguments[0], item) for item in value]
    if not isinstance(kind, type) or not dataclasses.is_dataclass(kind):
        return _build(arguments[0], value) if len(arguments) == 1 else value
    hints = _hints(kind)
    known = [f.name for f in dataclasses.fields(kind) if f.name in value]
    return kind(**{name: _build(hints[name], value[name]) for name in known})
