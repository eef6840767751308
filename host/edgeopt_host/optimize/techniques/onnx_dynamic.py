"""Dynamic quantization by ONNX Runtime: 8-bit weights, activations scaled as they come."""

from __future__ import annotations

import copy
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from edgeopt_host.errors import UsageError
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.technique import Notes, technique
from edgeopt_host.optimize.techniques import onnx_graph as graphs
from edgeopt_host.optimize.techniques.onnx_gemm import gemms_to_products

# Convolutions are left out: ConvInteger is several times slower than Conv, and less exact.
DEFAULT = ("Attention", "EmbedLayerNormalization", "Gather", "Gemm", "LSTM", "MatMul")
_KNOWN = (*DEFAULT, "Conv", "Transpose")
SATURATES = (
    "on x86 processors without VNNI sums of 8-bit products may saturate, which costs accuracy there: "
    "reduce_range=true avoids it, and the session entry session.x64quantprecision=1 too"
)


@technique(
    "quantize:dynamic",
    takes={Format.ONNX},
    gives=Format.ONNX,
    libraries={"onnx", "onnxruntime", "onnxslim"},
)
def dynamic(
    source: Model,
    target: Path,
    *,
    operators: tuple[str, ...] = DEFAULT,
    layers: tuple[str, ...] = (),
    keep_float: tuple[str, ...] = (),
    weights: Literal["int8", "uint8"] = "int8",
    per_channel: bool = True,
    reduce_range: bool = True,
) -> Notes:
    """8-bit weights; activations are quantized as they come, so no data is needed.

    A quarter of the size where matrices are what is large. For recurrent nets, transformers and other
    nets of matrix products, which it can make faster. Nets of convolutions get slower with it: use
    quantize:int8 for these.

    Args:
        operators: types to quantize; "all" adds Conv, which is slow and often inaccurate.
        layers: patterns of the names of nodes to quantize; all by default.
        keep_float: patterns of names, or types, of nodes that stay float.
        weights: their type.
        per_channel: a scale for each output channel instead of one for the matrix.
        reduce_range: weights of 7 bits, which x86 processors without VNNI need.
    """
    wanted = _KNOWN if graphs.ALL in operators else operators
    for operator in wanted:
        if operator not in _KNOWN:
            raise UsageError(
                f"operators has {operator!r}; dynamic quantization knows {', '.join(_KNOWN)} and all"
            )
    model = graphs.prepare(source)
    nodes = graphs.select(model, wanted, only=layers, without=keep_float)
    made = quantized(
        model,
        nodes,
        target,
        weights=weights,
        per_channel=per_channel,
        reduce_range=reduce_range,
    )
    graphs.save(made, target)
    unsafe = weights == "int8" and not reduce_range
    return {
        "quantized": len(nodes),
        "fallback": graphs.still_float(made),
        "warnings": [SATURATES] if unsafe else [],
    }


def quantized(
    model: Any,
    nodes: Collection[str],
    target: Path,
    *,
    weights: str = "int8",
    per_channel: bool = True,
    reduce_range: bool = True,
) -> Any:
    """A copy of a model with some nodes quantized.

    Args:
        model: as `onnx_graph.prepare` gives it.
        nodes: their names.
        target: files on the way are made beside it.
        weights: "int8" or "uint8".
        per_channel: as of the technique.
        reduce_range: as of the technique.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = copy.deepcopy(model)
    # ONNX Runtime does so too, under other names, which it then does not find among `nodes`.
    gemms_to_products(model)
    with graphs.workspace(target) as folder, graphs.library("ONNX Runtime"):
        path = folder / "made.onnx"
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=sorted(
                {one.op_type for one in model.graph.node if one.name in nodes}
            ),
            nodes_to_quantize=sorted(nodes),
            per_channel=per_channel,
            reduce_range=reduce_range,
            weight_type=QuantType.QInt8 if weights == "int8" else QuantType.QUInt8,
        )
        return onnx.load(str(path))
