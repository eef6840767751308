"""Examples brought to a model's inputs, and its outputs back to real values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.formats.runner import Runner
from edgeopt_host.optimize.technique import Progress
from edgeopt_host.optimize.tensors import Array, Arrays, TensorSpec

# Types that are cast to one another without asking.
_ALIKE = ({"float16", "float32", "float64"}, {"int32", "int64"})


def predict(
    runner: Runner, examples: Examples, batch: int, progress: Progress | None
) -> dict[str, Array]:
    """As `formats.predict`."""
    names = bind(runner.signature.inputs, examples)
    check(runner.signature.inputs, names, examples)
    collected: dict[str, list[Array]] = {}
    done = 0
    for part in examples.batches(batch):
        feeds = {
            spec.name: stored(spec, part.inputs[names[spec.name]])
            for spec in runner.signature.inputs
        }
        results = runner(feeds)
        outputs = {spec.name: spec for spec in runner.signature.outputs}
        for name, array in results.items():
            collected.setdefault(name, []).append(real(outputs.get(name), array))
        done += len(part)
        if progress is not None:
            progress(done / len(examples), f"{done} of {len(examples)} examples")
    return {name: _joined(parts) for name, parts in collected.items()}


def bind(inputs: Sequence[TensorSpec], examples: Examples) -> dict[str, str]:
    """The name in the data of each of a model's inputs.

    Raises:
        EdgeoptError: DATA_INVALID when they cannot be told.
    """
    given = list(examples.inputs)
    if len(inputs) == len(given) == 1:
        return {inputs[0].name: given[0]}
    exact = {spec.name: spec.name for spec in inputs if spec.name in given}
    if len(exact) == len(inputs):
        return exact
    plain = {plain_name(spec.name): spec for spec in inputs}
    by_name = {plain[name].name: data for data in given if (name := plain_name(data)) in plain}
    if len(by_name) == len(inputs):
        return by_name
    by_shape = {
        spec.name: fitting
        for spec in inputs
        if len(fitting := [one for one in given if fits(spec, examples.inputs[one])]) == 1
    }
    if len({one for (one,) in by_shape.values()}) == len(inputs) == len(given):
        return {name: one for name, (one,) in by_shape.items()}
    wanted = ", ".join(f"{spec.name} {shown(spec)}" for spec in inputs)
    has = ", ".join(
        f"{name or 'one without a name'} {seen(examples.inputs[name])}" for name in given
    )
    raise EdgeoptError(
        f"the model takes {wanted}, the data have {has}: name the arrays x_test.NAME as the inputs are "
        "called",
        "DATA_INVALID",
    )


def check(inputs: Sequence[TensorSpec], names: dict[str, str], examples: Examples) -> None:
    """Whether the data's types and shapes are those of the model's inputs.

    Raises:
        EdgeoptError: DATA_INVALID, naming the input, what was seen and what was expected.
    """
    for spec in inputs:
        array = examples.inputs[names[spec.name]]
        if not fits(spec, array):
            raise EdgeoptError(
                f"the model's input {spec.name} takes {shown(spec)}, the data are {seen(array)}: "
                "prepare them as the model was trained",
                "DATA_INVALID",
            )


def fits(spec: TensorSpec, array: Array) -> bool:
    """Whether examples, the first axis being the example, can be given to an input."""
    return not spec.dtype or (_typed(spec, array) and _shaped(spec, array))


def plain_name(name: str) -> str:
    """A tensor's name without what converters add to it."""
    return name.removeprefix("serving_default_").partition(":")[0]


def stored(spec: TensorSpec, array: Array) -> Array:
    """Real values as an input has them: of its type, quantized when it is."""
    if spec.scale and array.dtype.kind == "f":
        limits = np.iinfo(spec.dtype)
        scaled = np.rint(array / spec.scale) + spec.zero_point
        clipped: Array = np.clip(scaled, limits.min, limits.max).astype(spec.dtype)
        return clipped
    single = "float32" if array.dtype == np.float64 else str(array.dtype)
    return np.ascontiguousarray(array, spec.dtype or single)


def real(spec: TensorSpec | None, array: Array) -> Array:
    """What an output stands for."""
    if spec is not None and spec.scale and array.dtype.kind in "iu":
        values: Array = (array.astype(np.float32) - spec.zero_point) * np.float32(spec.scale)
        return values
    return array.astype(np.float32) if array.dtype in {np.float16, np.float64} else array


def fed(inputs: Arrays) -> str:
    """What a model was given, for messages."""
    return ", ".join(f"{array.dtype} {tuple(array.shape)}" for array in inputs.values())


def seen(array: Array) -> str:
    return f"{array.dtype} {_sizes(('n', *array.shape[1:]))}"


def shown(spec: TensorSpec) -> str:
    if not spec.dtype:
        return "any"
    return f"{spec.dtype} {_sizes(('n' if i == 0 else size or '?') for i, size in enumerate(spec.shape))}"


def _sizes(sizes: object) -> str:
    return f"({', '.join(map(str, sizes))})"  # type: ignore[call-overload]


def _typed(spec: TensorSpec, array: Array) -> bool:
    dtype = str(array.dtype)
    if dtype == spec.dtype or (spec.scale and array.dtype.kind == "f"):
        return True
    return any({dtype, spec.dtype} <= alike for alike in _ALIKE)


def _shaped(spec: TensorSpec, array: Array) -> bool:
    # Of an input without a batch axis, the data have one more.
    wanted = spec.shape if len(spec.shape) == array.ndim - 1 else spec.shape[1:]
    return len(wanted) == array.ndim - 1 and all(
        size is None or size == real for size, real in zip(wanted, array.shape[1:], strict=True)
    )


def _joined(parts: list[Array]) -> Array:
    if len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    raise EdgeoptError(
        "the model's outputs have another shape for other examples, so they cannot be compared: "
        f"{parts[0].shape[1:]} and {parts[-1].shape[1:]}",
        "MODEL_UNSUPPORTED",
    )
