"""What a source gives, checked: `x_train` and its labels, `x_val`, `x_test`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize.data import labels as labels_
from edgeopt_host.optimize.data.labels import Kind
from edgeopt_host.optimize.tensors import Array

_CHUNK_BYTES = 2**25
_NUMBERS = frozenset("bhilqBHILQ?efd")


@dataclass(frozen=True)
class Part:
    """A pair of arrays as given.

    Attributes:
        name: "train", "val" or "test".
        inputs: by input name, "" for a single one.
        labels: one per example, or None.
    """

    name: str
    inputs: dict[str, Array]
    labels: Array | None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def of(self, inner: str) -> str:
        """What the source calls an input."""
        return f"x_{self.name}.{inner}" if inner else f"x_{self.name}"


def chunks(array: Array, rows: Array | None = None) -> Iterator[Array]:
    """An array, or some rows of it in their order, in contiguous native pieces of bounded size."""
    count = len(array) if rows is None else len(rows)
    each = max(1, array.dtype.itemsize * math.prod(array.shape[1:]))
    step = max(1, _CHUNK_BYTES // each)
    for first in range(0, count, step):
        chosen = slice(first, min(count, first + step))
        piece = array[chosen] if rows is None else array[rows[chosen]]
        yield np.ascontiguousarray(piece, dtype=array.dtype.newbyteorder("="))


def check(arrays: Mapping[str, Array], where: str) -> tuple[dict[str, Part], Kind | None]:
    """Puts arrays together, and checks all that must hold of them.

    Args:
        arrays: by `x_test`, `x_test.NAME`, `y_test`, …
        where: they are from, for messages.

    Returns:
        The parts by name, and what their labels are; None without labels.

    Raises:
        EdgeoptError: DATA_INVALID, naming the array and what is wrong with it.
    """
    for name, array in arrays.items():
        _check_array(name, array, where)
    found = {}
    for name in ("train", "val", "test"):
        part = _part(name, arrays, where)
        if part:
            found[name] = part
    if not found:
        raise _invalid(
            where,
            "has no examples: they are x_train and x_test (x_test.NAME for several inputs), labels "
            f"y_train and y_test; it has {', '.join(arrays) or 'none of these'}",
        )
    _check_alike(list(found.values()), where)
    for name, array in arrays.items():
        _check_finite(name, array, where)
    return found, _kind(list(found.values()), where)


def _check_array(name: str, array: Array, where: str) -> None:
    if array.dtype.char not in _NUMBERS:
        expected = (
            "classes are integers, values floats" if name[0] == "y" else "edgeopt takes numbers"
        )
        raise _invalid(where, f"has a {name} of {_dtype(array)}; {expected}")
    if array.ndim == 0:
        raise _invalid(
            where, f"has a single number for {name}; the first axis of an array is the example"
        )
    if len(array) == 0:
        raise _invalid(where, f"has a {name} of the shape {array.shape}: no example")
    if array.size == 0:
        raise _invalid(where, f"has a {name} of the shape {array.shape}: its examples are empty")


def _dtype(array: Array) -> str:
    if array.dtype.kind == "O":
        return "Python objects (are its examples of different sizes?)"
    return "text" if array.dtype.kind in "US" else str(array.dtype)


def _part(name: str, arrays: Mapping[str, Array], where: str) -> Part | None:
    whole, labels = f"x_{name}", arrays.get(f"y_{name}")
    inputs = {
        one.removeprefix(whole).removeprefix("."): array
        for one, array in arrays.items()
        if one == whole or one.startswith(f"{whole}.")
    }
    if not inputs:
        if labels is not None:
            raise _invalid(where, f"has y_{name} but no {whole}")
        return None
    if "" in inputs and len(inputs) > 1:
        others = ", ".join(f"{whole}.{one}" for one in inputs if one)
        raise _invalid(
            where, f"has {whole} and {others}; of several inputs each has a name: {whole}.NAME"
        )
    part = Part(name, inputs, labels)
    lengths = {part.of(inner): len(array) for inner, array in inputs.items()}
    if labels is not None:
        lengths[f"y_{name}"] = len(labels)
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{one} has {count}" for one, count in lengths.items())
        raise _invalid(where, f"does not have one label and one of each input per example: {told}")
    return part


def _check_alike(parts: list[Part], where: str) -> None:
    """Parts that differ cannot be fed to one model."""
    first = parts[0]
    for part in parts[1:]:
        if part.inputs.keys() != first.inputs.keys():
            names = [", ".join(one.of(inner) for inner in one.inputs) for one in (first, part)]
            raise _invalid(where, f"has other inputs to test than to train: {names[0]}; {names[1]}")
        for inner, array in part.inputs.items():
            other = first.inputs[inner]
            _check_pair(first.of(inner), other, part.of(inner), array, where)


def _check_pair(name: str, array: Array, other_name: str, other: Array, where: str) -> None:
    if array.shape[1:] != other.shape[1:]:
        raise _invalid(
            where,
            f"has examples of different shapes: {list(array.shape[1:])} in {name}, "
            f"{list(other.shape[1:])} in {other_name}",
        )
    if array.dtype.newbyteorder("=") != other.dtype.newbyteorder("="):
        raise _invalid(
            where,
            f"has examples of different kinds: {array.dtype} in {name}, {other.dtype} in {other_name}",
        )


def _check_finite(name: str, array: Array, where: str) -> None:
    if array.dtype.kind != "f":
        return
    nan = infinite = at = 0
    first: int | None = None
    for chunk in chunks(array):
        bad = ~np.isfinite(chunk)
        if bad.any():
            here = int(np.isnan(chunk).sum())
            nan, infinite = nan + here, infinite + int(bad.sum()) - here
            if first is None:
                first = at + int(np.flatnonzero(bad.reshape(len(chunk), -1).any(axis=1))[0])
        at += len(chunk)
    if first is not None:
        seen = [f"{nan} NaN"] * bool(nan) + [f"{infinite} infinite values"] * bool(infinite)
        raise _invalid(
            where,
            f"has {' and '.join(seen)} in {name}, first in example {first}; edgeopt takes finite numbers",
        )


def _kind(parts: list[Part], where: str) -> Kind | None:
    kinds = {}
    for part in parts:
        if part.labels is not None:
            name = f"y_{part.name}"
            try:
                kinds[name] = labels_.kind(part.labels, name)
            except EdgeoptError as error:
                raise _invalid(where, f"cannot be used: {error.message}") from error
    if not kinds:
        return None
    (first_name, first), *others = kinds.items()
    for name, one in others:
        if (one.name, one.shape) != (first.name, first.shape):
            raise _invalid(
                where,
                f"has labels of different kinds: {first.name} {list(first.shape)} in {first_name}, "
                f"{one.name} {list(one.shape)} in {name}",
            )
    if first.classes is None:
        return first
    return Kind(first.name, max(one.classes or 0 for one in kinds.values()), first.shape)


def _invalid(where: str, why: str) -> EdgeoptError:
    return EdgeoptError(f"{where} {why}", "DATA_INVALID")
