"""TensorFlow's formats to ONNX, by tf2onnx, verified on examples."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize.agreement import verified
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.technique import Notes, technique
from edgeopt_host.optimize.techniques import onnx_graph as graphs

_LEAST, _MOST = 11, 18


@technique(
    "convert:onnx",
    takes={Format.KERAS, Format.SAVED_MODEL, Format.TFLITE},
    gives=Format.ONNX,
    libraries={"onnx", "tensorflow", "tf2onnx"},
    verifies=True,
)
def onnx(
    source: Model,
    target: Path,
    *,
    opset: int = 17,
    tolerance: float = 1e-4,
    validation: Examples,
) -> Notes:
    """A float ONNX model of a Keras model, a SavedModel or a float TFLite model.

    Costs no accuracy. Inputs keep their layout, which is channels last in TensorFlow.

    Args:
        opset: the version of the operators, 11 to 18.
        tolerance: the largest difference of outputs from the source's, relative to their size.
    """
    if not _LEAST <= opset <= _MOST:
        raise UsageError(f"opset is {opset}; it is {_LEAST} to {_MOST}")
    with _converting(source):
        made = {
            Format.KERAS: _of_keras,
            Format.SAVED_MODEL: _of_saved_model,
            Format.TFLITE: _of_tflite,
        }[source.format](source, opset, target)
    graphs.save(_settled(made), target)
    agreed = verified(source, graphs.model_of(target), validation, tolerance)
    return {"agreement": agreed, "warnings": []}


@contextlib.contextmanager
def _converting(source: Model) -> Iterator[None]:
    with graphs.quiet():
        try:
            yield
        except (EdgeoptError, MemoryError):
            raise
        except Exception as error:
            told = graphs.why(error)
            reason = (
                "UNSUPPORTED_OPERATOR" if "not supported" in str(error) else "CONVERSION_FAILED"
            )
            raise EdgeoptError(f"tf2onnx cannot convert {source.name}: {told}", reason) from error


def _of_keras(source: Model, opset: int, _: Path) -> Any:
    from edgeopt_host.optimize.formats import _tensorflow, keras

    return _of_called(_tensorflow.of_keras(keras.load(source)[1], source.name), opset)


def _of_saved_model(source: Model, opset: int, _: Path) -> Any:
    from edgeopt_host.optimize.formats import _tensorflow, saved_model

    return _of_called(_tensorflow.of_signature(*saved_model.load(source)), opset)


def _of_called(called: Any, opset: int) -> Any:
    """Through a function with names of its own: what Keras 2, Keras 3 and SavedModels hold differs."""
    import tensorflow as tf
    import tf2onnx

    specs = [
        tf.TensorSpec(one.shape, one.dtype, name=_plain(one.name))
        for one in called.signature.inputs
    ]

    @tf.function(input_signature=specs)  # type: ignore[untyped-decorator]
    def infer(*tensors: Any) -> Any:
        return {_plain(name): tf.identity(one) for name, one in called(tensors).items()}

    model, _ = tf2onnx.convert.from_function(infer, input_signature=specs, opset=opset)
    return model


def _of_tflite(source: Model, opset: int, target: Path) -> Any:
    import onnx as onnx_
    import tf2onnx

    with graphs.workspace(target) as folder:
        path = folder / "made.onnx"
        tf2onnx.convert.from_tflite(str(source.path), opset=opset, output_path=str(path))
        return onnx_.load(str(path))


def _settled(model: Any) -> Any:
    """The same model whatever the process: tf2onnx joins equal constants under the name of any of them."""
    graph = model.graph
    used = [name for node in graph.node for name in node.input]
    order = {name: number for number, name in reversed(list(enumerate(used)))}
    found = sorted(graph.initializer, key=lambda one: (order.get(one.name, len(used)), one.name))
    names = {
        one.name: f"constant_{number}"
        for number, one in enumerate(found)
        if one.name.startswith("const_")
    }
    for one in found:
        one.name = names.get(one.name, one.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    kept = [copy.deepcopy(one) for one in found]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return model


def _plain(name: str) -> str:
    return name.partition(":")[0]
