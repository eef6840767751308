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
    rate_hz: float | None = None
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


@dataclass
class Energy:
    """`status` is "measured", "unavailable" (with the reason) or "not_requested"."""

    status: str = "not_requested"
    reason: str | None = None
    per_inference_mj: float | None = None
    ci95: list[float] | None = None
    source: str | None = None
    rate_hz: float | None = None


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

    start_ns: int
    latency_ns: Nanoseconds  # int64 (n,)


@dataclass
class Reading:
    """Device state at one moment: "start", "between_blocks" or "end"."""

    moment: str
    time_ns: int
    values: dict[str, float]  # by channel
    cpu_wait_ns: int | None = None
    thread_cpu_ns: int | None = None


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


# The fields of Launch that are one number each.
LAUNCH_FIGURES = tuple(
    f.name for f in dataclasses.fields(Launch) if f.name not in {"blocks", "readings"}
)


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
    load_ms: float | None = None
    first_inference_ms: float | None = None
    harness_overhead_us: float | None = None
    memory: Memory = field(default_factory=Memory)
    energy: Energy = field(default_factory=Energy)
    state: State = field(default_factory=State)
    accuracy: dict[str, Any] | None = None
    profile: list[Operator] | None = None
    warnings: list[Warning] = field(default_factory=list)
    error: Failure | None = None
    # What was asked: docs/reference/push-json.md has its keys.
    request: dict[str, Any] | None = None
    # What the figures above were computed from: not part of the document.
    launches: list[Launch] = field(default_factory=list, repr=False)
    # By channel: the unit-carrying quantity, such as "temperature_celsius".
    channels: dict[str, str] = field(default_factory=dict, repr=False)

    def document(self) -> dict[str, Any]:
        """This run as one entry of the document's `runs`.

        It is strict JSON in valid UTF-8: NaN and the infinities are null, and what is no text in a
        file's name is escaped.
        """
        kept = dataclasses.replace(self, launches=[], channels={})
        document = dataclasses.asdict(kept)
        del document["launches"], document["channels"]
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
