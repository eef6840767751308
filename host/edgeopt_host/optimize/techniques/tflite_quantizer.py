"""litert-quantizer: a float TFLite file in, a quantized one out, operator by operator."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.formats.predict import bind, check, stored
from edgeopt_host.optimize.technique import Progress
from edgeopt_host.optimize.techniques import tflite_graph as graph
from edgeopt_host.optimize.tensors import Array, TensorSpec

IO = Literal["int8", "uint8", "int16", "float"]
_SIGNATURE = "serving_default"
_ALL = "*"
_LONGEST = 300


@dataclass(frozen=True)
class Scheme:
    """How an operator is quantized.

    Attributes:
        weights: bits of its weights: 4 or 8, or 16 for float16. Operators that cannot have 4 get 8.
        activations: bits of what it takes and gives: 8 or 16; 0 for float.
        compute: "integers", or "float" when weights are dequantized before they are used.
        algorithm: how scales of 4-bit weights are chosen: "mse", "octav" or "min_max".
        block: weights of fully connected layers that share a 4-bit scale; 0 for a scale per channel.
    """

    weights: Literal[4, 8, 16]
    activations: Literal[0, 8, 16] = 0
    compute: Literal["integers", "float"] = "integers"
    algorithm: Literal["mse", "octav", "min_max"] = "mse"
    block: int = 0


FLOAT16 = Scheme(16, compute="float")
# Highest and lowest values by tensor name.
Ranges = dict[str, Any]


def ranges(
    content: bytes, examples: Examples, bits: Literal[8, 16], progress: Progress | None = None
) -> Ranges:
    """What every tensor reaches on the examples.

    Args:
        content: of a float model with a signature (`tflite_graph.with_signature`).
        examples: to run it on.
        bits: of activations.
        progress: called as they come.

    Raises:
        EdgeoptError: DATA_INVALID when they do not fit the model.
    """
    from litert_quantizer import calibrator, recipe_manager
    from litert_quantizer.utils import qsv_utils

    key, given = feeds(content, examples)
    recipe = recipe_manager.RecipeManager()
    recipe.load_quantization_recipe(_entries(".*", Scheme(8, bits)))
    one = calibrator.Calibrator(content, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    for index, feed in enumerate(given):
        one.calibrate({key: [feed]}, recipe)
        if progress is not None:
            progress((index + 1) / len(given), f"calibrating: {index + 1} of {len(given)} examples")
    return dict(one.get_model_qsvs())


def feeds(content: bytes, examples: Examples) -> tuple[str, list[dict[str, Array]]]:
    """A signature's name, and examples by its input names, as many at a time as the model takes.

    Raises:
        EdgeoptError: DATA_INVALID when they do not fit it.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    keys = list(interpreter.get_signature_list())
    key = _SIGNATURE if _SIGNATURE in keys else str(keys[0])
    details = interpreter.get_signature_runner(key).get_input_details()
    specs = [_spec(name, one) for name, one in details.items()]
    names = bind(specs, examples)
    check(specs, names, examples)
    sizes = {spec.shape[0] for spec in specs if spec.shape} - {None}
    size = sizes.pop() if len(sizes) == 1 else 1
    whole = {spec.name: len(spec.shape) == examples.inputs[names[spec.name]].ndim for spec in specs}
    step = (size or 1) if all(whole.values()) else 1
    given = []
    for first in range(0, len(examples), step):
        rows = np.minimum(np.arange(first, first + step), len(examples) - 1)
        arrays = {spec.name: examples.inputs[names[spec.name]][rows] for spec in specs}
        given.append(
            {
                spec.name: stored(
                    spec, arrays[spec.name] if whole[spec.name] else arrays[spec.name][0]
                )
                for spec in specs
            }
        )
    return key, given


def quantize(
    content: bytes,
    base: Scheme | None,
    by_operator: Mapping[str, Scheme | None],
    *,
    io: IO = "float",
    reached: Ranges | None = None,
) -> bytes:
    """Quantizes a float model.

    Args:
        content: of a float model with a signature.
        base: for every operator that is not named; None leaves them in float.
        by_operator: others, by the operators' names; None is float.
        io: the type of inputs and outputs, where there are quantized activations.
        reached: by `ranges`, where there are.

    Raises:
        EdgeoptError: CONVERSION_FAILED.
    """
    from litert_quantizer import quantizer

    recipe = [] if base is None else _entries(".", base)
    schemes = [base, *by_operator.values()]
    if any(one is not None and one.activations for one in schemes):
        recipe += _ends(io)
    for name, scheme in by_operator.items():
        exact = f"^{re.escape(name)};$"
        recipe += [_none(exact, _ALL)] if scheme is None else _entries(exact, scheme)
    try:
        engine = quantizer.Quantizer(content)
        engine.load_quantization_recipe(recipe)
        made = engine.quantize(reached, enable_progress_bar=False, enable_progress_report=False)
    except Exception as error:  # any of the library's own, some of flatbuffers and numpy
        why = " ".join(str(error).split())[:_LONGEST] or type(error).__name__
        raise EdgeoptError(f"litert-quantizer failed: {why}", "CONVERSION_FAILED") from error
    return graph.with_versions(bytes(made.quantized_model or b""))


def _entries(regex: str, scheme: Scheme) -> list[dict[str, Any]]:
    """The library's recipe: of entries that an operator can follow, the last counts.

    They are kept by expression, so each gets its own for the same.
    """
    if scheme.weights == 16:  # noqa: PLR2004
        return [_entry(regex, _weights(16, "CHANNELWISE", scheme), "float_casting")]
    made = [_entry(regex, _weights(8, "CHANNELWISE", scheme), "min_max_uniform_quantize")]
    if scheme.weights == 4:  # noqa: PLR2004
        algorithm = {"min_max": "min_max_uniform_quantize", "mse": "MSE", "octav": "OCTAV"}
        chosen = algorithm[scheme.algorithm]
        made.append(_entry(f"(?:{regex})", _weights(4, "CHANNELWISE", scheme), chosen))
        if scheme.block:
            blocks = _weights(4, f"BLOCKWISE_{scheme.block}", scheme)
            made.append(_entry(f"(?:(?:{regex}))", blocks, "min_max_uniform_quantize"))
    return made


def _entry(regex: str, config: dict[str, Any], algorithm: str) -> dict[str, Any]:
    return {
        "regex": regex,
        "operation": _ALL,
        "algorithm_key": algorithm,
        "op_config": config,
    }


def _weights(bits: int, granularity: str, scheme: Scheme) -> dict[str, Any]:
    in_float = scheme.compute == "float"
    config: dict[str, Any] = {
        "weight_tensor_config": {
            "num_bits": bits,
            "symmetric": True,
            "granularity": granularity,
            "dtype": "FLOAT" if bits == 16 else "INT",  # noqa: PLR2004
        },
        "compute_precision": "FLOAT" if in_float else "INTEGER",
        "explicit_dequantize": in_float,
    }
    if scheme.activations:
        config["activation_tensor_config"] = _activations(scheme.activations, "INT")
    return config


def _activations(bits: int, dtype: str) -> dict[str, Any]:
    return {
        "num_bits": bits,
        "symmetric": bits == 16,  # noqa: PLR2004 - as LiteRT's kernels insist
        "granularity": "TENSORWISE",
        "dtype": dtype,
    }


def _ends(io: IO) -> Iterable[dict[str, Any]]:
    """Entries for the graph's inputs and outputs."""
    regex = "(?s:.)"
    if io == "float":
        return [_none(regex, "INPUT"), _none(regex, "OUTPUT")]
    bits = 16 if io == "int16" else 8
    config = _weights(8, "CHANNELWISE", Scheme(8))
    config["activation_tensor_config"] = _activations(bits, "UINT" if io == "uint8" else "INT")
    entry = _entry(regex, config, "min_max_uniform_quantize")
    return [{**entry, "operation": "INPUT"}, {**entry, "operation": "OUTPUT"}]


def _none(regex: str, operation: str) -> dict[str, Any]:
    return {
        "regex": regex,
        "operation": operation,
        "algorithm_key": "no_quantize",
        # The library reads it of every entry.
        "op_config": {"compute_precision": "FLOAT"},
    }


def _spec(name: str, details: Mapping[str, Any]) -> TensorSpec:
    shape = tuple(None if size < 0 else int(size) for size in details["shape_signature"])
    return TensorSpec(name, shape, np.dtype(details["dtype"]).name)
