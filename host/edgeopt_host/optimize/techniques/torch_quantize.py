"""Quantization of torch modules to .ptl and to ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.technique import Notes, Progress, technique
from edgeopt_host.optimize.techniques import torch_modules as modules
from edgeopt_host.optimize.techniques import torch_static as static

_DYNAMIC = ("Linear", "LSTM", "GRU", "LSTMCell", "GRUCell", "RNNCell")


@technique("quantize:dynamic", takes={Format.TORCH}, gives=Format.PTL, libraries={"torch"})
def dynamic(
    source: Model,
    target: Path,
    *,
    engine: Literal["auto", "qnnpack", "fbgemm", "x86", "onednn"] = "auto",
    operators: tuple[str, ...] = ("Linear", "LSTM", "GRU"),
    layers: tuple[str, ...] = (),
    keep_float: tuple[str, ...] = (),
    calibration: Examples,
) -> Notes:
    """Int8 weights of linear and recurrent layers; activations are quantized as they come.

    Needs no calibration (the examples tell shapes only) and loses the least accuracy. Use it for
    networks whose weights stand in linear or recurrent layers; convolutions stay as they are.

    Args:
        engine: the quantized engine it is made for, stored in the file; auto is x86 when all devices
            named are, else qnnpack, which runs on
            ARM and x86.
        operators: classes of layers: Linear, LSTM, GRU, LSTMCell, GRUCell, RNNCell.
        layers: only layers whose names match one of these patterns, such as "encoder.*".
        keep_float: layers that stay in float, by pattern.
    """
    import copy

    import torch
    from torch.ao.quantization import default_dynamic_qconfig, quantize_dynamic

    from edgeopt_host.optimize.formats import torch as bundles

    if unknown := [name for name in operators if name not in _DYNAMIC]:
        raise EdgeoptError(
            f"quantize:dynamic on torch takes {', '.join(_DYNAMIC)} as operators, not {unknown[0]}",
            "UNSUPPORTED_OPERATOR",
        )
    wanted = static.engine_of(engine, "qnnpack")
    module = bundles.load(source)
    weighted = modules.weighted(module)
    picked = modules.chosen(modules.weighted(module, operators), layers, keep_float)
    with modules.quiet(wanted):
        try:
            quantized = quantize_dynamic(
                copy.deepcopy(module),
                dict.fromkeys(picked, default_dynamic_qconfig),
                dtype=torch.qint8,
            )
        except Exception as error:
            raise modules.failed("quantize the module", error) from error
        how = modules.write_ptl(quantized, target, calibration, wanted)
    rest = [
        f"{name} ({type(one).__name__})" for name, one in weighted.items() if name not in picked
    ]
    return {"engine": wanted, "quantized": picked, "fallback": rest, **how}


@technique("quantize:int8", takes={Format.TORCH}, gives=Format.PTL, libraries={"torch"})
def int8(
    source: Model,
    target: Path,
    *,
    engine: Literal["auto", "qnnpack", "fbgemm", "x86", "onednn"] = "auto",
    per_channel: bool = True,
    operators: tuple[str, ...] = (),
    layers: tuple[str, ...] = (),
    keep_float: tuple[str, ...] = (),
    calibration: Examples,
    progress: Progress,
) -> Notes:
    """Static int8: weights and activations, whose ranges calibration examples tell; to .ptl.

    About a quarter of the size. Modules that torch.fx can trace need no change; layers in parts that it
    cannot trace stay in float and are named. Modules written for eager mode (QuantStub) are taken as
    they are written. Inputs and outputs stay float.

    Args:
        engine: the quantized engine it is made for, stored in the file and set by the device; auto is
            qnnpack, which runs on ARM and x86.
        per_channel: a scale for each output channel of weights rather than one for all.
        operators: only layers of these classes, such as Conv2d and Linear; empty for all.
        layers: only layers whose names match one of these patterns, such as "features.*".
        keep_float: layers that stay in float, by pattern.
    """
    from edgeopt_host.optimize.formats import torch as bundles

    wanted = static.engine_of(engine, "qnnpack")
    module = bundles.load(source)
    with modules.quiet(wanted):
        observed = static.observe(
            module,
            calibration,
            engine=wanted,
            operators=operators,
            layers=layers,
            keep_float=keep_float,
            per_channel=per_channel,
            progress=progress,
        )
    with modules.quiet(static.packing(wanted, observed.layers, module)):
        how = modules.write_ptl(observed.convert(), target, calibration, wanted)
    return {**_told(observed), **how}


@technique(
    "quantize:int8-onnx", takes={Format.TORCH}, gives=Format.ONNX, libraries={"torch", "onnx"}
)
def int8_onnx(
    source: Model,
    target: Path,
    *,
    reduce_range: bool = True,
    per_channel: bool = True,
    operators: tuple[str, ...] = (),
    layers: tuple[str, ...] = (),
    keep_float: tuple[str, ...] = (),
    calibration: Examples,
    progress: Progress,
) -> Notes:
    """Static int8 by torch, as an ONNX model with QuantizeLinear and DequantizeLinear.

    As quantize:int8, for ONNX Runtime. convert:onnx and its quantize:int8 are another way, which takes
    more kinds of models; this one knows the module's own layers by name.

    Args:
        reduce_range: activations in 7 bits: x86 processors without VNNI saturate with 8 and lose
            accuracy; ARM does not need it.
        per_channel: a scale for each output channel of weights rather than one for all.
        operators: only layers of these classes, such as Conv2d and Linear; empty for all.
        layers: only layers whose names match one of these patterns, such as "features.*".
        keep_float: layers that stay in float, by pattern.
    """
    from edgeopt_host.optimize.formats import torch as bundles
    from edgeopt_host.optimize.techniques import torch_onnx

    # The engines differ here in the range of activations only.
    wanted = static.engine_of("auto", "x86" if reduce_range else "onednn")
    with modules.quiet(wanted):
        observed = static.observe(
            bundles.load(source),
            calibration,
            engine=wanted,
            operators=operators,
            layers=layers,
            keep_float=keep_float,
            per_channel=per_channel,
            progress=progress,
        )
        batch = torch_onnx.by_script(observed.convert(), target, calibration, opset=18)
    return {**_told(observed), "batch": batch}


def _told(observed: static.Observed) -> Notes:
    return {
        "engine": observed.engine,
        "quantized": observed.layers,
        "fallback": observed.fallback,
        "warnings": observed.warnings,
    }
