"""litert-quantizer on TFLite files, whoever made them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.technique import Notes, Progress, technique
from edgeopt_host.optimize.techniques import tflite_graph as graph
from edgeopt_host.optimize.techniques import tflite_quantizer as engine
from edgeopt_host.optimize.techniques.tflite_quantizer import Scheme

LIBRARIES = ("litert-quantizer", "ai-edge-litert")
_TAKES = {Format.TFLITE}
_OLD_RUNTIMES = (
    "older runtimes, such as tflite-runtime 2.14, refuse this model: use ai-edge-litert on the "
    "device"
)


@technique("quantize:dynamic", takes=_TAKES, gives=Format.TFLITE, libraries=LIBRARIES)
def dynamic(
    source: Model,
    target: Path,
    *,
    operators: tuple[str, ...] = (),
    layers: tuple[str, ...] = (),
    keep_float: tuple[str, ...] = (),
) -> Notes:
    """Int8 weights; activations are quantized as they come.

    A quarter of the size, usually at the same accuracy, and needs no data.

    Args:
        operators: only these kinds, such as FULLY_CONNECTED.
        layers: only layers whose names in the file fit one of these patterns, such as "*conv2d_1*".
        keep_float: layers that stay in float, by pattern.
    """
    content = source.path.read_bytes()
    graph.check_float(content, source.name)
    return weights_only(content, target, Scheme(8), operators, layers, keep_float)


@technique("quantize:float16", takes=_TAKES, gives=Format.TFLITE, libraries=LIBRARIES)
def float16(
    source: Model,
    target: Path,
    *,
    operators: tuple[str, ...] = (),
    layers: tuple[str, ...] = (),
    keep_float: tuple[str, ...] = (),
) -> Notes:
    """Half-precision weights, which CPUs turn into float32 as they load them.

    Half the size at no loss of accuracy, and needs no data.

    Args:
        operators: only these kinds, such as FULLY_CONNECTED.
        layers: only layers whose names in the file fit one of these patterns, such as "*conv2d_1*".
        keep_float: layers that stay in float32, by pattern.
    """
    content = source.path.read_bytes()
    graph.check_float(content, source.name)
    return weights_only(content, target, engine.FLOAT16, operators, layers, keep_float)


@technique("quantize:int8", takes=_TAKES, gives=Format.TFLITE, libraries=LIBRARIES)
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

    A quarter of the size, and the fastest on CPUs with int8 instructions. Costs a few tenths of a
    point of accuracy; 100 to 500 examples are enough.

    Args:
        io: the type of inputs and outputs; float adds operators that convert.
        fallback: operators that have no integer form stay in float; otherwise they are refused.
        operators: only these kinds, such as CONV_2D.
        layers: only layers whose names in the file fit one of these patterns, such as "*conv2d_1*".
        keep_float: layers that stay in float, by pattern.
    """
    content = source.path.read_bytes()
    graph.check_float(content, source.name)
    return static(
        content, target, Scheme(8, 8), io, fallback, operators, layers, keep_float, calibration,
        progress,
    )  # fmt: skip


@technique("quantize:int16x8", takes=_TAKES, gives=Format.TFLITE, libraries=LIBRARIES)
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
        operators: only these kinds, such as CONV_2D.
        layers: only layers whose names in the file fit one of these patterns, such as "*conv2d_1*".
        keep_float: layers that stay in float, by pattern.
    """
    content = source.path.read_bytes()
    graph.check_float(content, source.name)
    return static(
        content, target, Scheme(8, 16), io, fallback, operators, layers, keep_float, calibration,
        progress,
    )  # fmt: skip


@technique("quantize:int4", takes=_TAKES, gives=Format.TFLITE, libraries=LIBRARIES)
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
    slower than int8 on CPUs: for where storage or transfer counts.

    Args:
        activations: dynamic quantizes them as they come, int8 by ranges from calibration examples, float
            not at all.
        algorithm: how scales are chosen; mse loses least.
        block: weights of fully connected layers that share a scale; 0 for a scale per channel. Others
            than 0 need activations=dynamic and choose scales by min_max.
        io: the type of inputs and outputs with activations=int8.
        operators: only these kinds, such as FULLY_CONNECTED.
        layers: only layers whose names in the file fit one of these patterns, such as "*conv2d_1*".
        keep_float: layers that stay in float, by pattern.
    """
    content = source.path.read_bytes()
    graph.check_float(content, source.name)
    return four_bits(
        content, target, activations, algorithm, block, io, operators, layers, keep_float,
        calibration, progress,
    )  # fmt: skip


def four_bits(
    content: bytes,
    target: Path,
    activations: Literal["dynamic", "int8", "float"],
    algorithm: Literal["mse", "octav", "min_max"],
    block: int,
    io: engine.IO,
    operators: Sequence[str],
    layers: Sequence[str],
    keep_float: Sequence[str],
    calibration: Examples | None,
    progress: Progress,
) -> Notes:
    """As `int4`, of the content of a float model."""
    if block and activations != "dynamic":
        raise UsageError(f"block={block} needs activations=dynamic, not {activations}")
    if io != "float" and activations != "int8":
        raise UsageError(f"io={io} needs activations=int8, not {activations}")
    if activations == "int8":
        if calibration is None:
            raise EdgeoptError(
                "activations=int8 needs calibration examples: give --data, or leave activations dynamic",
                "DATA_REQUIRED",
            )
        scheme = Scheme(4, 8, algorithm=algorithm)
        return static(
            content, target, scheme, io, True, operators, layers, keep_float, calibration, progress
        )
    compute: Literal["float", "integers"] = "float" if activations == "float" else "integers"
    scheme = Scheme(4, compute=compute, algorithm=algorithm, block=block)
    return weights_only(content, target, scheme, operators, layers, keep_float)


def weights_only(
    content: bytes,
    target: Path,
    scheme: Scheme,
    operators: Sequence[str],
    layers: Sequence[str],
    keep_float: Sequence[str],
) -> Notes:
    """Quantizes weights of a float model, and writes it."""
    weighted = [one for one in graph.operators(content) if one.kind in graph.WEIGHTED]
    if not any(one.stored for one in weighted):
        raise EdgeoptError(
            f"the model has no operator with weights to quantize; it has "
            f"{graph.counted(graph.operators(content))}",
            "UNSUPPORTED_OPERATOR",
        )
    picked, others = graph.chosen(
        weighted, layers=layers, operators=operators, keep_float=keep_float
    )
    schemes: dict[str, Scheme | None] = {one.name: None for one in others}
    if scheme.block:
        # Rows that cannot be cut into blocks have a scale for each channel.
        plain = replace(scheme, block=0)
        schemes |= {one.name: plain for one in picked if one.width % scheme.block}
    made = engine.quantize(content, scheme, schemes)
    return weights_written(made, target)


def weights_written(content: bytes, target: Path) -> Notes:
    """Writes a model with quantized weights, and tells which operators keep theirs in float."""
    found = graph.operators(content)
    kept = graph.float_weights(found)
    if len(kept) == sum(1 for one in found if one.kind in graph.WEIGHTED and one.stored):
        raise EdgeoptError(
            f"none of the model's operators could be quantized so; it has {graph.counted(found)}",
            "UNSUPPORTED_OPERATOR",
        )
    return written(content, target, kept)


def written(content: bytes, target: Path, kept: Sequence[graph.Operator]) -> Notes:
    """Writes a quantized model; `kept` are its operators that stayed in float."""
    found = graph.operators(content)
    graph.settle(content, target)
    notes: Notes = {"fallback": [one.label for one in kept]}
    newer = {one.kind for one in graph.hybrid(found)} & {"FULLY_CONNECTED"}
    if newer or any(one.stored == "INT4" for one in found):
        notes["warnings"] = [_OLD_RUNTIMES]
    return notes


def static(
    content: bytes,
    target: Path,
    scheme: Scheme,
    io: engine.IO,
    fallback: bool,
    operators: Sequence[str],
    layers: Sequence[str],
    keep_float: Sequence[str],
    calibration: Examples,
    progress: Progress,
) -> Notes:
    """Quantizes weights and activations of a float model, and writes it."""
    _, others = graph.chosen(
        graph.operators(content), layers=layers, operators=operators, keep_float=keep_float
    )
    whole = graph.with_signature(content)
    bits: Literal[8, 16] = 16 if scheme.activations == 16 else 8  # noqa: PLR2004
    reached = engine.ranges(whole, calibration, bits, progress)
    names = {one.name for one in others}
    made = engine.quantize(whole, scheme, dict.fromkeys(names), io=io, reached=reached)
    return static_written(made, target, fallback=fallback, floats=names)


def static_written(
    content: bytes, target: Path, *, fallback: bool, floats: set[str] | None = None
) -> Notes:
    """Writes a model with quantized activations, and tells which operators compute in float.

    Args:
        content: of the model.
        target: the file.
        fallback: whether there may be such operators.
        floats: names of operators that were to stay in float.
    """
    kept = graph.float_operators(graph.operators(content))
    unasked = [one for one in kept if one.name not in (floats or set())]
    if unasked and not fallback:
        raise EdgeoptError(
            f"{graph.counted(unasked)} cannot be computed in integers ({unasked[0].name} first): allow "
            "them in float with fallback=true",
            "UNSUPPORTED_OPERATOR",
        )
    return written(content, target, kept)
