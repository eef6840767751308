"""Programs of torch.export, saved as .pt2."""

from __future__ import annotations

from collections import Counter
from typing import Any

from edgeopt_host.errors import ModelFileError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.formats import _code, _torch
from edgeopt_host.optimize.formats.description import Description, ordered
from edgeopt_host.optimize.formats.runner import Runner
from edgeopt_host.optimize.model import Model
from edgeopt_host.optimize.tensors import TensorSpec


def load(model: Model) -> Any:
    """The torch.export.ExportedProgram.

    Raises:
        EdgeoptError: MODEL_INVALID.
    """
    import torch

    with _torch.quiet():
        try:
            return torch.export.load(str(model.path))
        except Exception as error:
            raise ModelFileError(f"torch cannot load {model.name}: {_code.brief(error)}") from error


def inputs(program: Any) -> tuple[TensorSpec, ...]:
    """What a program takes; axes it was exported with as dynamic are free."""
    wanted = set(program.graph_signature.user_inputs)
    return tuple(
        TensorSpec(
            node.name,
            tuple(size if isinstance(size, int) else None for size in node.meta["val"].shape),
            str(node.meta["val"].dtype).removeprefix("torch."),
        )
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in wanted
    )


def runner(model: Model, threads: int) -> Runner:
    program = load(model)
    return _torch.Running(program.module(), model.name, threads, inputs(program))


def describe(model: Model, example: Examples | None) -> Description:
    from dataclasses import replace

    program = load(model)
    module = program.module()
    running = _torch.Running(module, model.name, 1, inputs(program))
    found = _torch.describe(module, running, example)
    calls = Counter(
        str(node.target).split(".")[1] if "." in str(node.target) else str(node.target)
        for node in program.graph.nodes
        if node.op == "call_function"
    )
    return replace(found, operators=ordered(calls))
