"""What is asked of a device: how long to measure, how to execute, what to feed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from edgeopt.agent.v1 import benchmark_pb2

_NS = 1_000_000_000
_ALLOWED_S = 600.0
# What agents take.
_MOST_S = 86400.0


@dataclass(frozen=True)
class StartCondition:
    """What a launch waits for, at most `timeout_s`, before it begins."""

    max_temperature_c: float | None = None
    steady_clock: bool = False
    # Where the device can tell.
    not_throttled: bool = True
    timeout_s: float = 300.0

    def message(self) -> benchmark_pb2.StartCondition:
        return benchmark_pb2.StartCondition(
            max_temperature_celsius=self.max_temperature_c or 0.0,
            steady_clock=self.steady_clock,
            not_throttled=self.not_throttled,
            timeout_ns=round(self.timeout_s * _NS),
        )


@dataclass(frozen=True)
class EnergyPlan:
    """Power is sampled while the device is idle and while the model works, in turns."""

    windows: int = 5
    idle_s: float = 30.0
    work_s: float = 30.0
    # Empty: all power and energy channels of the device.
    channels: Sequence[str] = ()

    def message(self) -> benchmark_pb2.EnergyPlan:
        return benchmark_pb2.EnergyPlan(
            windows=self.windows,
            idle_duration_ns=round(self.idle_s * _NS),
            work_duration_ns=round(self.work_s * _NS),
            channels=self.channels,
        )


@dataclass(frozen=True)
class Plan:
    """Launches, each a fresh process: a warm-up, then a timed part, cut into blocks.

    Durations are seconds. A part ends when both its duration and its count of inferences are
    reached.
    """

    launches: int = 3
    warmup_s: float = 1.0
    duration_s: float = 2.0
    # docs/concepts/measurement.md: fewer hide the memory peak, and a median needs about as many.
    min_inferences: int = 20
    # For the whole benchmark; None: `allowed_s`.
    timeout_s: float | None = None
    # 50 ms or 20 inferences, whichever is longer: long enough to be a unit, short enough to be many.
    block_s: float = 0.05
    block_inferences: int = 20
    # A block ends at the latest after this.
    block_limit_s: float | None = None
    # Inferences before each block whose samples are not kept.
    settle_inferences: int = 0
    # When the agent or its device dies in the middle: measure again, once.
    rerun: bool = True
    # The load's shape: size of the leading dimension, sessions at once, inferences due per second.
    batch: int = 1
    streams: int = 1
    rate_hz: float | None = None
    # Between two timed blocks the model works on for so long.
    filler_s: float = 0.0
    # How often to see whether the device has become slower; 0: never.
    canary_s: float = 10.0
    start: StartCondition | None = None
    # The agent asks after each launch whether to go on.
    looks: bool = False
    order_seed: int = 0
    energy: EnergyPlan | None = None

    def quick(self) -> Plan:
        """One launch, 0.3 s of warm-up, 1 s timed: for a first look, not for a decision."""
        return replace(self, launches=1, warmup_s=0.3, duration_s=1.0)

    def sustained(self, seconds: float) -> Plan:
        """One launch under load that lasts, of which 50 ms in each second are timed."""
        return replace(self, launches=1, duration_s=seconds, block_s=0.05, filler_s=0.95)

    def paced(self, rate_hz: float) -> Plan:
        """Inferences that are due at a rate; a block ends after a second, however few there were."""
        return replace(self, rate_hz=rate_hz, block_limit_s=self.block_limit_s or 1.0)

    @property
    def allowed_s(self) -> float:
        """How long the benchmark may take: ten minutes, or three times what the plan needs."""
        if self.timeout_s is not None:
            return self.timeout_s
        launch_s = self.warmup_s + self.duration_s + (self.start.timeout_s if self.start else 0.0)
        energy = self.energy or EnergyPlan(windows=0)
        energy_s = energy.windows * (energy.work_s + energy.idle_s) + energy.idle_s
        return min(_MOST_S, max(_ALLOWED_S, 3 * (self.launches * launch_s + energy_s)))

    def message(self) -> benchmark_pb2.Plan:
        return benchmark_pb2.Plan(
            launches=self.launches,
            warmup_duration_ns=round(self.warmup_s * _NS),
            warmup_inferences=self.min_inferences,
            duration_ns=round(self.duration_s * _NS),
            inferences=self.min_inferences,
            block_duration_ns=round(self.block_s * _NS),
            block_inferences=self.block_inferences,
            timeout_ns=round(self.allowed_s * _NS),
            rerun=self.rerun,
            block_limit_ns=round((self.block_limit_s or 0) * _NS),
            settle_inferences=self.settle_inferences,
            batch=self.batch if self.batch != 1 else 0,
            streams=self.streams if self.streams != 1 else 0,
            rate_hz=self.rate_hz or 0.0,
            filler_duration_ns=round(self.filler_s * _NS),
            canary_interval_ns=round(self.canary_s * _NS),
            start=None if self.start is None else self.start.message(),
            looks=self.looks,
            order_seed=self.order_seed,
            energy=None if self.energy is None else self.energy.message(),
        )


@dataclass(frozen=True)
class Provider:
    """An execution provider (ONNX), or the path of a delegate's library on the device (TFLite)."""

    name: str
    runtime: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Execution:
    """How a model is executed. None and empty mean the default."""

    runtime: str | None = None  # else by the file's content
    threads: int | None = None  # else one per performance core
    providers: Sequence[Provider] = ()
    xnnpack: bool = True
    graph_optimization: str | None = None
    quantized_engine: str | None = None  # PyTorch: else what the file or the platform asks for


@dataclass(frozen=True)
class InputShape:
    """`--shape NAME=1,3,224,224:float32`."""

    name: str
    dimensions: tuple[int, ...]
    dtype: str | None = None


@dataclass(frozen=True)
class InputRange:
    """Values from `low` to `high`, for one input or, without a name, for all."""

    low: float
    high: float
    name: str | None = None


@dataclass(frozen=True)
class Inputs:
    """What is fed: made from the model's signature, or read from an .npz with one array per input."""

    file: Path | None = None
    dimensions: Mapping[str, int] = field(default_factory=dict)
    shapes: Sequence[InputShape] = ()
    ranges: Sequence[InputRange] = ()

    def message(self) -> benchmark_pb2.InputSource:
        source = benchmark_pb2.InputSource(dimensions=self.dimensions)
        for shape in self.shapes:
            source.shapes.add(name=shape.name, dimensions=shape.dimensions, dtype=shape.dtype or "")
        for given in self.ranges:
            source.ranges.add(input=given.name or "", low=given.low, high=given.high)
        return source


def document(value: Any) -> Any:
    """What was asked, as JSON has it: an object with a key per field."""
    if is_dataclass(value):
        return {item.name: document(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): document(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [document(item) for item in value]
    return str(value) if isinstance(value, Path) else value
