"""Static quantization by ONNX Runtime: 8-bit weights and activations."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.technique import Notes, Progress, technique
from edgeopt_host.optimize.techniques import onnx_graph as graphs
from edgeopt_host.optimize.techniques import onnx_qdq as qdq
from edgeopt_host.optimize.techniques.onnx_dynamic import SATURATES

# What has weights. The fall-back when ONNX Runtime does not load a model with all operators quantized.
COMPUTING = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@technique(
    "quantize:int8",
    takes={Format.ONNX},
    gives=Format.ONNX,
    libraries={"onnx", "onnxruntime", "onnxslim"},
)
def int8(
    source: Model,
    target: Path,
    *,
    method: Literal["minmax", "entropy", "percentile"] = "minmax",
    percentile: float = 99.99,
    operators: tuple[str, ...] = (graphs.ALL,),
    layers: tuple[str, ...] = (),
    keep_float: tuple[str, ...] = (),
    activations: Literal["uint8", "int8"] = "uint8",
    symmetric: bool = False,
    per_channel: bool = True,
    reduce_range: bool = True,
    calibration: Examples,
    progress: Progress,
) -> Notes:
    """8-bit weights and activations, with scales from calibration examples (QDQ).

    A quarter of the size, and faster where the processor has 8-bit arithmetic: the first choice for nets
    of convolutions. Often costs some tenths of a point; quantize:mixed keeps float what hurts.

    Args:
        method: the range of a tensor is what was seen (minmax), the one that loses least
            information (entropy), or what holds most values (percentile).
        percentile: how many percent of the values the range holds.
        operators: types to quantize; "all" for whatever ONNX Runtime can.
        layers: patterns of the names of nodes to quantize; all by default.
        keep_float: patterns of names, or types, of nodes that stay float.
        activations: uint8 is fastest on x86; int8 suits ARM and other accelerators as well.
        symmetric: activations have the zero point 0, as TensorRT wants it; with activations=int8.
        per_channel: a scale for each output channel instead of one for the whole weight.
        reduce_range: weights of 7 bits, which x86 processors without VNNI need.
    """
    if not 50 < percentile <= 100:  # noqa: PLR2004 - percent
        raise UsageError(f"percentile is {percentile}; it is above 50, and 100 at most")
    if symmetric and activations != "int8":
        raise UsageError(
            f"symmetric=true needs activations=int8: the zero point of {activations} would be 128, not 0"
        )
    known = qdq.operators()
    for operator in operators:
        if operator not in {graphs.ALL, *known}:
            raise UsageError(
                f"operators has {operator!r}; static quantization knows all, {', '.join(known)}"
            )
    wanted = known if graphs.ALL in operators else list(operators)
    settings = qdq.Settings(method, percentile, per_channel, reduce_range, activations, symmetric)
    from edgeopt_host.optimize import formats

    model = graphs.prepare(source)
    nodes = graphs.select(model, wanted, only=layers, without=keep_float)
    with graphs.workspace(target) as folder:
        runner = formats.open_runner(source)
        calibrated = qdq.Calibrated(model, runner, calibration, settings, wanted, folder, progress)
        made, warnings = _loadable(calibrated, nodes, target)
    # On x86 ONNX Runtime turns int8 activations into uint8, so that both saturate.
    if not reduce_range:
        warnings.append(SATURATES)
    return {
        "calibrated_on": len(calibration),
        "quantized": len(nodes),
        "fallback": graphs.still_float(made),
        "warnings": warnings,
    }


def _loadable(calibrated: qdq.Calibrated, nodes: list[str], target: Path) -> tuple[Any, list[str]]:
    """Written at `target`. ONNX Runtime stumbles over some models that its own quantizer made."""
    kinds = {one.name: one.op_type for one in calibrated.model.graph.node}
    fewer = [name for name in nodes if kinds.get(name) in COMPUTING] or nodes
    tries = [
        (nodes, None, None),
        (fewer, None, f"only {', '.join(COMPUTING)} are in 8 bits"),
        (
            fewer,
            False,
            f"only {', '.join(COMPUTING)} are in 8 bits, with one scale for each weight",
        ),
    ]
    for chosen, per_channel, told in tries:
        try:
            made = calibrated.quantized(chosen, per_channel=per_channel)
            graphs.save(made, target)
        except EdgeoptError as error:  # noqa: PERF203 - the next may do
            failed = error
        else:
            warning = (
                f"ONNX Runtime does not load this model when all is quantized as asked: {told}"
            )
            return made, [warning] if told else []
    raise failed
