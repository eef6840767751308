"""What techniques for torch share: names and examples of a module, and its way to a .ptl file."""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.tensors import TensorSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

# What torch has by type when it has no such operator, and what it says then.
_UNSUPPORTED = ("not supported", "Unknown builtin op", "cannot be found", "Didn't find engine")
_LONGEST = 300


@contextlib.contextmanager
def quiet(engine: str | None = None) -> Iterator[None]:
    """Without torch's warnings and gradients; with a quantized engine, which is set back after."""
    import torch

    before = torch.backends.quantized.engine
    with warnings.catch_warnings(), torch.no_grad():
        # TorchScript, torch.ao and the lite interpreter tell at each call that they are deprecated.
        warnings.simplefilter("ignore")
        try:
            if engine is not None:
                torch.backends.quantized.engine = engine
            yield
        finally:
            torch.backends.quantized.engine = before


def why(error: BaseException) -> str:
    """The line of a library's message that tells most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "Error" in line or "not supported" in line]
    return (told or lines or [type(error).__name__])[0][:_LONGEST]


def failed(doing: str, error: Exception) -> EdgeoptError:
    """What a library raised, as one sentence."""
    if isinstance(error, EdgeoptError):
        return error
    reason = (
        "UNSUPPORTED_OPERATOR"
        if any(sign in str(error) for sign in _UNSUPPORTED)
        else "CONVERSION_FAILED"
    )
    return EdgeoptError(f"torch cannot {doing}: {why(error)}", reason)


def input_names(module: Any, examples: Examples) -> list[str]:
    """The parameters of its forward, in order, that must be given or that the data have.

    Raises:
        EdgeoptError: DATA_INVALID when the data have other ones.
    """
    required, optional = _parameters(module)
    given = set(examples.inputs)
    if given == {""} and len(required) <= 1:
        return (required or optional)[:1]
    names = [name for name in required + optional if name in given or name in required]
    if set(names) != given:
        raise EdgeoptError(
            f"the module's forward takes {', '.join(required + optional) or 'nothing'}, the data have "
            f"{', '.join(sorted(name or 'one without a name' for name in given))}: name the arrays as "
            "the parameters",
            "DATA_INVALID",
        )
    return names


def _parameters(module: Any) -> tuple[list[str], list[str]]:
    import torch

    if isinstance(module, torch.export.ExportedProgram):
        return list(module.graph_signature.user_inputs), []
    if isinstance(module, torch.jit.ScriptModule):
        forward: Any = module.forward
        arguments = forward.schema.arguments[1:]
        required = [one.name for one in arguments if not one.has_default_value()]
        return required, [one.name for one in arguments if one.has_default_value()]
    parameters = inspect.signature(module.forward).parameters.values()
    named = [
        one for one in parameters if one.kind in {one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD}
    ]
    required = [one.name for one in named if one.default is one.empty]
    return required, [one.name for one in named if one.default is not one.empty]


def feed(names: Sequence[str], examples: Examples) -> tuple[torch.Tensor, ...]:
    """Tensors in the order of `names`; float64 as float32."""
    import torch

    arrays = [examples.inputs.get(name, examples.inputs.get("")) for name in names]
    # torch wants arrays that it may write to: those of data are mapped from files.
    copies = [
        np.array(one, np.float32 if one.dtype == np.float64 else None)
        for one in arrays
        if one is not None
    ]
    return tuple(torch.from_numpy(one) for one in copies)


def first_outputs(module: Any, inputs: tuple[torch.Tensor, ...]) -> Any:
    """What a module gives for an example.

    Raises:
        EdgeoptError: DATA_INVALID when it refuses it.
    """
    try:
        return module(*inputs)
    except Exception as error:
        seen = ", ".join(f"{str(one.dtype)[6:]} {list(one.shape)}" for one in inputs)
        raise EdgeoptError(
            f"the module fails on examples of the data ({seen}): {why(error)}", "DATA_INVALID"
        ) from error


def specs(
    names: Sequence[str], inputs: Sequence[torch.Tensor], batch: int | None
) -> list[TensorSpec]:
    return [
        TensorSpec(name, (batch, *tensor.shape[1:]), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in zip(names, inputs, strict=True)
    ]


@dataclass(frozen=True)
class Source:
    """A module with what is known of it by an example.

    Attributes:
        module: nn.Module in eval mode, ScriptModule or ExportedProgram.
        names: of its inputs.
        outputs: names of its outputs.
        given: what it gave for the example.
        fixed: the number of examples it takes; None for any.
    """

    module: Any
    names: list[str]
    outputs: list[str]
    given: Any
    fixed: int | None
    examples: Examples

    @classmethod
    def of(cls, module: Any, examples: Examples) -> Source:
        """Runs a module once.

        Raises:
            EdgeoptError: as `input_names` and `first_outputs`; MODEL_UNSUPPORTED when it gives
                anything but tensors.
        """
        import torch

        from edgeopt_host.optimize.formats import _torch, exported_program

        names = input_names(module, examples)
        fixed, callable_ = None, module
        if isinstance(module, torch.export.ExportedProgram):
            fixed = next(
                (one.shape[0] for one in exported_program.inputs(module) if one.shape), None
            )
            callable_ = module.module()
        given = first_outputs(callable_, feed(names, _repeated(examples, fixed or 2)))
        return cls(callable_, names, list(_torch.flatten(given)), given, fixed, examples)

    @property
    def batches(self) -> list[int | None]:
        """Numbers of examples to convert it for, None meaning any, the preferred first."""
        return [self.fixed] if self.fixed else [None, 1]

    def inputs(self, count: int) -> tuple[torch.Tensor, ...]:
        """That many examples."""
        return feed(self.names, _repeated(self.examples, count))


def _repeated(examples: Examples, count: int) -> Examples:
    return examples.take(np.arange(count) % len(examples))


def write_ptl(
    module: Any, target: Path, examples: Examples, engine: str | None = None
) -> dict[str, Any]:
    """Scripts or traces, freezes, and saves a module for the lite interpreter.

    What the lite interpreter then cannot load or run is tried the other way. A module whose trace
    fits one number of examples only is traced for one.

    Args:
        module: in eval mode.
        target: the file; there is none when it fails.
        examples: a few.
        engine: quantized engine it is for; None for a float model.

    Returns:
        {"way": "script" | "trace", "batch": number of examples it is fixed to | null}

    Raises:
        EdgeoptError: UNSUPPORTED_OPERATOR, CONVERSION_FAILED, or as `Source.of`.
    """
    import torch

    from edgeopt_host.optimize.formats import ptl

    source = Source.of(module, examples)
    scripted = isinstance(module, torch.jit.ScriptModule)
    exported = isinstance(module, torch.export.ExportedProgram)
    attempts: list[tuple[str, int | None]] = [] if exported else [("script", None)]
    attempts += [] if scripted else [("trace", batch) for batch in source.batches]
    errors: list[Exception] = []
    for way, batch in attempts:
        example = source.inputs(batch or 2)
        try:
            script: Any = (
                torch.jit.script(module) if way == "script" else _traced(source.module, example)
            )
            frozen = torch.jit.freeze(script.eval())
            ptl.save(frozen, target, specs(source.names, example, batch), source.outputs, engine)
            feeds = [example] if batch else [source.inputs(1), example]
            # Operators that the lite interpreter lacks come out when it loads and runs them.
            with quiet(engine):
                _try(target, feeds, len(source.outputs))
        except Exception as error:  # noqa: BLE001 - torch raises whatever it likes
            target.unlink(missing_ok=True)
            errors.append(error)
        else:
            return {"way": way, "batch": batch}
    raise failed("save it for the lite interpreter", errors[0]) from errors[0]


def _traced(module: Any, inputs: tuple[torch.Tensor, ...]) -> Any:
    import torch

    return torch.jit.trace(module, inputs, strict=False, check_trace=False)


def _try(path: Path, feeds: list[tuple[torch.Tensor, ...]], outputs: int) -> None:
    from torch.jit.mobile import _load_for_lite_interpreter

    loaded = _load_for_lite_interpreter(str(path))
    for inputs in feeds:
        given = loaded(*inputs)
        values = list(given.values()) if isinstance(given, dict) else given
        values = values if isinstance(values, (tuple, list)) else [values]
        if len(values) != outputs or any(len(one) != len(inputs[0]) for one in values if one.ndim):
            raise RuntimeError("its outputs have another number of examples than its inputs")


def weighted(module: nn.Module, operators: Sequence[str] = ()) -> dict[str, nn.Module]:
    """Its layers that have weights of their own, by name: convolutions, linear, recurrent, embedding.

    Args:
        module: any.
        operators: only those of these classes ("Linear"); empty for all.
    """
    from torch import nn

    kinds = (
        nn.modules.conv._ConvNd,  # noqa: SLF001 - the base of all convolutions
        nn.Linear,
        nn.RNNBase,
        nn.RNNCellBase,
        nn.Embedding,
        nn.EmbeddingBag,
    )
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, kinds) and (not operators or type(layer).__name__ in operators)
    }


def chosen(
    candidates: dict[str, nn.Module], layers: Sequence[str], keep_float: Sequence[str]
) -> list[str]:
    """Names of layers that match `layers` (all, when empty) and nothing of `keep_float`.

    Raises:
        EdgeoptError: USAGE for a pattern that matches nothing; UNSUPPORTED_OPERATOR when none is left.
    """
    from edgeopt_host.errors import UsageError

    for pattern in (*layers, *keep_float):
        if not any(fnmatchcase(name, pattern) for name in candidates):
            raise UsageError(
                f"no layer is called {pattern}; there are {shown(candidates) or 'none that can be quantized'}"
            )
    names = [
        name
        for name in candidates
        if (not layers or any(fnmatchcase(name, one) for one in layers))
        and not any(fnmatchcase(name, one) for one in keep_float)
    ]
    if not names:
        raise EdgeoptError(
            "nothing is left to quantize: the module has no such layers, or all of them are kept in float",
            "UNSUPPORTED_OPERATOR",
        )
    return names


def shown(names: Sequence[str] | dict[str, Any]) -> str:
    """A few of them, for a message."""
    few = 8
    listed = list(names)
    more = f" and {len(listed) - few} more" if len(listed) > few else ""
    return ", ".join(listed[:few]) + more
