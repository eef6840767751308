"""Multiply-accumulates of ONNX graphs, from the shapes that ONNX infers."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

_LOOPS = {"Loop", "If", "Scan", "SequenceMap", "Einsum"}
# The index of the weights, or of the right factor, among an operator's inputs.
_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "FusedConv": 1}
_TRANSPOSED = {"ConvTranspose": 1}
_PRODUCTS = {
    "MatMul": 0,
    "MatMulInteger": 0,
    "QLinearMatMul": 0,
    "Gemm": 0,
    "FusedMatMul": 0,
    "DynamicQuantizeMatMul": 0,
    "MatMulIntegerToFloat": 0,
    "MatMulNBits": 0,
    "QGemm": 0,
}
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1, "DynamicQuantizeLSTM": 4}


def count(model: Any, inputs: Mapping[str, tuple[int | None, ...]]) -> int | None:
    """Of one inference with inputs of these shapes; None for loops and shapes that are unknown.

    Args:
        model: onnx.ModelProto, which is not changed; external data are not needed.
        inputs: sizes by input name.
    """
    try:
        shapes = _inferred(model, inputs)
        total = 0
        for node in model.graph.node:
            if node.op_type in _LOOPS:
                return None
            total += _contraction(node, shapes)
    except (KeyError, IndexError):
        return None
    return total or None


def _inferred(model: Any, inputs: Mapping[str, tuple[int | None, ...]]) -> dict[str, list[int]]:
    """Shapes of all tensors whose shapes are known."""
    import onnx
    from onnx import shape_inference

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    for value in copied.graph.input:
        if value.name in inputs:
            dims = value.type.tensor_type.shape.dim
            for dim, size in zip(dims, inputs[value.name], strict=True):
                dim.Clear()
                if size is not None:
                    dim.dim_value = size
    # They would be taken for what the exporter wrote, with its symbols.
    for value in copied.graph.output:
        value.type.tensor_type.ClearField("shape")
    del copied.graph.value_info[:]
    try:
        copied = shape_inference.infer_shapes(copied, data_prop=True)
    except (RuntimeError, ValueError, onnx.shape_inference.InferenceError):
        return {}
    shapes = {one.name: list(one.dims) for one in copied.graph.initializer}
    graph = copied.graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        shape = value.type.tensor_type.shape
        if value.type.tensor_type.HasField("shape") and all(
            dim.HasField("dim_value") for dim in shape.dim
        ):
            shapes[value.name] = [dim.dim_value for dim in shape.dim]
    return shapes


def _contraction(node: Any, shapes: Mapping[str, list[int]]) -> int:
    kind = node.op_type
    if kind in _CONVOLUTIONS:  # (out, in / groups, …)
        return prod(shapes[node.output[0]]) * prod(shapes[node.input[_CONVOLUTIONS[kind]]][1:])
    if kind in _TRANSPOSED:  # (in, out / groups, …)
        return prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])
    if kind in _PRODUCTS:
        attributes = {one.name: one.i for one in node.attribute}
        left = shapes[node.input[_PRODUCTS[kind]]]
        return prod(shapes[node.output[0]]) * (left[-2] if attributes.get("transA") else left[-1])
    if kind in _GATES:
        steps, batch = shapes[node.input[0]][:2]
        # (directions, gates · hidden, in) and (directions, gates · hidden, hidden)
        weights, recurrent = shapes[node.input[1]], shapes[node.input[2]]
        return steps * batch * (prod(weights) + prod(recurrent))
    return 0
