"""Conversion of torch models to .ptl and ONNX, verified on examples."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize.agreement import verified
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.technique import Notes, technique
from edgeopt_host.optimize.techniques import torch_modules as modules
from edgeopt_host.optimize.techniques import torch_onnx

_TAKES = {Format.TORCH, Format.TORCHSCRIPT, Format.EXPORTED_PROGRAM}


@technique("convert:ptl", takes=_TAKES, gives=Format.PTL, libraries={"torch"}, verifies=True)
def ptl(source: Model, target: Path, *, tolerance: float = 1e-4, validation: Examples) -> Notes:
    """A float model for PyTorch's lite interpreter, with its signature inside.

    Modules are scripted, or traced where TorchScript cannot compile them, and frozen; batch
    normalization becomes part of the convolutions. Costs no accuracy.

    Args:
        tolerance: the largest difference of outputs from the source's, relative to their size.
    """
    with modules.quiet(), _no_leftovers(target):
        how = modules.write_ptl(_load(source), target, validation)
        return {
            **how,
            "agreement": verified(source, Model.of(target, Format.PTL), validation, tolerance),
        }


@technique(
    "convert:onnx", takes=_TAKES, gives=Format.ONNX, libraries={"torch", "onnx"}, verifies=True
)
def onnx(
    source: Model,
    target: Path,
    *,
    exporter: Literal["auto", "script", "export"] = "auto",
    opset: int = 17,
    tolerance: float = 1e-4,
    validation: Examples,
) -> Notes:
    """A float ONNX model for any number of examples.

    Costs no accuracy. TorchScript's exporter comes first; what it cannot export goes through
    torch.export, which needs the package onnxscript and writes opset 18.

    Args:
        exporter: "script" for TorchScript's, "export" for torch.export's; auto tries both.
        opset: of TorchScript's exporter, 9 to 20.
        tolerance: the largest difference of outputs from the source's, relative to their size.
    """
    import torch

    with modules.quiet(), _no_leftovers(target):
        module = _load(source)
        program = isinstance(module, torch.export.ExportedProgram)
        if exporter == "script" and program:
            raise EdgeoptError(
                "an exported program goes to ONNX by exporter=export only", "MODEL_UNSUPPORTED"
            )
        used = "export" if program or exporter == "export" else "script"
        try:
            if used == "script":
                batch = torch_onnx.by_script(module, target, validation, opset=opset)
            else:
                batch = torch_onnx.by_export(module, target, validation)
        except EdgeoptError as first:
            retry = exporter == "auto" and used == "script" and first.reason != "DATA_INVALID"
            if not retry or isinstance(module, torch.jit.ScriptModule):
                raise
            used = "export"
            try:
                batch = torch_onnx.by_export(module, target, validation)
            except EdgeoptError as second:
                raise EdgeoptError(
                    f"{first.message}; nor does the other way work: {second.message}", second.reason
                ) from second
        agreement = verified(source, Model.of(target, Format.ONNX), validation, tolerance)
    return {"exporter": used, "batch": batch, "agreement": agreement}


@contextlib.contextmanager
def _no_leftovers(target: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _load(source: Model) -> Any:
    from edgeopt_host.optimize.formats import exported_program, torch, torchscript

    if source.format is Format.TORCHSCRIPT:
        return torchscript.load(source)
    if source.format is Format.EXPORTED_PROGRAM:
        return exported_program.load(source)
    return torch.load(source)
