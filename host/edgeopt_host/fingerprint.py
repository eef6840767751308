"""What two runs must have in common before their figures may be compared.

What is fed and how, what executes it, and on what: docs/how-to/track-a-model.md has the list. What
a change is judged by must be free to differ, so it is not in it: the model, its name, its size and
the dtypes and names of its inputs, what a delegate took of it, labels and command. So are how many
launches there were (that is in the interval), whether other models were measured in turns with it,
and the versions of edgeopt, which measures alike.

Runs of one paired benchmark need none of this: they met the same device in the same minutes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgeopt_host.run import Run, Tensor

# Launches that began further apart met differently warm devices. °C.
TEMPERATURE_BAND = 10.0
_UNKNOWN = "unknown"
_DEFAULT = "the default"
# A launch's length tells how hot it gets; within a class it makes no difference. Seconds.
_SHORT, _MEDIUM = 20.0, 120.0
_WHOLE_WARMUP_S = 1.0


@dataclass(frozen=True)
class Fingerprint:
    """What a run was measured on, and how.

    Args:
        key: what something is called and what it was, as text for people; lasting, and the same for
            runs that may be compared.
        temperature_c: of the hottest channel when the run began, °C; None: not told.
        model_sha256: what was measured. Differs in most comparisons, and is no difference.
    """

    key: tuple[tuple[str, str], ...]
    temperature_c: float | None
    model_sha256: str

    @classmethod
    def of(cls, run: Run) -> Fingerprint:
        key = tuple(
            (name, _UNKNOWN if value is None else str(value)) for name, value in _fields(run)
        )
        return cls(key, run.state.temperature_c.start, run.model.sha256)

    def differences(self, other: Fingerprint) -> list[str]:
        """Why a later run cannot be compared with this one; empty: it can be.

        A sentence part each: "the governor was powersave, now performance".
        """
        before, now = dict(self.key), dict(other.key)
        found = [
            f"the {name} was {before[name]}, now {now[name]}"
            for name in before
            if before[name] != now[name]
        ]
        if not _alike(self.temperature_c, other.temperature_c):
            found.append(
                f"the temperature at the start was {_celsius(self.temperature_c)}, "
                f"now {_celsius(other.temperature_c)}"
            )
        return found

    def changes(self, other: Fingerprint) -> list[str]:
        """The lasting differences, short: "runtime onnxruntime 1.31.0 → onnxruntime 1.32.0"."""
        now = dict(other.key)
        return [f"{name} {value} → {now[name]}" for name, value in self.key if value != now[name]]


def _fields(run: Run) -> Iterator[tuple[str, object]]:
    device, used, shape = run.device, run.runtime, run.shape
    asked = run.request or {}
    yield "device", device.name
    yield "board", device.board
    yield "CPU", device.cpu
    yield "architecture", device.architecture
    yield "number of cores", device.cores
    yield "number of usable cores", device.usable_cores
    # Kernels differ in the last megabytes that they keep for themselves.
    yield "memory", device.memory_bytes and f"{device.memory_bytes / 2**30:.1f} GB"
    yield "system", device.os
    yield "kernel", device.kernel
    yield "emulation", "on" if device.emulated else "off"
    yield "runtime", " ".join(x for x in (used.implementation or used.name, used.version) if x)
    yield "number of threads", used.threads
    # As asked: what came of it depends on the model, too.
    yield "provider", used.requested_provider or _DEFAULT
    yield from _execution(asked.get("execution") or {}, used.name)
    yield "governor", run.state.governor
    yield "batch", shape.batch
    yield "number of streams", shape.streams
    yield "rate", "back to back" if shape.rate_hz is None else f"{shape.rate_hz:g} Hz"
    yield "size of what is fed", _fed(shape.inputs)
    yield from _plan(asked.get("plan"))


def _execution(asked: Mapping[str, Any], runtime: str) -> Iterator[tuple[str, object]]:
    options = [
        f"{provider['name']}:{','.join(f'{k}={v}' for k, v in sorted(provider['options'].items()))}"
        for provider in asked.get("providers") or ()
        if provider.get("runtime") == runtime and provider.get("options")
    ]
    yield "set of provider options", " ".join(options) or "empty"
    on = asked.get("xnnpack") is not False or runtime != "tflite"
    yield "XNNPACK setting", _DEFAULT if on else "off"
    for setting, of in (("graph_optimization", "onnx"), ("quantized_engine", "ptl")):
        value = asked.get(setting) if runtime == of else None
        yield setting.replace("_", " "), value or _DEFAULT


def _fed(inputs: list[Tensor]) -> str:
    """Elements of each input, the largest first.

    Converters rename inputs and turn them around, and a quantized model takes other dtypes than the
    one that it is to replace.
    """
    sizes = sorted((math.prod(tensor.shape) for tensor in inputs), reverse=True)
    return " and ".join(f"{size} values" for size in sizes) or _UNKNOWN


def _plan(asked: Mapping[str, Any] | None) -> Iterator[tuple[str, object]]:
    if asked is None:
        yield "warm-up", None
        yield "length of a launch", None
        return
    yield "warm-up", "short" if asked.get("warmup_s", 0) < _WHOLE_WARMUP_S else "whole"
    length = asked.get("duration_s", 0)
    classes = ("short", length <= _SHORT), ("medium", length <= _MEDIUM), ("long", True)
    yield "length of a launch", next(name for name, fits in classes if fits)


def _alike(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= TEMPERATURE_BAND


def _celsius(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.0f} °C"
