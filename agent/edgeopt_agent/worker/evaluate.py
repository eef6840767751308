"""The evaluation pass: a model's outputs for every labelled example."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent.errors import Unavailable
from edgeopt_agent.runtimes import ModelError, Quantization, Session, TensorSpec
from edgeopt_agent.worker.inputs import UNREADABLE, Array
from edgeopt_agent.worker.task import Event, Task, inference

_KEY = "x_test"
_PHASE = benchmark_pb2.Progress.PHASE_EVALUATING
_PROGRESS_S = 1.0
# Of all outputs for all examples: they are held in memory, and the host fetches them.
_MAX_BYTES = 2**30


def evaluate(task: Task) -> None:
    """Writes the outputs for every example of `data.npz` into `predictions.npz`.

    Inputs of integer-quantized models take float data, quantized as the model says; outputs of
    them are written as the floats they stand for.
    """
    task.progress(benchmark_pb2.Progress.PHASE_LOADING)
    runtime = task.load_runtime()
    task.seal()
    session = task.open_session(runtime)
    predictions = benchmark_pb2.Predictions()
    try:
        with ExitStack() as stack:
            examples = _Examples(task.data, session.inputs, stack)
            predictions.examples = examples.count
            outputs = _predict(task, session, examples)
        with (task.scratch / "predictions.npz").open("wb") as file:
            np.savez(file, **outputs)  # type: ignore[arg-type] # as in passes.py
    except Unavailable as reason:
        predictions.unavailable_reason = str(reason)
    # The agent names the file by its digest.
    task.emit(Event(predictions=predictions))


def _predict(task: Task, session: Session, examples: _Examples) -> dict[str, Array]:
    """All outputs, each with the example as its first axis.

    Raises:
        Unavailable: when outputs cannot be told apart by example, or are too large.
    """
    outputs: dict[str, Array] = {}
    first, told = 0, time.monotonic()
    for feeds in examples.chunks():
        session.prepare(feeds)
        with inference():
            session.infer()
        tensors, _ = session.outputs()
        quantized = session.quantized_outputs()
        rows = min(examples.per_inference, examples.count - first)
        for name, tensor in tensors.items():
            part = _rows(name, _dequantize(tensor, quantized.get(name)), examples.per_inference)
            if first == 0:
                outputs[name] = _room(name, part, examples.count, outputs)
            _put(outputs[name], part[:rows], first, name)
        first += rows
        if time.monotonic() - told > _PROGRESS_S:
            told = time.monotonic()
            task.progress(_PHASE, first, first / examples.count)
    if not outputs:
        raise Unavailable("the model has no output that is a tensor")
    return outputs


def _rows(name: str, tensor: Array, per_inference: int) -> Array:
    """An output with an entry for each example of an inference."""
    if tensor.shape[:1] == (per_inference,):
        return tensor
    if per_inference == 1:
        return tensor[None]
    raise Unavailable(
        f"output {name!r} has the shape {list(tensor.shape)}, which has no axis for the "
        f"{per_inference} examples of an inference"
    )


def _room(name: str, part: Array, count: int, others: Mapping[str, Array]) -> Array:
    one = part[:1].nbytes
    if sum(array.nbytes for array in others.values()) + one * count > _MAX_BYTES:
        raise Unavailable(
            f"the outputs of {count} examples are larger than {_MAX_BYTES >> 20} MiB: {name!r} alone "
            f"has {one} bytes for each; give fewer examples"
        )
    return np.empty((count, *part.shape[1:]), part.dtype)


def _put(into: Array, part: Array, first: int, name: str) -> None:
    if part.shape[1:] != into.shape[1:]:
        raise Unavailable(
            f"output {name!r} has the shape {list(part.shape[1:])} for example {first}, and "
            f"{list(into.shape[1:])} for those before it"
        )
    if part.dtype.kind == "U" and part.dtype.itemsize > into.dtype.itemsize:
        raise Unavailable(f"output {name!r} is text, which has no accuracy")
    into[first : first + len(part)] = part


def _dequantize(tensor: Array, quantization: Quantization | None) -> Array:
    if quantization is None:
        return tensor
    values = tensor.astype(np.float32) - np.float32(quantization.zero_point)
    return np.asarray(values * np.float32(quantization.scale), np.float32)


@dataclass(frozen=True)
class _Source:
    """One input's examples, which are read as they are needed."""

    spec: TensorSpec
    rows: _Rows
    # Whether what is fed has a leading axis for the batch; an input may be one example, without.
    batched: bool


class _Examples:
    """What the data file has for a model.

    Args:
        path: an .npz with `x_test`, or `x_test.NAME` for each input.
        inputs: the model's; None where it does not tell.
        stack: closes the file.

    Raises:
        ModelError: INPUT_MISMATCH, INPUT_REQUIRED: data and model do not go together.
    """

    def __init__(self, path: Path, inputs: Sequence[TensorSpec] | None, stack: ExitStack) -> None:
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
            given = {
                name.removesuffix(".npy"): _Rows(stack.enter_context(archive.open(name)))
                for name in archive.namelist()
                if name.removesuffix(".npy").split(".", 1)[0] == _KEY
            }
        except UNREADABLE as error:
            raise _mismatch(f"the data file cannot be read: {error}") from error
        self._sources = [_source(spec, rows) for spec, rows in _matched(given, inputs)]
        counts = {source.rows.count for source in self._sources}
        if len(counts) != 1 or 0 in counts:
            raise _mismatch(f"the data file has {sorted(counts)} examples for its inputs")
        (self.count,) = counts
        self.per_inference = self._fixed_batch()

    def _fixed_batch(self) -> int:
        """Examples per inference: what the model's inputs fix, else one."""
        sizes = {
            size
            for source in self._sources
            for size in ((source.spec.shape or (None,))[0] if source.batched else 1,)
            if isinstance(size, int)
        }
        if len(sizes) > 1 or 0 in sizes:
            named = ", ".join(str(source.spec) for source in self._sources)
            raise _mismatch(f"the model's inputs do not take the same number of examples: {named}")
        return sizes.pop() if sizes else 1

    def chunks(self) -> Iterator[dict[str, Array]]:
        """What is fed to each inference; the last is filled up by its last example again."""
        for first in range(0, self.count, self.per_inference):
            rows = min(self.per_inference, self.count - first)
            feeds = {}
            for source in self._sources:
                data = _converted(source.rows.take(rows), source.spec)
                if rows < self.per_inference:
                    data = np.concatenate([data, *[data[-1:]] * (self.per_inference - rows)])
                feeds[source.spec.name] = data if source.batched else data[0, ...]
            yield feeds


class _Rows:
    """The rows of an array in an archive, in order, without unpacking all of it."""

    def __init__(self, file: IO[bytes]) -> None:
        old = np.lib.format.read_magic(file) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
        self.shape, by_column, self.dtype = read(file)
        if self.dtype.hasobject:
            raise ValueError("it holds pickled objects, which are never loaded")
        if not self.shape or min(self.shape) < 0:
            raise ValueError(
                f"it has an array of the shape {self.shape}; the first axis is the example"
            )
        self._file = file
        self._taken = 0
        self._whole: Array | None = None
        if by_column:
            # What lies column by column has no rows to read one after the other.
            self._whole = self._read(self.shape[::-1]).T

    @property
    def count(self) -> int:
        return int(self.shape[0])

    def take(self, rows: int) -> Array:
        """The next rows: (rows, …)."""
        self._taken += rows
        if self._whole is not None:
            return np.ascontiguousarray(self._whole[self._taken - rows : self._taken])
        return self._read((rows, *self.shape[1:]))

    def _read(self, shape: tuple[int, ...]) -> Array:
        try:
            array = np.empty(shape, self.dtype)
            missing = array.reshape(-1).view(np.uint8).data
            while missing:
                read = self._file.readinto(missing)  # type: ignore[attr-defined] # zipfile's has it
                if not read:
                    raise ValueError("an array ends too early")
                missing = missing[read:]
        except UNREADABLE as error:
            raise _mismatch(f"the data file cannot be read: {error}") from error
        return array


def _matched(
    given: Mapping[str, _Rows], inputs: Sequence[TensorSpec] | None
) -> list[tuple[TensorSpec, _Rows]]:
    """Each input with its data."""
    if not given:
        raise _mismatch("the data file has neither x_test nor x_test.NAME")
    if inputs is None:
        # A file that does not tell its inputs takes them in the data's order.
        return [(TensorSpec(name, None, rows.dtype.name), rows) for name, rows in given.items()]
    if len(inputs) == 1 and list(given) == [_KEY]:
        return [(inputs[0], given[_KEY])]
    keys = {spec.name: f"{_KEY}.{spec.name}" for spec in inputs}
    if missing := [str(spec) for spec in inputs if keys[spec.name] not in given]:
        raise ModelError(
            "INPUT_REQUIRED",
            f"the data file has {', '.join(given)}, but nothing for the input "
            f"{missing[0]}: it goes by the name of x_test.NAME",
        )
    if unknown := [name for name in given if name not in keys.values()]:
        raise _mismatch(f"the data file has {unknown[0]}, but the model's inputs are {list(keys)}")
    return [(spec, given[keys[spec.name]]) for spec in inputs]


def _source(spec: TensorSpec, rows: _Rows) -> _Source:
    example = rows.shape[1:]
    if spec.shape is None:
        return _Source(spec, rows, batched=True)
    for batched, wanted in ((True, spec.shape[1:]), (False, spec.shape)):
        if (bool(spec.shape) or not batched) and _fits(wanted, example):
            return _Source(spec, rows, batched)
    raise _mismatch(
        f"an example of the data has the shape {list(example)}, input {spec} takes others"
    )


def _fits(wanted: Sequence[int | str | None], given: Sequence[int]) -> bool:
    return len(wanted) == len(given) and all(
        not isinstance(size, int) or size == there
        for size, there in zip(wanted, given, strict=True)
    )


def _converted(data: Array, spec: TensorSpec) -> Array:
    """The data in the input's own type.

    Raises:
        ModelError: INPUT_MISMATCH when that would change the values.
    """
    if data.dtype.name == spec.dtype or (data.dtype.kind in "SU" and spec.dtype == "string"):
        return data
    try:
        wanted = np.dtype(spec.dtype)
    except TypeError:
        raise _mismatch(f"input {spec} takes no {data.dtype}") from None
    if data.dtype.kind == "f" and spec.quantization is not None:
        steps = np.rint(data / spec.quantization.scale) + spec.quantization.zero_point
        limits = np.iinfo(wanted)
        return np.asarray(np.clip(steps, limits.min, limits.max), wanted)
    if data.dtype.kind == wanted.kind == "f":
        return data.astype(wanted)
    cast = data.astype(wanted) if data.dtype.kind in "biu" else None
    if cast is None or not np.array_equal(cast, data):
        hint = "; give it as floats" if spec.quantization is not None else ""
        raise _mismatch(f"input {spec} does not take the values of the data's {data.dtype}{hint}")
    return cast


def _mismatch(message: str) -> ModelError:
    return ModelError("INPUT_MISMATCH", message)
