"""Matrix products with a bias, taken apart: quantizers know MatMul only."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

_MATRIX = 2


def gemms_to_products(model: Any) -> None:
    """Gemm with constant weights becomes MatMul, which keeps its name, and Add; in place."""
    from onnx import helper, numpy_helper

    weights = {one.name: one for one in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        set_ = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        plain = set_.get("alpha", 1.0) == set_.get("beta", 1.0) == 1.0 and not set_.get("transA", 0)
        matrix = weights.get(node.input[1]) if node.op_type == "Gemm" else None
        if matrix is None or not plain or len(matrix.dims) != _MATRIX:
            nodes.append(copy.deepcopy(node))
            continue
        name = node.input[1]
        if set_.get("transB", 0):
            name = f"{node.name}.weight"
            turned = np.ascontiguousarray(numpy_helper.to_array(matrix).T)
            model.graph.initializer.append(numpy_helper.from_array(turned, name))
        product = f"{node.name}.product" if len(node.input) > _MATRIX else node.output[0]
        nodes.append(helper.make_node("MatMul", [node.input[0], name], [product], name=node.name))
        if len(node.input) > _MATRIX:
            biased = [product, node.input[2]]
            nodes.append(
                helper.make_node("Add", biased, [node.output[0]], name=f"{node.name}.bias")
            )
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input} | {
        one.name for one in model.graph.output
    }
    used |= _used_inside(nodes)
    kept = [copy.deepcopy(one) for one in model.graph.initializer if one.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _used_inside(nodes: list[Any]) -> set[str]:
    """Names that graphs inside nodes, such as the branches of If, refer to."""
    found: set[str] = set()
    for node in nodes:
        for attribute in node.attribute:
            for graph in [attribute.g, *attribute.graphs]:
                found |= {name for one in graph.node for name in one.input}
                found |= {one.name for one in graph.output} | _used_inside(list(graph.node))
    return found
