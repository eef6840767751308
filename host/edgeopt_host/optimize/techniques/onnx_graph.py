"""What techniques for ONNX share: graphs read, brought into one form, and written.

The types of `onnx` are not named: it is imported where it is needed only.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import tempfile
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize.model import Format, Model

# What the oldest runtime that edgeopt installs takes (ONNX Runtime 1.23), with a margin.
MOST_IR, MOST_OPSET = 10, 21
# The first in which QuantizeLinear has an axis, for scales per channel.
LEAST_OPSET = 13
# A protobuf message holds 2 GiB.
_MOST_INLINE_BYTES = 2**31 - 2**24
# A matrix or a kernel; biases and scales have fewer axes.
_WEIGHT_AXES = 2
_MOST_GROWTH = 1.05
# Operators that have most of a model's weights.
_WEIGHTED = {
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "Gather", "LSTM", "GRU", "RNN"),
    *("Attention", "EmbedLayerNormalization"),
}
_LONGEST = 300
_SHOWN = 8
ALL = "all"


@dataclass(frozen=True)
class Layer:
    """A node that has weights.

    Attributes:
        name: of the node.
        operator: its type, such as "Conv".
        bytes: of its float weights, without biases.
    """

    name: str
    operator: str
    bytes: int


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what quantizers log and warn of at every call."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(before)


def load(source: Model) -> Any:
    """The whole model, with what lies beside its file.

    Raises:
        EdgeoptError: MODEL_INVALID when it cannot be read.
    """
    from edgeopt_host.optimize.formats import onnx

    return onnx.load(source)


def prepare(source: Model) -> Any:
    """A model in the form that quantizers understand, which computes the same.

    Weights in Constant nodes become initializers, every node gets a name of its own, opsets below 13
    are brought there, and onnxslim folds what is constant and fuses batch normalization.
    """
    model = load(source)
    for graph in _graphs(model.graph):
        _constants_to_initializers(graph)
        _inputs_are_no_weights(graph)
    _name_nodes(model)
    if opset(model) < LEAST_OPSET:
        model = _brought_to(model, LEAST_OPSET)
    slim = slimmed(model)
    # What shares weights may grow when it is folded.
    if slim is not None and slim.ByteSize() <= _MOST_GROWTH * model.ByteSize():
        model = slim
    _name_nodes(model)
    return model


def slimmed(model: Any) -> Any | None:
    """What onnxslim makes of it; None when it fails."""
    import onnxslim

    with quiet():
        try:
            return onnxslim.slim(copy.deepcopy(model))
        except Exception:  # noqa: BLE001 - a model that it cannot simplify stays as it is
            return None


def opset(model: Any) -> int:
    """The version of the standard operators that a model is written in."""
    return max(
        (one.version for one in model.opset_import if one.domain in {"", "ai.onnx"}), default=1
    )


def layers(model: Any, operators: Collection[str] | None = None) -> list[Layer]:
    """Nodes with float weights of two or more axes, in the order of the graph."""
    sizes = _weights(model.graph)
    return [
        Layer(node.name, node.op_type, sum(sizes[name] for name in node.input if name in sizes))
        for node in model.graph.node
        if (operators is None or node.op_type in operators)
        and any(name in sizes for name in node.input)
    ]


def still_float(model: Any) -> list[str]:
    """Layers of a quantized model that compute with float weights, as "name (operator)"."""
    return [f"{one.name} ({one.operator})" for one in layers(model, _WEIGHTED)]


def select(
    model: Any,
    operators: Collection[str],
    *,
    only: Sequence[str],
    without: Sequence[str],
) -> list[str]:
    """Names of nodes to quantize.

    Args:
        model: as `prepare` gives it.
        operators: types of operators.
        only: patterns of node names; empty for all.
        without: patterns of node names, or types of operators, that stay float.

    Raises:
        UsageError: for a pattern that fits no node.
        EdgeoptError: UNSUPPORTED_OPERATOR when nothing is left.
    """
    nodes = {node.name: node.op_type for node in model.graph.node}
    candidates = [name for name, kind in nodes.items() if kind in operators]
    for pattern in (*only, *without):
        if not any(_fits(name, kind, [pattern]) for name, kind in nodes.items()):
            known = ", ".join((candidates or list(nodes))[:_SHOWN])
            raise UsageError(f"no layer of this model is called {pattern!r}; it has {known}, …")
    chosen = [
        name
        for name in candidates
        if (not only or _fits(name, nodes[name], only)) and not _fits(name, nodes[name], without)
    ]
    if chosen:
        return chosen
    wanted = ", ".join(sorted(operators))
    raise EdgeoptError(
        f"there is nothing to quantize: of {wanted} the model has none that is selected; it consists of "
        f"{census(model)}",
        "UNSUPPORTED_OPERATOR",
    )


def census(model: Any) -> str:
    """What a model consists of, in words."""
    counts: dict[str, int] = {}
    for node in model.graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    most = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    told = ", ".join(f"{count} {kind}" for kind, count in most[:_SHOWN])
    return told + (", …" if len(most) > _SHOWN else "")


def save(model: Any, target: Path) -> None:
    """Writes a model that old runtimes read as well; the same model gives the same bytes.

    Weights stand in the file itself, and beside it as NAME.data from 2 GiB on.

    Raises:
        EdgeoptError: CONVERSION_FAILED when ONNX Runtime does not load it; there is no file then.
    """
    import onnx

    if opset(model) > MOST_OPSET:
        model = _brought_to(model, MOST_OPSET)
    model.ir_version = min(model.ir_version, MOST_IR)
    used = {node.domain for graph in _graphs(model.graph) for node in graph.node}
    used |= {node.domain for function in model.functions for node in function.node}
    kept = [one for one in model.opset_import if one.domain in used | {""} or model.functions]
    imports = {one.domain: one.version for one in kept}
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(*one) for one in sorted(imports.items()))
    beside = target.with_name(f"{target.name}.data")
    try:
        if _weight_bytes(model) < _MOST_INLINE_BYTES:
            target.write_bytes(model.SerializeToString(deterministic=True))
        else:
            onnx.save(model, str(target), save_as_external_data=True, location=beside.name)
        check_loads(target)
    except BaseException:
        target.unlink(missing_ok=True)
        beside.unlink(missing_ok=True)
        raise


def check_loads(path: Path) -> None:
    """Whether ONNX Runtime takes it.

    Raises:
        EdgeoptError: CONVERSION_FAILED when it does not.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise EdgeoptError(
            f"ONNX Runtime does not load what was made: {why(error)}", "CONVERSION_FAILED"
        ) from error


@contextlib.contextmanager
def library(name: str) -> Iterator[None]:
    """What a quantizer raises becomes one sentence."""
    try:
        with quiet():
            yield
    except (EdgeoptError, MemoryError):
        raise
    except OSError:
        raise
    except Exception as error:
        raise EdgeoptError(
            f"{name} cannot quantize this model: {why(error)}", "CONVERSION_FAILED"
        ) from error


def why(error: BaseException) -> str:
    """The first line of a library's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:_LONGEST]}" if lines else type(error).__name__


@contextlib.contextmanager
def workspace(target: Path) -> Iterator[Path]:
    """A folder for files on the way, on the disk where the model is going to be."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".onnx-") as folder:
        yield Path(folder)


def model_of(path: Path) -> Model:
    beside = path.with_name(f"{path.name}.data")
    return Model.of(path, Format.ONNX, (beside,) if beside.exists() else ())


def _fits(name: str, operator: str, patterns: Iterable[str]) -> bool:
    return any(pattern == operator or fnmatchcase(name, pattern) for pattern in patterns)


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph and those inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                if inner.node:
                    yield from _graphs(inner)


def _constants_to_initializers(graph: Any) -> None:
    kept = []
    outputs = {one.name for one in graph.output}
    for node in graph.node:
        tensors = [one.t for one in node.attribute if one.name == "value"]
        if node.op_type == "Constant" and tensors and node.output[0] not in outputs:
            tensors[0].name = node.output[0]
            graph.initializer.append(tensors[0])
        else:
            kept.append(copy.deepcopy(node))
    del graph.node[:]
    graph.node.extend(kept)


def _inputs_are_no_weights(graph: Any) -> None:
    """Until IR 3, weights were listed among the inputs."""
    weights = {one.name for one in graph.initializer}
    kept = [copy.deepcopy(one) for one in graph.input if one.name not in weights]
    del graph.input[:]
    graph.input.extend(kept)


def _name_nodes(model: Any) -> None:
    seen: set[str] = set()
    for graph in _graphs(model.graph):
        for index, node in enumerate(graph.node):
            name = node.name or f"{node.op_type}_{index}"
            while name in seen:
                name += "_"
            node.name = name
            seen.add(name)


def _brought_to(model: Any, version: int) -> Any:
    """The model in another opset; itself when some of its operators have no way there."""
    from onnx import version_converter

    try:
        return version_converter.convert_version(model, version)
    except Exception:  # noqa: BLE001 - what needs the opset, or the runtime, says so
        return model


def _weights(graph: Any) -> dict[str, int]:
    """Bytes of float initializers with two or more axes."""
    from onnx import TensorProto

    sizes = {TensorProto.FLOAT: 4, TensorProto.DOUBLE: 8}
    return {
        one.name: _elements(one) * sizes[one.data_type]
        for one in graph.initializer
        if one.data_type in sizes and len(one.dims) >= _WEIGHT_AXES and _elements(one) > 1
    }


def _elements(tensor: Any) -> int:
    count = 1
    for size in tensor.dims:
        count *= size
    return count


def _weight_bytes(model: Any) -> int:
    return sum(one.ByteSize() for graph in _graphs(model.graph) for one in graph.initializer)
