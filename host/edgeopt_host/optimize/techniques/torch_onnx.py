"""Export of torch modules to ONNX, by TorchScript's exporter and by the one of torch.export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.techniques import torch_modules as modules

if TYPE_CHECKING:
    import torch

# What ONNX Runtime 1.23, the last for Python 3.10, reads.
_MAX_IR = 10
_BATCH = "batch"

_Export = Callable[[Any, tuple["torch.Tensor", ...], list[str], list[str], bool], None]


def by_script(module: Any, target: Path, examples: Examples, *, opset: int) -> int | None:
    """Exports through TorchScript.

    Returns:
        The number of examples that the model is fixed to; None for any.

    Raises:
        EdgeoptError: UNSUPPORTED_OPERATOR, CONVERSION_FAILED; there is no file then.
    """
    import torch

    def export(
        tupled: Any,
        inputs: tuple[torch.Tensor, ...],
        names: list[str],
        outputs: list[str],
        free: bool,
    ) -> None:
        torch.onnx.export(
            tupled,
            inputs,
            str(target),
            dynamo=False,
            opset_version=opset,
            input_names=names,
            output_names=outputs,
            dynamic_axes={name: {0: _BATCH} for name in (*names, *outputs)} if free else None,
        )

    return _export(export, module, target, examples)


def by_export(module: Any, target: Path, examples: Examples) -> int | None:
    """Exports through torch.export, which needs onnxscript; as `by_script`."""
    import torch

    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise EdgeoptError(
            "torch.export's way to ONNX needs the package onnxscript: pip install onnxscript",
            "LIBRARY_MISSING",
        ) from error

    def export(
        tupled: Any,
        inputs: tuple[torch.Tensor, ...],
        names: list[str],
        outputs: list[str],
        free: bool,
    ) -> None:
        shapes = tuple({0: torch.export.Dim.DYNAMIC} for _ in inputs) if free else None
        program = isinstance(tupled, torch.export.ExportedProgram)
        torch.onnx.export(
            tupled,
            () if program else inputs,
            str(target),
            dynamo=True,
            opset_version=18,
            input_names=names,
            output_names=outputs,
            dynamic_shapes=None if program else shapes,
            external_data=False,
            verbose=False,
        )

    return _export(export, module, target, examples)


def _export(export: _Export, module: Any, target: Path, examples: Examples) -> int | None:
    source = modules.Source.of(module, examples)
    wrapped = _tupled(module) if isinstance(source.given, dict) else module
    errors: list[Exception] = []
    for batch in source.batches:
        inputs = source.inputs(batch or 2)
        try:
            export(wrapped, inputs, source.names, source.outputs, batch is None)
            _stamp(target)
            _try(target, [inputs] if batch else [source.inputs(1), inputs], source.names)
        except Exception as error:  # noqa: BLE001 - torch raises whatever it likes
            target.unlink(missing_ok=True)
            errors.append(error)
        else:
            return batch
    raise modules.failed("export it to ONNX", errors[0]) from errors[0]


def _tupled(module: Any) -> Any:
    """The module with a tuple instead of a dict as its output, which ONNX names anyway."""
    import torch

    if isinstance(module, (torch.jit.ScriptModule, torch.export.ExportedProgram)):
        return module

    class Tupled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(self.inner(*inputs).values())

    return Tupled().eval()


def _stamp(path: Path) -> None:
    import onnx

    model = onnx.load(path)
    # Paths of this machine's Python files stand in there.
    graphs: list[Any] = [model.graph, *model.functions]
    for graph in graphs:
        del graph.metadata_props[:]
        for one in (*graph.node, *graph.value_info):
            one.ClearField("doc_string")
            del one.metadata_props[:]
    values: list[Any] = [*model.graph.input, *model.graph.output, *model.graph.initializer]
    for value in values:
        del value.metadata_props[:]
    model.ir_version = min(model.ir_version, _MAX_IR)
    onnx.save(model, path)


def _try(path: Path, feeds: list[tuple[torch.Tensor, ...]], names: list[str]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    there = {one.name for one in session.get_inputs()}
    for inputs in feeds:
        # An input that decides nothing is no input of the exported graph.
        session.run(None, {n: t.numpy() for n, t in zip(names, inputs, strict=True) if n in there})
