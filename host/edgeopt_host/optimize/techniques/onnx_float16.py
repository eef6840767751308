"""Half precision: weights and, where the runtime can, activations of 16 bits."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize import formats
from edgeopt_host.optimize.agreement import Agreement, compare
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.technique import Notes, technique
from edgeopt_host.optimize.techniques import onnx_graph as graphs

# Enough to find a difference, and quick.
_COMPARED = 64


@technique(
    "quantize:float16",
    takes={Format.ONNX},
    gives=Format.ONNX,
    libraries={"onnx", "onnxruntime", "onnxslim"},
)
def float16(
    source: Model,
    target: Path,
    *,
    keep_io: bool = True,
    keep_float: tuple[str, ...] = (),
    validation: Examples | None = None,
) -> Notes:
    """Numbers of 16 bits: half the size, and hardly any loss of accuracy.

    Faster on hardware that computes in half precision only; most processors convert, and are slower.
    Values beyond 65504 overflow, which is found on validation examples.

    Args:
        keep_io: inputs and outputs stay float32.
        keep_float: patterns of names, or types, of nodes that stay float32.
    """
    model = graphs.prepare(source)
    everything = {one.op_type for one in model.graph.node}
    left = set(graphs.select(model, everything, only=(), without=keep_float))
    kept = [one.name for one in model.graph.node if one.name not in left]
    made = _halved(model, keep_io=keep_io, kept=kept)
    graphs.save(made, target)
    found = None if validation is None else _compared(source, graphs.model_of(target), validation)
    if found is not None and not math.isfinite(found.max_abs):
        target.unlink()
        raise EdgeoptError(
            "numbers overflow in half precision, so outputs are not finite: keep the operators where they "
            "grow in float32 with keep_float",
            "CONVERSION_DIFFERS",
        )
    return {
        "agreement": found and found.document(),
        "fallback": graphs.still_float(made),
        "warnings": [] if found else ["without data, overflow was not looked for"],
    }


def _compared(source: Model, made: Model, validation: Examples) -> Agreement:
    few = validation.take(slice(_COMPARED))
    return compare(formats.predict(made, few), formats.predict(source, few))


def _halved(model: Any, *, keep_io: bool, kept: list[str]) -> Any:
    from onnxruntime.transformers.float16 import (
        DEFAULT_OP_BLOCK_LIST,
        convert_float_to_float16,
    )

    with graphs.library("ONNX Runtime"):
        return convert_float_to_float16(
            copy.deepcopy(model),
            keep_io_types=keep_io,
            op_block_list=list(DEFAULT_OP_BLOCK_LIST),
            node_block_list=kept,
        )
