"""TorchScript archives, of torch.jit.save."""

from __future__ import annotations

from typing import Any

from edgeopt_host.errors import ModelFileError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.formats import _code, _torch, ptl
from edgeopt_host.optimize.formats.description import Description
from edgeopt_host.optimize.formats.runner import Runner
from edgeopt_host.optimize.model import Model


def load(model: Model) -> Any:
    """The torch.jit.ScriptModule, in eval mode, on the CPU.

    Raises:
        EdgeoptError: MODEL_INVALID.
    """
    import torch

    with _torch.quiet():
        try:
            return torch.jit.load(str(model.path), map_location="cpu").eval()
        except (RuntimeError, ValueError) as error:
            raise ModelFileError(f"torch cannot load {model.name}: {_code.brief(error)}") from error


def runner(model: Model, threads: int) -> Runner:
    signature = ptl.read_signature(model.path)
    ptl.use_engine(signature)
    outputs = signature.outputs if signature else ()
    inputs = signature.inputs if signature else None
    return _torch.Running(load(model), model.name, threads, inputs, outputs)


def describe(model: Model, example: Examples | None) -> Description:
    signature = ptl.read_signature(model.path)
    ptl.use_engine(signature)
    inputs = signature.inputs if signature else None
    module = load(model)
    running = _torch.Running(module, model.name, 1, inputs)
    return _torch.describe(module, running, example)
