"""Mixed precision of torch modules: which layers can be int8 within a budget of the metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize import budget
from edgeopt_host.optimize.budget import Original, Trial
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.metric import Metric
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.technique import Notes, Progress, technique
from edgeopt_host.optimize.techniques import torch_modules as modules
from edgeopt_host.optimize.techniques import torch_static as static
from edgeopt_host.optimize.tensors import Array

_BATCH = 64
# The share of the time that calibration takes, about.
_CALIBRATED = 0.2


@technique("quantize:mixed", takes={Format.TORCH}, gives=Format.PTL, libraries={"torch"})
def mixed(
    source: Model,
    target: Path,
    *,
    budget_pt: float = 0.5,
    engine: Literal["auto", "qnnpack", "fbgemm", "x86", "onednn"] = "auto",
    per_channel: bool = True,
    keep_float: tuple[str, ...] = (),
    examples: int = 1000,
    calibration: Examples,
    validation: Examples,
    metric: Metric,
    seed: int,
    progress: Progress,
) -> Notes:
    """Static int8 where the network bears it, float where it does not; to .ptl.

    Each layer alone is quantized and the metric measured on validation examples. Then all are, and those
    that hurt most for the bytes they save go back to float until the loss is within the budget. Takes one
    pass over the examples for each layer; use it when quantize:int8 loses too much.

    Args:
        budget_pt: what may be lost on validation examples, in the metric's unit: percentage points of
            accuracy; with 95 % confidence.
        engine: the quantized engine it is made for, stored in the file; auto is qnnpack, which runs on
            ARM and x86.
        per_channel: a scale for each output channel of weights rather than one for all.
        keep_float: layers that stay in float in any case, by pattern.
        examples: how many of the validation examples single layers are tried on, at most; whole choices
            are judged on all.
    """
    from edgeopt_host.optimize.formats import torch as bundles

    budget.check(budget_pt, examples)
    wanted = static.engine_of(engine, "qnnpack")
    module = bundles.load(source)
    with modules.quiet(wanted):
        observed = static.observe(
            module,
            calibration,
            engine=wanted,
            keep_float=keep_float,
            per_channel=per_channel,
            progress=lambda share, text: progress(share * _CALIBRATED, text),
        )
        if observed.mapping is None:
            raise EdgeoptError(
                "quantize:mixed needs a module that torch.fx can trace, and this one is written for eager "
                "mode: take QuantStub and fuse_model out of it, or use quantize:int8 with keep_float",
                "UNSUPPORTED_OPERATOR",
            )
        names = modules.input_names(module, validation)
        original = Original(metric, validation, _outputs(module, validation, names))
        bench = _Bench(observed, original, names)
        some = original.sample(examples, seed)
        tried = _sensitivity(bench, module, some, progress)
        chosen = _choose(bench, tried, budget_pt)
        left = [name for name in observed.layers if name not in chosen]
        trial = bench.whole(left)
    with modules.quiet(static.packing(wanted, observed.layers, module)):
        how = modules.write_ptl(observed.convert(left), target, calibration, wanted)
    kept = [name for name in observed.layers if name in chosen]
    return {
        "engine": wanted,
        "sensitivity": [one.row("int8" if one.name in chosen else "float") for one in tried],
        "validation": trial.drop.document(metric.unit),
        "sensitivity_examples": len(some.examples),
        "quantized": kept,
        "fallback": [*observed.fallback, *(f"{name}: beyond the budget" for name in left)],
        "warnings": [*observed.warnings, *trial.drop.warnings(budget_pt, metric.unit)],
        **how,
    }


@dataclass(frozen=True)
class _Tried:
    """A layer that alone is quantized."""

    name: str
    operator: str
    bytes: int
    trial: Trial

    def row(self, chosen: str) -> dict[str, Any]:
        return budget.row(self.name, self.operator, self.bytes, {"int8": self.trial}, chosen)


@dataclass
class _Bench:
    """Quantizes some layers, and runs what that makes."""

    observed: static.Observed
    original: Original
    names: Sequence[str]
    known: dict[frozenset[str], Trial] = field(init=False, default_factory=dict)

    def alone(self, name: str, some: Original) -> Trial:
        made = self.observed.convert(only=name)
        return some.trial(_outputs(made, some.examples, self.names))

    def whole(self, left: Sequence[str]) -> Trial:
        """All but those that are left in float, on all examples."""
        key = frozenset(left)
        if key not in self.known:
            made = self.observed.convert(left)
            outputs = _outputs(made, self.original.examples, self.names)
            self.known[key] = self.original.trial(outputs)
        return self.known[key]


def _outputs(module: Any, examples: Examples, names: Sequence[str]) -> dict[str, Array]:
    from edgeopt_host.optimize.formats import _torch

    parts: dict[str, list[Any]] = {}
    for batch in examples.batches(_BATCH):
        given = modules.first_outputs(module, modules.feed(names, batch))
        for name, tensor in _torch.flatten(given).items():
            parts.setdefault(name, []).append(tensor.numpy())
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _sensitivity(bench: _Bench, module: Any, some: Original, progress: Progress) -> list[_Tried]:
    """What each layer costs when it alone is quantized."""
    tried: list[_Tried] = []
    layers = bench.observed.layers
    for index, name in enumerate(layers):
        layer = module.get_submodule(name)
        size = sum(one.numel() * one.element_size() for one in layer.parameters())
        trial = bench.alone(name, some)
        tried.append(_Tried(name, type(layer).__name__, size, trial))
        lost = trial.drop.words(some.metric.unit)
        progress(
            _CALIBRATED + (1 - _CALIBRATED) * (index + 1) / (len(layers) + 1),
            f"sensitivity of {name}: {lost} lost, output error {trial.error:.3f}",
        )
    return tried


def _choose(bench: _Bench, tried: Sequence[_Tried], allowed: float) -> set[str]:
    """The layers that become int8: as many as the budget allows."""

    def harmless(some: Sequence[_Tried]) -> bool:
        kept = {one.name for one in some}
        left = [one.name for one in tried if one.name not in kept]
        return bench.whole(left).drop.within(allowed)

    by_harm = sorted(tried, key=lambda one: budget.harm(one.trial, one.bytes, allowed))
    chosen = budget.longest(by_harm, harmless)
    if not chosen:
        least = by_harm[0].name
        left = [one.name for one in tried if one.name != least]
        unit = bench.original.metric.unit
        raise budget.exceeded(f"with only {least} in int8", bench.whole(left).drop, allowed, unit)
    # Some need not be float after all; the largest first.
    for one in sorted(tried, key=lambda one: -one.bytes):
        if one not in chosen and harmless([*chosen, one]):
            chosen.append(one)
    return {one.name for one in chosen}
