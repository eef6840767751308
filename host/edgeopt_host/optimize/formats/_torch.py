"""What all of torch's formats share: running, counting."""

from __future__ import annotations

import inspect
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.formats import _code
from edgeopt_host.optimize.formats import predict as binding
from edgeopt_host.optimize.formats._batches import Batched
from edgeopt_host.optimize.formats.description import Description, Weights, ordered
from edgeopt_host.optimize.tensors import Array, Arrays, Signature, TensorSpec

_NO_WEIGHTS = {"torch.int64", "torch.int32", "torch.int16", "torch.bool"}


class Running:
    """A module, or anything of torch's that is called with tensors.

    Its signature's outputs are empty unless they were given: only running it tells them. They are called
    "output", as a dict's keys, or output_0, output_1, … of a tuple.
    """

    def __init__(
        self,
        module: Any,
        name: str,
        threads: int,
        inputs: Sequence[TensorSpec] | None = None,
        outputs: Sequence[str] = (),
    ) -> None:
        import torch

        torch.set_num_threads(threads)
        self._module = module
        self.name = name
        self._outputs = tuple(outputs)
        taken = parameters(module) if inputs is None else tuple(inputs)
        self.signature = Signature(taken, ())

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        import torch

        # torch warns of arrays that it must not write to, as those of data are.
        tensors = [torch.from_numpy(np.array(inputs[one.name])) for one in self.signature.inputs]
        with quiet(), torch.inference_mode():
            try:
                found = self._module(*tensors)
            except Exception as error:
                given = binding.fed(inputs)
                raise failed(f"{self.name} fails on inputs {given}", error) from error
        named = flatten(found)
        if len(named) == len(self._outputs):
            named = dict(zip(self._outputs, named.values(), strict=True))
        return {name: _array(value) for name, value in named.items()}


def parameters(module: Any) -> tuple[TensorSpec, ...]:
    """What a module's forward must be given, by name; torch knows no more of it."""
    import torch

    if isinstance(module, torch.jit.ScriptModule):
        arguments = module._c._get_method("forward").schema.arguments[1:]  # noqa: SLF001
        names = [one.name for one in arguments if not one.has_default_value()]
    else:
        taken = inspect.signature(getattr(module, "forward", module)).parameters.values()
        kinds = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
        named = [one for one in taken if one.kind in kinds]
        names = [one.name for one in named if one.default is one.empty] or [
            one.name for one in named[:1]
        ]
    return tuple(TensorSpec(name, (), "") for name in names)


def flatten(found: Any) -> dict[str, Any]:
    """Tensors by name.

    Raises:
        EdgeoptError: MODEL_UNSUPPORTED for anything else among them.
    """
    import torch

    if isinstance(found, torch.Tensor):
        return {"output": found}
    values: dict[str, Any] = {}
    if isinstance(found, Mapping):
        values = {str(name): value for name, value in found.items()}
    elif isinstance(found, (tuple, list)):
        fields = getattr(found, "_fields", [f"output_{i}" for i in range(len(found))])
        values = dict(zip(fields, found, strict=True))
        if len(values) == 1:
            values = {"output": found[0]}
    if not values or not all(isinstance(one, torch.Tensor) for one in values.values()):
        raise EdgeoptError(
            f"the module gives {type(found).__name__} of something but tensors: its forward must return a "
            "tensor, or a tuple or dict of tensors",
            "MODEL_UNSUPPORTED",
        )
    return values


def describe(
    module: Any, running: Running, example: Examples | None, remarks: tuple[str, ...] = ()
) -> Description:
    """Of a module, scripted or not; quantized weights are counted as elements.

    Args:
        module: in eval mode.
        running: what runs it.
        example: for shapes and multiply-accumulates.
        remarks: to be handed on.
    """
    import torch

    weights = Weights.of(_weights(module))
    operators = Counter(_layers(module))
    inputs = running.signature.inputs
    outputs: tuple[TensorSpec, ...] = ()
    macs = None
    if example is not None:
        one = example.take(slice(0, 1))
        names = binding.bind(inputs, one)
        binding.check(inputs, names, one)
        feeds = {spec.name: binding.stored(spec, one.inputs[names[spec.name]]) for spec in inputs}
        macs, found = _counted(running, feeds)
        inputs = tuple(
            spec if spec.dtype else _seen(spec.name, feeds[spec.name]) for spec in inputs
        )
        outputs = tuple(_seen(name, array) for name, array in found.items())
    return Description(
        inputs=inputs,
        outputs=outputs,
        parameters=weights.parameters,
        macs=macs,
        weight_bytes=weights.stored_bytes,
        dtypes=weights.dtypes,
        operators=ordered(operators),
        framework=f"torch {torch.__version__}",
        remarks=remarks,
    )


def _seen(name: str, array: Array) -> TensorSpec:
    return TensorSpec(name, (None, *array.shape[1:]), str(array.dtype))


def _counted(running: Running, feeds: Arrays) -> tuple[int | None, dict[str, Array]]:
    from torch.utils.flop_counter import FlopCounterMode

    batched = Batched(running, running.name)
    counter = FlopCounterMode(display=False, custom_mapping=_quantized())
    with counter:
        found = batched(feeds)
    return counter.get_total_flops() // 2 // (batched.fixed or 1) or None, found


def _quantized() -> dict[Any, Any]:
    """How many operations quantized convolutions and matrix products have, which torch's counter ignores."""
    import torch

    def flops(_: Any, packed: Any, *__: Any, out_shape: Any, **___: Any) -> int:
        # The weights, (out, in, …), are the largest of what is packed.
        weights = max(_tensors(packed), key=lambda one: one.numel())
        return 2 * int(prod(out_shape) * prod(weights.shape[1:]))

    kinds = ("conv1d", "conv2d", "conv3d", "linear")
    names = [
        f"{kind}{suffix}" for kind in kinds for suffix in ("", "_relu", "_dynamic", "_relu_dynamic")
    ]
    found = [getattr(torch.ops.quantized, name, None) for name in (*names, "linear_dynamic_fp16")]
    return {one: flops for one in found if one is not None}


def _weights(module: Any) -> Iterator[tuple[str, Sequence[int]]]:
    """Parameters, buffers, and packed weights of quantized layers; those of frozen modules are constants."""
    import torch

    kept: dict[int, torch.Tensor] = {}
    state = module.state_dict() if hasattr(module, "state_dict") else {}
    for value in (*state.values(), *_constants(module)):
        for tensor in _tensors(value):
            # Counters of batch normalization, shapes, strides of packed convolutions are no weights.
            if tensor.dim() and str(tensor.dtype) not in _NO_WEIGHTS:
                kept[tensor.data_ptr() or id(tensor)] = tensor
    for tensor in kept.values():
        yield (
            str(tensor.dtype).removeprefix("torch.").replace("qu", "u").lstrip("q"),
            tuple(tensor.shape),
        )


def _tensors(value: Any) -> Iterator[Any]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, torch.ScriptObject) and hasattr(value, "__getstate__"):
        with quiet():
            yield from _tensors(value.__getstate__())


def _constants(module: Any) -> Iterator[Any]:
    for node in _nodes(module):
        if node.kind() == "prim::Constant":
            yield node.output().toIValue()


def _layers(module: Any) -> Iterator[str]:
    """Of a scripted module, operators."""
    import torch

    if isinstance(module, torch.jit.ScriptModule):
        yield from (one.kind() for one in _nodes(module) if not one.kind().startswith("prim::"))
        return
    for one in module.modules():
        if not list(one.children()):
            kind = type(one)
            quantized = "quantized" in kind.__module__ and "Quantized" not in kind.__name__
            yield f"Quantized{kind.__name__}" if quantized else kind.__name__


def _nodes(module: Any) -> Iterator[Any]:
    import torch

    def walk(block: Any) -> Iterator[Any]:
        for node in block.nodes():
            yield node
            for inner in node.blocks():
                yield from walk(inner)

    if isinstance(module, torch.jit.ScriptModule):
        yield from walk(module.inlined_graph)


def _array(tensor: Any) -> Array:
    import torch

    tensor = tensor.dequantize() if tensor.is_quantized else tensor
    tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    array: Array = tensor.detach().cpu().numpy()
    return array


def failed(what: str, error: Exception) -> EdgeoptError:
    if isinstance(error, EdgeoptError):
        return error
    signs = ("Unknown builtin op", "cannot be found", "Could not run")
    unsupported = any(sign in str(error) for sign in signs)
    reason = "UNSUPPORTED_OPERATOR" if unsupported else "MODEL_UNSUPPORTED"
    return EdgeoptError(f"{what}: {_code.brief(error)}", reason)


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings: TorchScript and the lite interpreter tell at each call that they are old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
