"""Handwritten digits (scikit-learn's, 8 by 8 pixels), and an ONNX classifier that knows them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, np.dtype[Any]]

TRAINED = 1000


@functools.cache
def images() -> tuple[Array, Array]:
    """1797 pictures (n, 8, 8, 1), float32 from 0 to 1, and digits (n,) int64; the first 1000 are learnt."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x = (found.images / 16).astype(np.float32)[..., None]
    return x, found.target.astype(np.int64)


def npz(path: Path, **changes: Any) -> Path:
    """A data file of both parts; `changes` replaces arrays, None removes them."""
    x, y = images()
    arrays = {
        "x_train": x[:TRAINED],
        "y_train": y[:TRAINED],
        "x_test": x[TRAINED:],
        "y_test": y[TRAINED:],
        **changes,
    }
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


@functools.cache
def weights() -> tuple[Array, Array]:
    """Of a logistic regression: (64, 10) and (10,)."""
    from sklearn.linear_model import LogisticRegression

    x, y = images()
    found = LogisticRegression(max_iter=500).fit(x[:TRAINED].reshape(TRAINED, -1), y[:TRAINED])
    return found.coef_.T.astype(np.float32), found.intercept_.astype(np.float32)


def classifier(
    path: Path, *, scale: float = 1.0, noise: float = 0.0, output: str = "digit", classes: int = 10
) -> Path:
    """image (n, 8, 8, 1) → probabilities (n, 10), by weights that are scaled and disturbed."""
    w, b = weights()
    random = np.random.default_rng(0)
    w = scale * (w + np.float32(noise) * random.standard_normal(w.shape, np.float32))
    initializers = [
        numpy_helper.from_array(np.ascontiguousarray(w[:, :classes], np.float32), "w"),
        numpy_helper.from_array(b[:classes], "b"),
    ]
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [output]),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 8, 8, 1])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", classes])],
        initializers,
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    return path
