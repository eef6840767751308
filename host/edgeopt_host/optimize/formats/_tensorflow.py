"""What Keras and SavedModel share: graphs, run and counted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.formats import _code
from edgeopt_host.optimize.formats import predict as binding
from edgeopt_host.optimize.tensors import Array, Arrays, Signature, TensorSpec

# Operations that may compute more than can be counted before they run.
_LOOPS = {"While", "StatelessWhile", "If", "StatelessIf", "PartitionedCall", "XlaCallModule"}
_CONVOLUTIONS = {"Conv2D", "Conv3D", "Conv1D"}
_DEPTHWISE = {"DepthwiseConv2dNative"}
_TRANSPOSED = {"Conv2DBackpropInput", "Conv3DBackpropInputV2"}
_PRODUCTS = {"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"}


@dataclass(frozen=True)
class Called:
    """A concrete function with names for what it takes and gives.

    Attributes:
        keep: what must live as long as it.
        function: called with tensors by keyword, of a SavedModel, or in order.
        signature: its inputs and outputs.
        keywords: the inputs' names as keywords; None for in order.
    """

    keep: Any
    function: Any
    signature: Signature
    keywords: tuple[str, ...] | None = None

    def __call__(self, tensors: Sequence[Any]) -> dict[str, Any]:
        if self.keywords is not None:
            return dict(self.function(**dict(zip(self.keywords, tensors, strict=True))))
        found = self.function(*tensors)
        return dict(zip((one.name for one in self.signature.outputs), _flat(found), strict=True))


class Running:
    """A concrete function with arrays in and out."""

    def __init__(self, called: Called, name: str) -> None:
        self._called = called
        self._name = name
        self.signature = called.signature

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        import tensorflow as tf

        tensors = [tf.constant(inputs[one.name], one.dtype) for one in self.signature.inputs]
        try:
            found = self._called(tensors)
        except Exception as error:
            given = binding.fed(inputs)
            raise EdgeoptError(
                f"{self._name} fails on inputs {given}: {_code.brief(error)}", "MODEL_UNSUPPORTED"
            ) from error
        return {name: np.asarray(value) for name, value in found.items()}


def use_threads(threads: int) -> None:
    """How many an operation takes: settled once in a process, before anything is loaded."""
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def of_keras(network: Any, name: str) -> Called:
    """Of a model of Keras 2 or 3, in inference.

    Raises:
        EdgeoptError: MODEL_UNSUPPORTED when its inputs are unknown, or it gives other than tensors.
    """
    import tensorflow as tf

    declared = _inputs(network, name)
    specs = [tf.TensorSpec(one.shape, one.dtype, f"input_{i}") for i, one in enumerate(declared)]
    structure = getattr(network, "_inputs_struct", None)
    names_in = list(structure) if isinstance(structure, dict) else None

    def infer(*tensors: Any) -> Any:
        if names_in is not None:
            return network(dict(zip(names_in, tensors, strict=True)), training=False)
        return network(tensors[0] if len(tensors) == 1 else list(tensors), training=False)

    try:
        function = tf.function(infer).get_concrete_function(*specs)
    except Exception as error:
        raise EdgeoptError(
            f"{name} cannot be called in inference: {_code.brief(error)}", "MODEL_UNSUPPORTED"
        ) from error
    outputs = function.structured_outputs
    if isinstance(outputs, dict):
        names = [str(key) for key in sorted(outputs)]
    else:
        flat = _flat(outputs)
        names = list(getattr(network, "output_names", None) or [])
        if len(names) != len(flat):
            names = [f"output_{i}" for i in range(len(flat))]
    given = [_spec(key, one) for key, one in zip(names, _flat(outputs), strict=True)]
    return Called(network, function, Signature(tuple(declared), tuple(given)))


def of_signature(loaded: Any, function: Any) -> Called:
    """Of a SavedModel's signature."""
    _, keywords = function.structured_input_signature
    inputs = tuple(_spec(name, spec) for name, spec in keywords.items())
    outputs = tuple(_spec(name, spec) for name, spec in sorted(function.structured_outputs.items()))
    return Called(loaded, function, Signature(inputs, outputs), tuple(keywords))


def frozen(function: Any) -> Any:
    """The same with its variables as constants, and calls inlined."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(function, lower_control_flow=False)


def constants(graph: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Weights of a frozen graph: its constants of more than one element, besides shapes and axes."""
    for one in graph.get_operations():
        if one.type == "Const":
            tensor = one.outputs[0]
            shape = tuple(tensor.shape.as_list())
            if shape and tensor.dtype.name not in {"int32", "int64", "string"}:
                yield tensor.dtype.name, shape


def macs(called: Called, example: Examples | None) -> int | None:
    """Multiply-accumulates of one inference of one example; None for loops and free axes."""
    import tensorflow as tf

    shapes = [(1, *one.shape[1:]) if one.shape else () for one in called.signature.inputs]
    if example is not None:
        names = binding.bind(called.signature.inputs, example)
        shapes = [
            (1, *example.inputs[names[one.name]].shape[1:]) if one.shape else ()
            for one in called.signature.inputs
        ]
    specs = [
        tf.TensorSpec(shape, one.dtype)
        for shape, one in zip(shapes, called.signature.inputs, strict=True)
    ]
    try:
        graph = frozen(
            tf.function(lambda *tensors: called(tensors)).get_concrete_function(*specs)
        ).graph
        return _macs(graph)
    except Exception:  # noqa: BLE001 - it is a figure that may be unknown
        return None


def _macs(graph: Any) -> int | None:
    total = 0
    for one in graph.get_operations():
        if one.type in _LOOPS or one.type == "Einsum":
            return None
        count = _contraction(one)
        if count is None:
            return None
        total += count
    return total or None


def _contraction(one: Any) -> int | None:
    """Of an operation: 0 for those that multiply no matrices, None where a shape is unknown."""
    kind = one.type
    if kind in _CONVOLUTIONS | _DEPTHWISE:
        output, weights = _shape(one.outputs[0]), _shape(one.inputs[1])
        if output is None or weights is None:
            return None
        # (…, in, out), of which each output element takes (…, in); depthwise has (h, w, in, times).
        return prod(output) * prod(weights[:2] if kind in _DEPTHWISE else weights[:-1])
    if kind in _TRANSPOSED:
        taken, weights = _shape(one.inputs[2]), _shape(one.inputs[1])
        # (…, out, in): each input element meets (…, out).
        return None if taken is None or weights is None else prod(taken) * prod(weights[:-1])
    if kind in _PRODUCTS:
        output, left = _shape(one.outputs[0]), _shape(one.inputs[0])
        if output is None or left is None:
            return None
        flag = "transpose_a" if kind == "MatMul" else "adj_x"
        return prod(output) * (left[-2] if one.get_attr(flag) else left[-1])
    return 0


def _shape(tensor: Any) -> list[int] | None:
    if tensor.shape.rank is None:
        return None
    sizes = tensor.shape.as_list()
    return None if None in sizes else sizes


def _inputs(network: Any, name: str) -> list[TensorSpec]:
    declared = getattr(network, "inputs", None)
    if declared:
        names = getattr(network, "input_names", None) or [one.name for one in declared]
        return [_spec(str(key), one) for key, one in zip(names, declared, strict=True)]
    # A subclassed model knows what it was built for.
    built = network.get_build_config() if hasattr(network, "get_build_config") else None
    shape = (built or {}).get("input_shape")
    if isinstance(shape, (tuple, list)) and all(
        size is None or isinstance(size, int) for size in shape
    ):
        return [TensorSpec("input", (None, *shape[1:]), "float32")]
    raise EdgeoptError(
        f"{name} does not say what it takes: call it once on an example and save it again",
        "MODEL_UNSUPPORTED",
    )


def _spec(name: str, tensor: Any) -> TensorSpec:
    shape = tensor.shape
    sizes = tuple(shape.as_list() if hasattr(shape, "as_list") else shape)
    dtype = getattr(tensor.dtype, "name", tensor.dtype)
    return TensorSpec(name, sizes, str(dtype))


def _flat(outputs: Any) -> list[Any]:
    if isinstance(outputs, dict):
        return [outputs[key] for key in sorted(outputs)]
    if isinstance(outputs, (tuple, list)):
        return [one for value in outputs for one in _flat(value)]
    return [outputs]
