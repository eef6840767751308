"""Mixed precision of torch modules: which layers can be int8 within a budget of the metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.metric import Metric
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.technique import Notes, Progress, technique
from edgeopt_host.optimize.techniques import torch_modules as modules
from edgeopt_host.optimize.techniques import torch_static as static

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
    that hurt most go back to float until the loss is within the budget. Takes one pass over the
    validation examples for each layer; use it when quantize:int8 loses too much.

    Args:
        budget_pt: what may be lost on validation examples, in the metric's unit: percentage points of
            accuracy.
        engine: the quantized engine it is made for, stored in the file; auto is qnnpack, which runs on
            ARM and x86.
        per_channel: a scale for each output channel of weights rather than one for all.
        keep_float: layers that stay in float in any case, by pattern.
        examples: at most so many of the validation examples are used.
    """
    from edgeopt_host.optimize.formats import torch as bundles

    if budget_pt < 0 or examples < 1:
        raise UsageError(
            f"budget_pt={budget_pt:g} and examples={examples}: the one is 0 or more, the other 1 or more"
        )
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
        trial = _Trial(module, validation.sample(examples, seed), metric)
        table, left = _search(observed, module, trial, budget_pt, progress)
    with modules.quiet(static.packing(wanted, observed.layers, module)):
        how = modules.write_ptl(observed.convert(left), target, calibration, wanted)
    loss = table.pop("loss")
    told = list(observed.warnings)
    if loss > budget_pt:
        told.append(
            f"even with only {modules.shown(table['kept'])} in int8 it loses {loss:.2f}, more than "
            f"{budget_pt:g}"
        )
    return {
        "engine": wanted,
        "sensitivity": table["sensitivity"],
        "quantized": table["kept"],
        "fallback": [*observed.fallback, *(f"{name}: beyond the budget" for name in left)],
        "validation_drop": loss,
        "validation_examples": len(trial.examples),
        "warnings": told,
        **how,
    }


class _Trial:
    """Measures modules against the float one on the same examples."""

    def __init__(self, module: Any, examples: Examples, metric: Metric) -> None:
        self.examples = examples
        self.metric = metric
        self.names = modules.input_names(module, examples)
        self.reference = self._outputs(module)
        self.score = metric.score(self.reference, examples, self.reference)

    def __call__(self, module: Any) -> tuple[float, float]:
        """What it loses, in the metric's unit, and the root mean square error of outputs over theirs."""
        outputs = self._outputs(module)
        loss = (
            self.score - self.metric.score(outputs, self.examples, self.reference)
        ) * self.metric.factor
        off = sum(float(np.square(outputs[name] - self.reference[name]).sum()) for name in outputs)
        norm = sum(float(np.square(array).sum()) for array in self.reference.values())
        return float(loss), float(np.sqrt(off / norm)) if norm else 0.0

    def _outputs(self, module: Any) -> Mapping[str, Any]:
        from edgeopt_host.optimize.formats import _torch

        parts: dict[str, list[Any]] = {}
        for batch in self.examples.batches(_BATCH):
            given = modules.first_outputs(module, modules.feed(self.names, batch))
            for name, tensor in _torch.flatten(given).items():
                parts.setdefault(name, []).append(tensor.numpy())
        return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _search(
    observed: static.Observed,
    module: Any,
    trial: Callable[[Any], tuple[float, float]],
    budget: float,
    progress: Progress,
) -> tuple[dict[str, Any], list[str]]:
    """The table of sensitivities, and the layers that go back to float."""
    rows = []
    share = 1 - _CALIBRATED
    for index, name in enumerate(observed.layers):
        loss, error = trial(observed.convert(only=name))
        layer = module.get_submodule(name)
        rows.append(
            {
                "layer": name,
                "operator": type(layer).__name__,
                "bytes": sum(one.numel() * one.element_size() for one in layer.parameters()),
                "drop_pt": loss,
                "output_error": error,
                "time_ratio": None,
                "chosen": "int8",
            }
        )
        done = _CALIBRATED + share * (index + 1) / (len(observed.layers) + 1)
        progress(done, f"sensitivity of {name}: {loss:.2f} lost, output error {error:.3f}")
    # Drops of a single layer are mostly within the noise of the examples; errors of outputs are not.
    hurting = [row for row in rows if row["drop_pt"] > budget]
    hurting.sort(key=lambda row: -row["drop_pt"])
    rest = [row for row in rows if row not in hurting]
    rest.sort(key=lambda row: -row["output_error"])
    left: list[str] = []
    loss, _ = trial(observed.convert())
    for row in [*hurting, *rest]:
        if loss <= budget or len(left) == len(rows) - 1:
            break
        left.append(row["layer"])
        loss, _ = trial(observed.convert(left))
    left, loss = _taken_back(observed, trial, budget, left, loss, rows)
    for row in rows:
        row["chosen"] = "float" if row["layer"] in left else "int8"
    kept = [name for name in observed.layers if name not in left]
    return {"sensitivity": rows, "kept": kept, "loss": loss}, left


def _taken_back(
    observed: static.Observed,
    trial: Callable[[Any], tuple[float, float]],
    budget: float,
    left: list[str],
    loss: float,
    rows: list[dict[str, Any]],
) -> tuple[list[str], float]:
    """Without the layers that need not be float after all, the largest first."""
    sizes = {row["layer"]: row["bytes"] for row in rows}
    if len(left) == 1 or loss > budget:
        return left, loss
    for name in sorted(left, key=lambda one: -sizes[one]):
        fewer = [one for one in left if one != name]
        lost, _ = trial(observed.convert(fewer))
        if lost <= budget:
            left, loss = fewer, lost
    return left, loss
