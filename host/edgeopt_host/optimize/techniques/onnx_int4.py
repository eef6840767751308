"""4-bit weights of matrix products, by ONNX Runtime's MatMulNBits."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.technique import Notes, technique
from edgeopt_host.optimize.techniques import onnx_graph as graphs
from edgeopt_host.optimize.techniques.onnx_gemm import gemms_to_products

_BLOCKS = (16, 32, 64, 128, 256)
# 0 is the runtime's choice; 1 computes in float32, 4 in int8, which is several times faster.
_LEVELS = (0, 1, 4)


@technique(
    "quantize:int4",
    takes={Format.ONNX},
    gives=Format.ONNX,
    libraries={"onnx", "onnxruntime", "onnxslim"},
)
def int4(
    source: Model,
    target: Path,
    *,
    layers: tuple[str, ...] = (),
    keep_float: tuple[str, ...] = (),
    block: int = 32,
    accuracy_level: int = 4,
    symmetric: bool = False,
) -> Notes:
    """4-bit weights of matrix products (MatMul and Gemm), a scale for each block of a column.

    A sixth of the size of these weights, without data; the accuracy it costs is to be measured. What is
    made runs in ONNX Runtime only. Convolutions stay float.

    Args:
        layers: patterns of the names of nodes to quantize; all by default.
        keep_float: patterns of names of nodes that stay float.
        block: weights that share a scale: 16, 32, 64, 128 or 256.
        accuracy_level: how products are computed: 4 in int8, which is fast; 1 in float32; 0 as the
            runtime likes.
        symmetric: blocks without a zero point, which saves a little more.
    """
    for name, value, choices in (
        ("block", block, _BLOCKS),
        ("accuracy_level", accuracy_level, _LEVELS),
    ):
        if value not in choices:
            raise UsageError(f"{name} is {value}; it is one of {', '.join(map(str, choices))}")
    model = graphs.prepare(source)
    gemms_to_products(model)
    matrices = {one.name for one in graphs.layers(model, {"MatMul"})}
    if not matrices:
        raise EdgeoptError(
            "4-bit weights are for matrix products (MatMul, Gemm) with constant weights, of which this "
            f"model has none; it consists of {graphs.census(model)}",
            "UNSUPPORTED_OPERATOR",
        )
    chosen = graphs.select(model, {"MatMul"}, only=layers, without=keep_float)
    made = _quantized(model, {*chosen} & matrices, block, accuracy_level, symmetric)
    graphs.save(made, target)
    return {
        "quantized": sum(node.op_type == "MatMulNBits" for node in made.graph.node),
        "fallback": graphs.still_float(made),
        "warnings": [],
    }


def _quantized(model: Any, nodes: set[str], block: int, level: int, symmetric: bool) -> Any:
    from onnxruntime.quantization import QuantFormat
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    with graphs.library("ONNX Runtime"):
        quantizer = MatMulNBitsQuantizer(
            copy.deepcopy(model),
            block_size=block,
            is_symmetric=symmetric,
            accuracy_level=level,
            nodes_to_exclude=[one.name for one in model.graph.node if one.name not in nodes],
            quant_format=QuantFormat.QOperator,
        )
        quantizer.process()
        return quantizer.model.model
