"""Mixed precision for TFLite: each layer as few bits as the accuracy budget allows."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Literal

from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize import budget, formats
from edgeopt_host.optimize.budget import Drop, Original, Trial
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.metric import Metric
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.technique import Notes, Progress, technique
from edgeopt_host.optimize.techniques import tflite_graph as graph
from edgeopt_host.optimize.techniques import tflite_litert as litert
from edgeopt_host.optimize.techniques import tflite_quantizer as engine
from edgeopt_host.optimize.techniques.tflite_convert import LIBRARIES, SOURCES, converted
from edgeopt_host.optimize.techniques.tflite_quantizer import Scheme

# Operators with 4-bit kernels for their weights.
_FOUR_BITS = {"CONV_2D", "FULLY_CONNECTED", "EMBEDDING_LOOKUP"}
_BITS = {"int4": 4, "int8": 8, "float16": 16, "float": 32}
# Of the work, what the sensitivity of single layers takes.
_SENSITIVITY = 0.7
# A relative error of outputs that says as much as an infinite one.
_HOPELESS = 1e3


@technique(
    "quantize:mixed",
    takes={*SOURCES, Format.TFLITE},
    gives=Format.TFLITE,
    libraries=(*LIBRARIES, "litert-quantizer"),
)
def mixed(
    source: Model,
    target: Path,
    *,
    budget_pt: float = 0.5,
    precisions: tuple[Literal["int4", "int8"], ...] = ("int4", "int8"),
    activations: Literal["dynamic", "int8"] = "dynamic",
    algorithm: Literal["mse", "octav", "min_max"] = "mse",
    io: Literal["int8", "uint8", "float"] = "float",
    examples: int = 1000,
    calibration: Examples,
    validation: Examples,
    metric: Metric,
    seed: int,
    progress: Progress,
) -> Notes:
    """4-bit, 8-bit and float layers, chosen by what each costs in accuracy.

    Each layer alone is quantized and the model run on validation data. Then all layers get the fewest
    bits, and those that hurt most for the bytes they save get more, until the loss is within the
    budget. Use it when int4 loses too much and int8 is too large, or int8 loses too much. The time it
    takes grows with the number of layers.

    Args:
        budget_pt: how much the metric may fall on validation data, in points of a share such as accuracy,
            else in the metric's unit; with 95 % confidence.
        precisions: what to try. Layers that can have neither keep float16 weights, or float32 with
            activations=int8.
        activations: dynamic quantizes them as they come; int8 by ranges from calibration examples, and
            operators without weights as well.
        algorithm: how scales of 4-bit weights are chosen; mse loses least.
        io: the type of inputs and outputs with activations=int8.
        examples: how many of the validation examples single layers are tried on, at most; whole choices
            are judged on all.
    """
    budget.check(budget_pt, examples)
    if not precisions:
        raise UsageError("precisions is empty; give int4, int8 or both")
    if io != "float" and activations != "int8":
        raise UsageError(f"io={io} needs activations=int8, not {activations}")
    content = source.path.read_bytes() if source.format is Format.TFLITE else converted(source)
    found = graph.check_float(content, source.name)
    layers = _layers(found, precisions, activations)
    content = graph.with_signature(content)
    reached = None
    if activations == "int8":
        reached = engine.ranges(content, calibration, 8)
    with tempfile.TemporaryDirectory() as folder:
        bench = _Bench(
            content, Path(folder) / "trial.tflite", _Making(activations, algorithm, io, reached)
        )
        original = Original(metric, validation, formats.predict(source, validation))
        some = original.sample(examples, seed)
        measured = _sensitivity(bench, layers, some, progress)
        chosen, trial = _fit(bench, measured, original, budget_pt, progress)
    made = bench.making.whole(content, chosen)
    kept = [one for one in found if chosen.get(one.name) in {"float", "float16"}]
    notes = litert.written(made, target, kept)
    warnings = [*notes.pop("warnings", []), *trial.drop.warnings(budget_pt, metric.unit)]
    if len(kept) == len(layers):
        warnings.append(
            f"no layer could be quantized within budget_pt={budget_pt:g}: all keep float weights"
        )
    return {
        "sensitivity": [one.row(chosen[one.layer.name]) for one in measured],
        "validation": trial.drop.document(metric.unit),
        "sensitivity_examples": len(some.examples),
        **notes,
        "warnings": warnings,
    }


@dataclass(frozen=True)
class _Layer:
    """An operator with weights, and what it may be: names of precisions, the fewest bits first."""

    name: str
    kind: str
    weights: int
    levels: tuple[str, ...]

    def bytes_at(self, level: str) -> float:
        return self.weights * _BITS[level] / 8


@dataclass(frozen=True)
class _Measured:
    """A layer, and what each precision of it alone costs."""

    layer: _Layer
    trials: dict[str, Trial]

    def error(self, level: str) -> float:
        """Its share in the square of the outputs' error."""
        return min(self.trials[level].error, _HOPELESS) ** 2 if level in self.trials else 0.0

    def row(self, chosen: str) -> dict[str, Any]:
        layer = self.layer
        return budget.row(layer.name, layer.kind, layer.weights * 4, self.trials, chosen)


@dataclass(frozen=True)
class _Making:
    """How models are quantized, whatever the precision of a layer."""

    activations: Literal["dynamic", "int8"]
    algorithm: Literal["mse", "octav", "min_max"]
    io: engine.IO
    reached: engine.Ranges | None

    def whole(self, content: bytes, levels: Mapping[str, str]) -> bytes:
        """The model with a precision for each of its layers."""
        rest = Scheme(8, 8) if self.activations == "int8" else None
        return self._made(content, rest, levels, self.io)

    def alone(self, content: bytes, levels: Mapping[str, str]) -> bytes:
        """The model with some layers quantized, and the rest as it was."""
        return self._made(content, None, levels, "float")

    def _made(
        self, content: bytes, rest: Scheme | None, levels: Mapping[str, str], io: engine.IO
    ) -> bytes:
        schemes = {name: self._scheme(level) for name, level in levels.items()}
        return engine.quantize(content, rest, schemes, io=io, reached=self.reached)

    def _scheme(self, level: str) -> Scheme | None:
        if level in {"float", "float16"}:
            return engine.FLOAT16 if level == "float16" else None
        bits: Literal[4, 8] = 4 if level == "int4" else 8
        return Scheme(bits, 8 if self.activations == "int8" else 0, algorithm=self.algorithm)


@dataclass(frozen=True)
class _Bench:
    """Runs models made of one, and compares them with it."""

    content: bytes
    path: Path
    making: _Making

    def alone(self, levels: Mapping[str, str], original: Original) -> Trial:
        """Infinite where that cannot be made, or LiteRT does not run it."""
        try:
            return self._try(self.making.alone(self.content, levels), original)
        except EdgeoptError as error:
            if error.reason in {"CONVERSION_FAILED", "UNSUPPORTED_OPERATOR"}:
                return Trial(Drop(inf, None, len(original.examples)), inf)
            raise

    def whole(self, levels: Mapping[str, str], original: Original) -> Trial:
        return self._try(self.making.whole(self.content, levels), original)

    def _try(self, content: bytes, original: Original) -> Trial:
        graph.settle(content, self.path)
        made = Model.of(self.path, Format.TFLITE)
        return original.trial(formats.predict(made, original.examples))


def _layers(
    found: Sequence[graph.Operator], precisions: Sequence[str], activations: str
) -> list[_Layer]:
    last = "float" if activations == "int8" else "float16"
    layers = []
    for one in found:
        if one.kind not in graph.WEIGHTED or not one.stored:
            continue
        able = [
            level
            for level in ("int4", "int8")
            if level in precisions and (level == "int8" or one.kind in _FOUR_BITS)
        ]
        layers.append(_Layer(one.name, one.kind, one.weights, (*able, last)))
    if not any(len(one.levels) > 1 for one in layers):
        raise EdgeoptError(
            f"the model has no layer that can be {' or '.join(precisions)}; it has "
            f"{graph.counted(found)}",
            "UNSUPPORTED_OPERATOR",
        )
    return layers


def _sensitivity(
    bench: _Bench, layers: Sequence[_Layer], some: Original, progress: Progress
) -> list[_Measured]:
    """What each layer costs when it alone is quantized."""
    measured = []
    for index, layer in enumerate(layers):
        progress(_SENSITIVITY * index / len(layers), f"layer {index + 1} of {len(layers)} alone")
        trials = {level: bench.alone({layer.name: level}, some) for level in layer.levels[:-1]}
        measured.append(_Measured(layer, trials))
    return measured


def _fit(
    bench: _Bench,
    measured: Sequence[_Measured],
    original: Original,
    allowed: float,
    progress: Progress,
) -> tuple[dict[str, str], Trial]:
    """The precision of each layer, and what all together cost.

    The moves to more bits are put in order once; how many of them it takes is found by halving, and
    those that were not needed are taken back.
    """
    moves = _moves(measured)
    lowest = {one.layer.name: one.layer.levels[0] for one in measured}
    trials: dict[int, Trial] = {}

    def after(count: int) -> dict[str, str]:
        return {**lowest, **dict(moves[:count])}

    def fine(spared: Sequence[object]) -> bool:
        count = len(moves) - len(spared)
        share = _SENSITIVITY + (1 - _SENSITIVITY) * (1 - 1 / (1 + len(trials)))
        progress(share, f"with {count} of {len(moves)} steps back")
        trials[count] = bench.whole(after(count), original)
        return trials[count].drop.within(allowed)

    count = len(moves) - len(budget.longest(moves, fine))
    if count == len(moves) and not fine(()):
        raise budget.exceeded(
            f"with all weights in {measured[0].layer.levels[-1]}",
            trials[count].drop,
            allowed,
            original.metric.unit,
            "use activations=dynamic" if bench.making.activations == "int8" else "",
        )
    return _trimmed(bench, measured, after(count), trials[count], original, allowed)


def _trimmed(
    bench: _Bench,
    measured: Sequence[_Measured],
    levels: dict[str, str],
    best: Trial,
    original: Original,
    allowed: float,
) -> tuple[dict[str, str], Trial]:
    """Fewer bits for layers that turn out not to need theirs, the largest first."""
    for one in sorted(measured, key=lambda one: -one.layer.weights):
        place = one.layer.levels.index(levels[one.layer.name])
        if place == 0:
            continue
        fewer = {**levels, one.layer.name: one.layer.levels[place - 1]}
        trial = bench.whole(fewer, original)
        if trial.drop.within(allowed):
            levels, best = fewer, trial
    return levels, best


def _moves(measured: Sequence[_Measured]) -> list[tuple[str, str]]:
    """Layers and the precision they get next: first what saves most error for the bytes it costs."""
    at = {one.layer.name: 0 for one in measured}
    moves: list[tuple[str, str]] = []

    def gain(one: _Measured) -> float:
        levels, now = one.layer.levels, at[one.layer.name]
        saved = one.error(levels[now]) - one.error(levels[now + 1])
        cost = one.layer.bytes_at(levels[now + 1]) - one.layer.bytes_at(levels[now])
        return saved / cost

    while movable := [one for one in measured if at[one.layer.name] + 1 < len(one.layer.levels)]:
        best = max(movable, key=gain)
        at[best.layer.name] += 1
        moves.append((best.layer.name, best.layer.levels[at[best.layer.name]]))
    return moves
