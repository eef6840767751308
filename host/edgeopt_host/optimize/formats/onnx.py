"""ONNX models, run by ONNX Runtime."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt_host.errors import EdgeoptError, ModelFileError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.formats import _code, _onnx_macs
from edgeopt_host.optimize.formats import predict as binding
from edgeopt_host.optimize.formats.description import Description, Weights, ordered
from edgeopt_host.optimize.formats.runner import Runner
from edgeopt_host.optimize.model import Model
from edgeopt_host.optimize.tensors import Array, Arrays, Signature, TensorSpec

_TYPES = {
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "string": "object",
    "bool": "bool",
    **{
        name: name
        for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    },
}


def load(model: Model, *, data: bool = True) -> Any:
    """The onnx.ModelProto, with its external data unless told otherwise.

    Raises:
        EdgeoptError: MODEL_INVALID.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        # Whatever its name: by default, "m.json" would have to be JSON.
        return onnx.load(str(model.path), format="protobuf", load_external_data=data)
    except (DecodeError, ValueError, OSError) as error:
        raise ModelFileError(f"onnx cannot read {model.name}: {_code.brief(error)}") from error


def session(path: Path | bytes, name: str, threads: int = 1, **entries: str) -> Any:
    """An onnxruntime.InferenceSession on the CPU.

    Int8 products are exact whatever the processor (`session.x64quantprecision`): without it, those of
    before VNNI saturate, which would be judged as the model's error.

    Args:
        path: the file, or its content.
        name: for messages.
        threads: within an operator.
        entries: further entries of the session's configuration, "." written as "_".

    Raises:
        EdgeoptError: MODEL_INVALID, UNSUPPORTED_OPERATOR.
    """
    # Read when it is imported.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    for key, value in entries.items():
        options.add_session_config_entry(key.replace("_", "."), value)
    source = path if isinstance(path, bytes) else str(path)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        why = _code.brief(error)
        text = str(error)
        if "NOT_IMPLEMENTED" in text or "is not a registered function" in text:
            raise EdgeoptError(
                f"ONNX Runtime cannot run {name}: {why}", "UNSUPPORTED_OPERATOR"
            ) from error
        raise ModelFileError(f"ONNX Runtime cannot load {name}: {why}") from error


def runner(model: Model, threads: int) -> Runner:
    return Running(session(model.path, model.name, threads), model.name)


class Running:
    """A session, with arrays in and out."""

    def __init__(self, opened: Any, name: str) -> None:
        self.session = opened
        self._name = name
        self.signature = Signature(
            tuple(map(_spec, opened.get_inputs())), tuple(map(_spec, opened.get_outputs()))
        )
        self._outputs = [one.name for one in self.signature.outputs]

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        try:
            found = self.session.run(self._outputs, dict(inputs))
        except Exception as error:
            given = binding.fed(inputs)
            raise EdgeoptError(
                f"{self._name} fails on inputs {given}: {_code.brief(error)}", "MODEL_UNSUPPORTED"
            ) from error
        return {name: np.asarray(value) for name, value in zip(self._outputs, found, strict=True)}


def describe(model: Model, example: Examples | None) -> Description:
    import onnxruntime

    signature = Running(session(model.path, model.name), model.name).signature
    # External data are counted by their shapes.
    found = load(model, data=False)
    weights = Weights.of(_weights(found))
    shapes = {one.name: (1, *one.shape[1:]) if one.shape else () for one in signature.inputs}
    if example is not None:
        names = binding.bind(signature.inputs, example)
        shapes = {
            one.name: (1, *example.inputs[names[one.name]].shape[1:]) if one.shape else ()
            for one in signature.inputs
        }
    return Description(
        inputs=signature.inputs,
        outputs=signature.outputs,
        parameters=weights.parameters,
        macs=_onnx_macs.count(found, shapes),
        weight_bytes=weights.stored_bytes,
        dtypes=weights.dtypes,
        operators=ordered(
            Counter(node.op_type for node in _nodes(found.graph) if node.op_type != "Constant")
        ),
        framework=f"onnxruntime {onnxruntime.__version__}",
    )


def _weights(model: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Initializers and constants of all graphs that are not shapes, axes or indices.

    Scales and zero points of quantized tensors are left out: they are not the model's.
    """
    import onnx

    aside = _quantization(model.graph)
    for graph in _graphs(model.graph):
        tensors = list(graph.initializer)
        for node in graph.node:
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        tensor = onnx.TensorProto()
                        tensor.CopyFrom(attribute.t)
                        tensor.name = node.output[0]
                        tensors.append(tensor)
        for tensor in tensors:
            dtype = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
            dtype = {"float": "float32", "double": "float64"}.get(dtype, dtype)
            biases = dtype == "int32" and tensor.name in aside["biases"]
            if tensor.name in aside["parameters"] or (
                dtype in {"int32", "int64", "bool", "string"} and not biases
            ):
                continue
            if tensor.dims:
                yield dtype, tuple(tensor.dims)


def _quantization(graph: Any) -> dict[str, set[str]]:
    """Names of scales and zero points, and of biases that are stored as int32."""
    parameters: set[str] = set()
    biases: set[str] = set()
    for node in _nodes(graph):
        inputs = list(node.input)
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            parameters.update(inputs[1:])
            biases.update(inputs[:1])
        elif node.op_type in {"QLinearConv", "QLinearMatMul"}:
            parameters.update(inputs[i] for i in (1, 2, 4, 5, 6, 7) if i < len(inputs))
            biases.update(inputs[8:9])
    return {"parameters": parameters - {""}, "biases": biases - {""}}


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)
            for one in attribute.graphs:
                yield from _graphs(one)


def _nodes(graph: Any) -> Iterator[Any]:
    for one in _graphs(graph):
        yield from one.node


def _spec(argument: Any) -> TensorSpec:
    kind = argument.type.removeprefix("tensor(").removesuffix(")")
    if kind == argument.type or kind not in _TYPES:
        raise EdgeoptError(
            f"its input or output {argument.name} is a {argument.type}; tensors of numbers were expected",
            "MODEL_UNSUPPORTED",
        )
    sizes = tuple(size if isinstance(size, int) and size >= 0 else None for size in argument.shape)
    return TensorSpec(argument.name, sizes, _TYPES[kind])
