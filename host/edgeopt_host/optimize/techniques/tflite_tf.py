"""TensorFlow's own quantizer: Keras models and SavedModels to quantized TFLite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.technique import Notes, Progress, technique
from edgeopt_host.optimize.techniques import tflite_graph as graph
from edgeopt_host.optimize.techniques import tflite_litert as litert
from edgeopt_host.optimize.techniques import tflite_quantizer as engine
from edgeopt_host.optimize.techniques.tflite_convert import LIBRARIES, SOURCES, converted
from edgeopt_host.optimize.tensors import Array

_BOTH = (*LIBRARIES, "litert-quantizer")


@technique("quantize:dynamic", takes=SOURCES, gives=Format.TFLITE, libraries=_BOTH)
def dynamic(
    source: Model,
    target: Path,
    *,
    operators: tuple[str, ...] = (),
    layers: tuple[str, ...] = (),
    keep_float: tuple[str, ...] = (),
) -> Notes:
    """Int8 weights; activations are quantized as they come.

    A quarter of the size, usually at the same accuracy, and needs no data. Weights of less than 1024
    values stay in float. Runtimes before TensorFlow Lite 2.17 refuse the file. The three choices of
    layers are made by litert-quantizer, everything by TFLiteConverter.

    Args:
        operators: only these kinds, such as FULLY_CONNECTED.
        layers: only layers whose names in the TFLite file fit one of these patterns, such as "*conv2d_1*".
        keep_float: layers that stay in float, by pattern.
    """
    if operators or layers or keep_float:
        return litert.weights_only(
            converted(source), target, engine.Scheme(8), operators, layers, keep_float
        )

    def settings(converter: Any) -> None:
        _optimize(converter)

    return litert.weights_written(converted(source, settings), target)


@technique("quantize:float16", takes=SOURCES, gives=Format.TFLITE, libraries=_BOTH)
def float16(
    source: Model,
    target: Path,
    *,
    operators: tuple[str, ...] = (),
    layers: tuple[str, ...] = (),
    keep_float: tuple[str, ...] = (),
) -> Notes:
    """Half-precision weights, which CPUs turn into float32 as they load them.

    Half the size at no loss of accuracy, and needs no data. On a CPU it is as fast as float32, on a
    GPU twice as fast.

    Args:
        operators: only these kinds, such as FULLY_CONNECTED.
        layers: only layers whose names in the TFLite file fit one of these patterns, such as "*conv2d_1*".
        keep_float: layers that stay in float32, by pattern.
    """
    if operators or layers or keep_float:
        return litert.weights_only(
            converted(source), target, engine.FLOAT16, operators, layers, keep_float
        )

    def settings(converter: Any) -> None:
        import tensorflow as tf

        _optimize(converter)
        converter.target_spec.supported_types = [tf.float16]

    return litert.weights_written(converted(source, settings), target)


@technique("quantize:int8", takes=SOURCES, gives=Format.TFLITE, libraries=_BOTH)
def int8(
    source: Model,
    target: Path,
    *,
    io: Literal["int8", "uint8", "float"] = "int8",
    fallback: bool = False,
    operators: tuple[str, ...] = (),
    layers: tuple[str, ...] = (),
    keep_float: tuple[str, ...] = (),
    calibration: Examples,
    progress: Progress,
) -> Notes:
    """Int8 weights and activations, with ranges from calibration examples.

    A quarter of the size, the fastest on CPUs with int8 instructions, and what microcontrollers and
    NPUs ask for. Costs a few tenths of a point of accuracy; 100 to 500 examples are enough.

    Args:
        io: the type of inputs and outputs; float adds operators that convert.
        fallback: operators that have no integer form stay in float; otherwise they are refused.
        operators: only these kinds, such as CONV_2D; chosen by litert-quantizer.
        layers: only layers whose names in the TFLite file fit one of these patterns, such as "*conv2d_1*".
        keep_float: layers that stay in float, by pattern.
    """
    floats = converted(source)
    if operators or layers or keep_float:
        return litert.static(
            floats, target, engine.Scheme(8, 8), io, fallback, operators, layers, keep_float,
            calibration, progress,
        )  # fmt: skip

    def settings(converter: Any) -> None:
        import tensorflow as tf

        types = {"int8": tf.int8, "uint8": tf.uint8, "float": tf.float32}
        _optimize(converter)
        converter.representative_dataset = _representative(floats, calibration, progress)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if fallback:
            converter.target_spec.supported_ops.append(tf.lite.OpsSet.TFLITE_BUILTINS)
        converter.inference_input_type = types[io]
        converter.inference_output_type = types[io]

    return litert.static_written(converted(source, settings), target, fallback=fallback)


@technique("quantize:int16x8", takes=SOURCES, gives=Format.TFLITE, libraries=_BOTH)
def int16x8(
    source: Model,
    target: Path,
    *,
    io: Literal["int16", "float"] = "float",
    fallback: bool = False,
    operators: tuple[str, ...] = (),
    layers: tuple[str, ...] = (),
    keep_float: tuple[str, ...] = (),
    calibration: Examples,
    progress: Progress,
) -> Notes:
    """Int8 weights and int16 activations, with ranges from calibration examples.

    As accurate as float at a quarter of the size, for hardware made for it. On CPUs it has slow
    kernels only: tens of times slower than float.

    Args:
        io: the type of inputs and outputs; float adds operators that convert.
        fallback: operators that have no such form stay in float; otherwise they are refused.
        operators: only these kinds, such as CONV_2D; chosen by litert-quantizer.
        layers: only layers whose names in the TFLite file fit one of these patterns, such as "*conv2d_1*".
        keep_float: layers that stay in float, by pattern.
    """
    floats = converted(source)
    if operators or layers or keep_float:
        return litert.static(
            floats, target, engine.Scheme(8, 16), io, fallback, operators, layers, keep_float,
            calibration, progress,
        )  # fmt: skip

    def settings(converter: Any) -> None:
        import tensorflow as tf

        sets = tf.lite.OpsSet
        wanted = sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        type_ = tf.int16 if io == "int16" else tf.float32
        _optimize(converter)
        converter.representative_dataset = _representative(floats, calibration, progress)
        converter.target_spec.supported_ops = [
            wanted,
            *([sets.TFLITE_BUILTINS] if fallback else []),
        ]
        converter.inference_input_type = converter.inference_output_type = type_

    return litert.static_written(converted(source, settings), target, fallback=fallback)


@technique("quantize:int4", takes=SOURCES, gives=Format.TFLITE, libraries=_BOTH)
def int4(
    source: Model,
    target: Path,
    *,
    activations: Literal["dynamic", "int8", "float"] = "dynamic",
    algorithm: Literal["mse", "octav", "min_max"] = "mse",
    block: Literal[0, 32, 64, 128, 256] = 0,
    io: Literal["int8", "uint8", "float"] = "float",
    operators: tuple[str, ...] = (),
    layers: tuple[str, ...] = (),
    keep_float: tuple[str, ...] = (),
    calibration: Examples | None = None,
    progress: Progress,
) -> Notes:
    """4-bit weights of convolutions and fully connected layers, 8-bit of others.

    A sixth to a seventh of the size at a few tenths of a point of accuracy to several points, and
    slower than int8 on CPUs: for where storage or transfer counts. Converted to float32 TFLite first,
    then quantized by litert-quantizer.

    Args:
        activations: dynamic quantizes them as they come, int8 by ranges from calibration examples, float
            not at all.
        algorithm: how scales are chosen; mse loses least.
        block: weights of fully connected layers that share a scale; 0 for a scale per channel. Others
            than 0 need activations=dynamic and choose scales by min_max.
        io: the type of inputs and outputs with activations=int8.
        operators: only these kinds, such as FULLY_CONNECTED.
        layers: only layers whose names in the TFLite file fit one of these patterns, such as "*conv2d_1*".
        keep_float: layers that stay in float, by pattern.
    """
    return litert.four_bits(
        converted(source), target, activations, algorithm, block, io, operators, layers, keep_float,
        calibration, progress,
    )  # fmt: skip


def _optimize(converter: Any) -> None:
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def _representative(
    floats: bytes, calibration: Examples, progress: Progress
) -> Callable[[], Iterator[dict[str, Array]]]:
    """What the converter asks calibration examples of.

    Bound to the inputs of the float model, whose names and order the quantized one has.
    """
    _, given = engine.feeds(graph.with_signature(floats), calibration)

    def samples() -> Iterator[dict[str, Array]]:
        for index, feed in enumerate(given):
            progress((index + 1) / len(given), f"calibrating: {index + 1} of {len(given)} examples")
            yield feed

    return samples
