"""TFLite files, run by LiteRT."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt_host.errors import EdgeoptError, ModelFileError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.formats import _code
from edgeopt_host.optimize.formats import predict as binding
from edgeopt_host.optimize.formats.description import Description, Weights, ordered
from edgeopt_host.optimize.formats.runner import Runner
from edgeopt_host.optimize.model import Model
from edgeopt_host.optimize.tensors import Array, Arrays, Signature, TensorSpec


@dataclass(frozen=True)
class Tensor:
    """A tensor of a graph.

    Attributes:
        name: as the file has it.
        shape: for one example, as stored.
        dtype: numpy's name, or "int4" and the like.
        constant: whether the file holds its values.
        quantized: whether it has a scale.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    constant: bool
    quantized: bool


@dataclass(frozen=True)
class Operator:
    """An operator of the main graph; optional inputs that are not given are None."""

    name: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]


def operators(path: Path) -> list[Operator]:
    """The operators of a file's main graph, in order of execution.

    Raises:
        EdgeoptError: MODEL_INVALID.
    """
    model = _parsed(path)
    graph = model.subgraphs[0]
    tensors = [_tensor(model, one) for one in graph.tensors]
    return [
        Operator(
            _operator_name(model.operatorCodes[one.opcodeIndex]),
            tuple(tensors[i] if i >= 0 else None for i in _list(one.inputs)),
            tuple(tensors[i] for i in _list(one.outputs)),
        )
        for one in _list(graph.operators)
    ]


def interpreter(model: Model, threads: int = 1) -> Any:
    """LiteRT's interpreter, with its tensors allocated.

    Raises:
        EdgeoptError: MODEL_INVALID, UNSUPPORTED_OPERATOR.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        found = Interpreter(model_path=str(model.path), num_threads=threads)
        found.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        why = _code.brief(error)
        if "op" in why and ("Didn't find" in why or "custom" in why.lower() or "Flex" in why):
            raise EdgeoptError(
                f"LiteRT cannot run {model.name}: {why}", "UNSUPPORTED_OPERATOR"
            ) from error
        raise ModelFileError(f"LiteRT cannot load {model.name}: {why}") from error
    return found


def runner(model: Model, threads: int) -> Runner:
    return _Running(interpreter(model, threads), model.name)


def describe(model: Model, example: Examples | None) -> Description:  # noqa: ARG001 - it knows its shapes
    from importlib.metadata import version

    signature = _signature(interpreter(model))
    found = operators(model.path)
    weights = Weights.of((one.dtype, one.shape) for one in _weights(model.path))
    return Description(
        inputs=signature.inputs,
        outputs=signature.outputs,
        parameters=weights.parameters,
        macs=_macs(found),
        weight_bytes=weights.stored_bytes,
        dtypes=weights.dtypes,
        operators=ordered(Counter(one.name for one in found)),
        framework=f"ai-edge-litert {version('ai-edge-litert')}",
    )


class _Running:
    def __init__(self, loaded: Any, name: str) -> None:
        self._interpreter = loaded
        self._name = name
        self.signature = _signature(loaded)

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        details = self._interpreter.get_input_details()
        try:
            if any(inputs[one["name"]].shape != tuple(one["shape"]) for one in details):
                for one in details:
                    self._interpreter.resize_tensor_input(one["index"], inputs[one["name"]].shape)
                self._interpreter.allocate_tensors()
            for one in details:
                self._interpreter.set_tensor(one["index"], inputs[one["name"]])
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            given = binding.fed(inputs)
            raise EdgeoptError(
                f"{self._name} fails on inputs {given}: {_code.brief(error)}", "MODEL_UNSUPPORTED"
            ) from error
        return {
            one["name"]: self._interpreter.get_tensor(one["index"])
            for one in self._interpreter.get_output_details()
        }


def _signature(loaded: Any) -> Signature:
    return Signature(
        tuple(map(_spec, loaded.get_input_details())),
        tuple(map(_spec, loaded.get_output_details())),
    )


def _spec(detail: dict[str, Any]) -> TensorSpec:
    sizes = detail.get("shape_signature", detail["shape"])
    sizes = sizes if len(sizes) == len(detail["shape"]) else detail["shape"]
    scale, zero_point = detail["quantization"]
    return TensorSpec(
        detail["name"],
        tuple(None if size < 0 else int(size) for size in sizes),
        np.dtype(detail["dtype"]).name,
        float(scale),
        int(zero_point),
    )


def _parsed(path: Path) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    try:
        return schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    except Exception as error:
        raise ModelFileError(
            f"{path.name} is a damaged TFLite file: {_code.brief(error)}"
        ) from error


def _weights(path: Path) -> Iterator[Tensor]:
    """Constants of all graphs that are not shapes, axes or indices; each buffer once."""
    model = _parsed(path)
    seen = set()
    for graph in model.subgraphs:
        for one in graph.tensors:
            tensor = _tensor(model, one)
            # Quantized biases are int32 with a scale.
            plain = tensor.dtype in {"int32", "int64", "bool", "string"} and not tensor.quantized
            if tensor.constant and not plain and one.buffer not in seen:
                seen.add(one.buffer)
                yield tensor


def _tensor(model: Any, one: Any) -> Tensor:
    buffer = model.buffers[one.buffer]
    data = buffer.data
    quantization = one.quantization
    return Tensor(
        name=(one.name or b"").decode(errors="replace"),
        shape=tuple(map(int, _list(one.shape))),
        dtype=_types().get(one.type, "unknown"),
        constant=(data is not None and len(data) > 0) or getattr(buffer, "offset", 0) > 1,
        quantized=quantization is not None and len(_list(quantization.scale)) > 0,
    )


@lru_cache
def _types() -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {
        value: name.lower() for name, value in vars(schema.TensorType).items() if name.isupper()
    }


@lru_cache
def _builtins() -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}


def _operator_name(code: Any) -> str:
    if code.customCode:
        return str(code.customCode.decode(errors="replace"))
    # Files of before 2020 have the code where there was room for 127.
    return _builtins().get(max(code.builtinCode, code.deprecatedBuiltinCode), "UNKNOWN")


def _list(values: Any) -> list[Any]:
    return [] if values is None else list(values)


_LOOPS = {"WHILE", "IF", "CALL", "CALL_ONCE"}
# Recurrent cells, as one operator.
_RECURRENT = {"LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM"}


def _macs(found: list[Operator]) -> int | None:
    total = 0
    for one in found:
        if one.name in _LOOPS or one.name.startswith("Flex"):
            return None
        total += _contraction(one)
    return total or None


def _contraction(one: Operator) -> int:
    output = prod(one.outputs[0].shape) if one.outputs else 0
    shapes = [() if tensor is None else tensor.shape for tensor in one.inputs]
    if one.name == "CONV_2D":  # weights (out, h, w, in)
        return output * prod(shapes[1][1:])
    if one.name == "CONV_3D":  # (d, h, w, in, out)
        return output * prod(shapes[1][:-1])
    if one.name == "DEPTHWISE_CONV_2D":  # (1, h, w, out)
        return output * prod(shapes[1][1:3])
    if one.name == "FULLY_CONNECTED":  # (out, in)
        return output * shapes[1][-1]
    if one.name == "TRANSPOSE_CONV":  # (out, h, w, in), of the third input's elements
        return prod(shapes[2]) * prod(shapes[1][:3])
    if one.name == "BATCH_MATMUL":
        return output * shapes[0][-1]
    if one.name == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        # Four gates' weights for the input and four for the state, at each time step.
        return prod(shapes[0][:-1]) * sum(prod(shape) for shape in shapes[1:9])
    return 0
