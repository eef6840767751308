"""Mixed precision: 8 bits where it costs neither accuracy nor time, float elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize import budget, formats
from edgeopt_host.optimize.budget import Original, Trial
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.metric import Metric
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.technique import Notes, Progress, technique
from edgeopt_host.optimize.techniques import onnx_dynamic, onnx_graph, onnx_qdq, onnx_time
from edgeopt_host.optimize.tensors import Array

_PRODUCTS = ("Gemm", "MatMul")
_CONVOLUTIONS = ("Conv", "ConvTranspose")
_BATCH = 16
_TRIED = "tried.onnx"
# As many times the source's time are not slower for sure, whatever the profile's noise.
_NOT_SLOWER = 0.99
# Shares of the work, for progress.
_CALIBRATED, _MEASURED = 0.1, 0.8


@technique(
    "quantize:mixed",
    takes={Format.ONNX},
    gives=Format.ONNX,
    libraries={"onnx", "onnxruntime", "onnxslim"},
    # Which layers are slower in 8 bits is measured; with faster=false nothing is.
    deterministic=False,
)
def mixed(
    source: Model,
    target: Path,
    *,
    budget_pt: float = 0.5,
    method: Literal["auto", "static", "dynamic"] = "auto",
    faster: bool = True,
    layers: tuple[str, ...] = (),
    keep_float: tuple[str, ...] = (),
    activations: Literal["uint8", "int8"] = "uint8",
    per_channel: bool = True,
    reduce_range: bool = True,
    examples: int = 32,
    calibration: Examples,
    validation: Examples,
    metric: Metric,
    seed: int,
    progress: Progress,
) -> Notes:
    """8 bits for the layers that stand it, found by trying each of them.

    Each layer with weights is quantized alone, and what that costs is measured: the score, the outputs,
    the time. Then as many as possible are quantized together without losing more than the budget on the
    validation examples. For nets that collapse when all is quantized. It takes minutes.

    Args:
        budget_pt: how much of the metric it may lose on validation examples: percentage points of an
            accuracy, else the metric's own unit; with 95 % confidence.
        method: static quantizes activations with scales from calibration examples, dynamic as they
            come; auto is dynamic for matrix products and static for convolutions.
        faster: layers that get slower in 8 bits on this processor stay float, until the whole is not
            slower than the source.
        layers: patterns of the names of nodes that may be quantized; all with weights by default.
        keep_float: patterns of names, or types, of nodes that stay float.
        activations: uint8 is fastest on x86; int8 suits ARM and other accelerators as well.
        per_channel: a scale for each output channel instead of one for the whole weight.
        reduce_range: weights of 7 bits, which x86 processors without VNNI need.
        examples: how many of the validation examples single layers are tried on, at most; whole choices
            are judged on all.
    """
    budget.check(budget_pt, examples)
    model = onnx_graph.prepare(source)
    operators = _PRODUCTS if method == "dynamic" else (*_PRODUCTS, *_CONVOLUTIONS)
    selected = set(onnx_graph.select(model, operators, only=layers, without=keep_float))
    candidates = [one for one in onnx_graph.layers(model, operators) if one.name in selected]
    if not candidates:
        raise EdgeoptError(
            f"no layer with constant weights is selected; the model consists of {onnx_graph.census(model)}",
            "UNSUPPORTED_OPERATOR",
        )
    dynamic = set() if method == "static" else {*_PRODUCTS}
    settings = onnx_qdq.Settings(
        per_channel=per_channel, reduce_range=reduce_range, activations=activations
    )
    runner = formats.open_runner(source)
    with onnx_graph.workspace(target) as folder:
        calibrated = None
        if any(one.operator not in dynamic for one in candidates):
            calibrated = onnx_qdq.Calibrated(
                model,
                runner,
                calibration,
                settings,
                operators,
                folder,
                _scaled(progress, 0, _CALIBRATED),
            )
        maker = _Maker(model, calibrated, dynamic, settings, folder)
        outputs = formats.predict(source, validation, batch=_BATCH)
        judge = _Judge(maker, source, Original(metric, validation, outputs))
        feed = onnx_qdq.one_feed(runner, validation) if faster else None
        few = judge.original.sample(examples, seed)
        tried = _sensitivity(
            candidates, judge, few, feed, _scaled(progress, _CALIBRATED, _MEASURED)
        )
        chosen, notes = _choose(tried, judge, feed, budget_pt, progress)
        made = maker.make({one.layer.name for one in chosen})
        trial = judge.together(chosen)
    onnx_graph.save(made, target)
    return {
        "sensitivity": [one.row(one in chosen) for one in tried],
        "validation": trial.drop.document(metric.unit),
        "sensitivity_examples": len(few.examples),
        "fallback": onnx_graph.still_float(made),
        **notes,
        "warnings": [
            *([] if reduce_range else [onnx_dynamic.SATURATES]),
            *trial.drop.warnings(budget_pt, metric.unit),
        ],
    }


@dataclass(frozen=True)
class _Tried:
    """A layer quantized alone.

    Attributes:
        time_ratio: of the whole model with it to the float model; None when not measured.
    """

    layer: onnx_graph.Layer
    trial: Trial
    time_ratio: float | None

    def row(self, chosen: bool) -> dict[str, Any]:
        one, level = self.layer, "int8" if chosen else "float"
        trials = {"int8": self.trial}
        return budget.row(one.name, one.operator, one.bytes, trials, level, self.time_ratio)


@dataclass
class _Maker:
    """Quantizes any set of layers, of which matrix products may be dynamic."""

    model: Any
    calibrated: onnx_qdq.Calibrated | None
    dynamic: set[str]
    settings: onnx_qdq.Settings
    folder: Path

    def make(self, names: Collection[str]) -> Any:
        kinds = {one.name: one.op_type for one in self.model.graph.node}
        later = {name for name in names if kinds[name] in self.dynamic}
        made = self.model
        if self.calibrated is not None and (static := set(names) - later):
            made = self.calibrated.quantized(static)
        if later:
            made = onnx_dynamic.quantized(
                made,
                later,
                self.folder / "dynamic.onnx",
                per_channel=self.settings.per_channel,
                reduce_range=self.settings.reduce_range,
            )
        return made

    def write(self, names: Collection[str]) -> Path:
        path = self.folder / _TRIED
        onnx_graph.save(self.make(names), path)
        return path


@dataclass
class _Judge:
    """What a set of quantized layers costs on validation examples."""

    maker: _Maker
    source: Model
    original: Original
    known: dict[frozenset[str], Trial] = field(init=False, default_factory=dict)

    def trial(self, names: Collection[str], original: Original) -> Trial:
        made = Model.of(self.maker.write(names), Format.ONNX)
        return original.trial(formats.predict(made, original.examples, batch=_BATCH))

    def together(self, chosen: Collection[_Tried]) -> Trial:
        """Of layers quantized at once, on all validation examples."""
        names = frozenset(one.layer.name for one in chosen)
        if names not in self.known:
            self.known[names] = self.trial(names, self.original)
        return self.known[names]

    def time(self, names: Collection[str], feed: dict[str, Array]) -> float:
        """Microseconds of an inference with some layers quantized."""
        return onnx_time.operators_us(self.maker.write(names), feed, self.maker.folder)


def _sensitivity(
    candidates: list[onnx_graph.Layer],
    judge: _Judge,
    few: Original,
    feed: dict[str, Array] | None,
    progress: Progress,
) -> list[_Tried]:
    folder = judge.maker.folder
    whole = judge.time((), feed) if feed else 0.0
    found = []
    for index, layer in enumerate(candidates):
        progress(index / len(candidates), f"{layer.name}, {index + 1} of {len(candidates)} layers")
        trial = judge.trial({layer.name}, few)
        ratio = None
        if feed:
            ratio = onnx_time.operators_us(folder / _TRIED, feed, folder) / max(whole, 1e-9)
        found.append(_Tried(layer, trial, ratio))
    return found


def _choose(
    tried: list[_Tried],
    judge: _Judge,
    feed: dict[str, Array] | None,
    allowed: float,
    progress: Progress,
) -> tuple[list[_Tried], Notes]:
    """The layers to quantize: as many as accuracy allows, then without those that are slow."""

    def harmless(some: Sequence[_Tried]) -> bool:
        return judge.together(some).drop.within(allowed)

    progress(_MEASURED, "choosing layers")
    by_harm = sorted(tried, key=lambda one: budget.harm(one.trial, one.layer.bytes, allowed))
    chosen = budget.longest(by_harm, harmless)
    if not chosen:
        what = f"with only {by_harm[0].layer.name} in 8 bits"
        lost = judge.together(by_harm[:1]).drop
        raise budget.exceeded(what, lost, allowed, judge.original.metric.unit)
    if not feed:
        return chosen, {}
    source = onnx_time.operators_us(judge.source.path, feed, judge.maker.folder)
    ratios: dict[frozenset[str], float] = {}

    def quick(some: Sequence[_Tried]) -> bool:
        names = frozenset(one.layer.name for one in some)
        if names not in ratios:
            ratios[names] = judge.time(names, feed) / source
        return ratios[names] <= _NOT_SLOWER

    by_time = sorted(chosen, key=lambda one: ((one.time_ratio or 1) - 1) / one.layer.bytes)
    # Fewer layers rarely cost more accuracy, and rarely more time; until what is left costs neither.
    before: list[_Tried] = []
    while chosen != before:
        before = chosen
        chosen = budget.longest([one for one in by_time if one in before], quick)
        chosen = budget.longest([one for one in by_harm if one in chosen], harmless)
    if not chosen:
        raise EdgeoptError(
            f"no layer can be in 8 bits within budget_pt={allowed:g} without making the model slower "
            "on this processor: faster=false allows that",
            "CONVERSION_FAILED",
        )
    return chosen, {"time_ratio": ratios[frozenset(one.layer.name for one in chosen)]}


def _scaled(progress: Progress, first: float, last: float) -> Progress:
    return lambda share, words: progress(first + share * (last - first), words)
