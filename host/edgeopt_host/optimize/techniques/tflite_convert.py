"""Keras models and SavedModels to TFLite."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize import agreement
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.technique import Notes, technique
from edgeopt_host.optimize.techniques import tflite_graph as graph

SOURCES = frozenset({Format.KERAS, Format.SAVED_MODEL})
LIBRARIES = ("tensorflow", "keras", "tf-keras")
# What the converter says of operators that it cannot express: names, with their attributes in brackets.
_MISSING = re.compile(
    r"(?:Flex|Custom) ops: ([^\n]+)|'tf\.(\w+)' op is neither a custom op nor a flex op"
)
_UNQUANTIZED = re.compile(
    r"Quantization not yet supported for op: '([\w.]+)'|'tfl\.(\w+)' op .*(?:quantiz|must be)"
)
_LONGEST = 300


@technique("convert:tflite", takes=SOURCES, gives=Format.TFLITE, libraries=LIBRARIES, verifies=True)
def convert(source: Model, target: Path, *, tolerance: float = 1e-4, validation: Examples) -> Notes:
    """Float32 TFLite, with outputs that agree with the source's.

    The first float model for a device, which quantized ones are measured against. Costs nothing in
    accuracy; batch normalization is folded into the layer before it.

    Args:
        tolerance: the largest difference of outputs that is allowed, as a share of the largest output
            or of 1.
    """
    content = converted(source)
    graph.settle(content, target)
    made = Model.of(target, Format.TFLITE)
    return {"agreement": agreement.verified(source, made, validation, tolerance)}


def converted(source: Model, settings: Callable[[Any], None] | None = None) -> bytes:
    """What TFLiteConverter makes of a model.

    Args:
        source: a Keras model or SavedModel.
        settings: changes the converter's attributes; none for float32.

    Raises:
        EdgeoptError: UNSUPPORTED_OPERATOR, naming them; CONVERSION_FAILED.
    """
    converter = _converter(source)
    if settings is not None:
        settings(converter)
    try:
        return bytes(converter.convert())
    except Exception as error:  # a ConverterError, or whatever tracing the model raises
        raise _failed(source, error) from error


def _converter(source: Model) -> Any:
    import tensorflow as tf

    if source.format is Format.SAVED_MODEL:
        keys = [_signature(source)]
        return tf.lite.TFLiteConverter.from_saved_model(str(source.path), signature_keys=keys)
    from edgeopt_host.optimize.formats import keras

    _, model = keras.load(source)
    return tf.lite.TFLiteConverter.from_keras_model(model)


def _signature(source: Model) -> str:
    from edgeopt_host.optimize.formats import saved_model

    loaded, function = saved_model.load(source)
    return next(str(name) for name, one in loaded.signatures.items() if one is function)


def _failed(source: Model, error: Exception) -> EdgeoptError:
    text = str(error)
    missing = sorted(
        {
            name.strip()
            for one, other in _MISSING.findall(text)
            for name in (one or other).split(",")
        }
    )
    if missing:
        return EdgeoptError(
            f"TFLite has no {', '.join(missing)}, which {source.name} uses: rewrite these layers with "
            "others, or convert to ONNX",
            "UNSUPPORTED_OPERATOR",
        )
    found = sorted({one or other for one, other in _UNQUANTIZED.findall(text)})
    if found:
        return EdgeoptError(
            f"{', '.join(found)} of {source.name} cannot be computed in integers: allow them in float "
            "with fallback=true",
            "UNSUPPORTED_OPERATOR",
        )
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    return EdgeoptError(
        f"TFLiteConverter failed on {source.name}: {first[:_LONGEST]}", "CONVERSION_FAILED"
    )
