"""Tiny ONNX models, made where a test needs a certain shape rather than a real network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

Dims = Sequence[int | str | None]


def relu(path: Path, shape: Dims = ("batch", 4), dtype: int = TensorProto.FLOAT) -> Path:
    """x → max(x, 0), of any shape."""
    return _save(path, [helper.make_node("Relu", ["x"], ["y"])], shape, dtype)


def matmul(path: Path, size: int, *, external: bool = False) -> Path:
    """x → x·W with W of size by size, all ones; W beside the model where `external`."""
    weights = np.ones((size, size), np.float32)
    initializer = onnx.numpy_helper.from_array(weights, "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = _save(path, [node], (1, size), TensorProto.FLOAT, [initializer])
    if external:
        model = onnx.load(str(path))
        onnx.save(
            model,
            str(path),
            save_as_external_data=True,
            location=f"{path.name}.data",
            size_threshold=0,
        )
    return path


def unknown_operator(path: Path) -> Path:
    """A model that no runtime can execute."""
    node = helper.make_node("FlyToTheMoon", ["x"], ["y"], domain="org.example")
    return _save(path, [node], (1, 4), TensorProto.FLOAT, domains=["org.example"])


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    shape: Dims,
    dtype: int,
    initializers: Sequence[onnx.TensorProto] = (),
    domains: Sequence[str] = (),
) -> Path:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", dtype, shape)],
        initializers,
    )
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(d, 1) for d in domains)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    return path
