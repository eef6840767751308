"""What a model is fed: from a file, or made from what the model declares."""

from __future__ import annotations

import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent.runtimes import ModelError, TensorSpec, check_feeds

# What numpy and zipfile raise for files that are damaged, encrypted or no archive.
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    RuntimeError,
    SyntaxError,
    LookupError,
    tokenize.TokenError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
Array = np.ndarray[Any, np.dtype[Any]]


def make_feeds(
    declared: Sequence[TensorSpec] | None,
    source: benchmark_pb2.InputSource,
    file: Path | None = None,
    batch: int = 0,
) -> dict[str, Array]:
    """One array per input, in the model's order.

    Args:
        declared: the model's inputs; None where the file does not tell (.ptl without signature).
        source: sizes, shapes and ranges that the user gave.
        file: an .npz with one array per input, instead of values made here.
        batch: the size of every input's leading dimension; 0 or 1: as declared and given.

    Raises:
        ModelError: INPUT_REQUIRED where something is left open, INPUT_MISMATCH where what was
            given does not fit.
    """
    if file is not None:
        if source.dimensions or source.shapes or source.ranges:
            raise ModelError(
                "INPUT_MISMATCH",
                "an input file gives all values and shapes: leave --dim, --shape and --input-range out",
            )
        feeds = _from_file(declared, file)
        for name, array in feeds.items():
            _check_batch(name, array.shape, batch, "the input file")
        return feeds
    specs = _specs_from_shapes(source) if declared is None else declared
    _check_names(specs, source)
    leading: dict[str, int] = {}
    if batch > 1:
        leading = {symbol: batch for spec in specs for symbol in _leading(spec)}
        specs = [_with_batch(spec, source, batch) for spec in specs]
    symbols = _bind(specs, source, {**source.dimensions, **leading})
    feeds = {}
    for index, spec in enumerate(specs):
        shape = _shape(spec, _override(source, spec.name), symbols)
        low, high = _range(source, spec.name)
        generator = np.random.default_rng([source.seed, index])
        try:
            feeds[spec.name] = _values(spec, shape, low, high, generator)
        except ValueError as error:
            raise ModelError(
                "INPUT_MISMATCH", f"input {spec} cannot have the shape {shape}: {error}"
            ) from error
    return feeds


def _from_file(declared: Sequence[TensorSpec] | None, file: Path) -> dict[str, Array]:
    try:
        # Opened here, because numpy leaves a file open that turns out to be no archive.
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            arrays = {name: _array(archive[name], name) for name in archive.files}
    except UNREADABLE as error:
        raise ModelError("INPUT_MISMATCH", f"the input file cannot be read: {error}") from error
    if declared is None:
        return arrays
    check_feeds(declared, arrays)
    return {spec.name: arrays[spec.name] for spec in declared}


def _array(value: Any, name: str) -> Array:
    # numpy gives an entry that is no array as its bytes.
    if not isinstance(value, np.ndarray):
        raise TypeError(f"its entry {name!r} is no array")
    return value


def _leading(spec: TensorSpec) -> list[str]:
    """The symbol of its leading dimension, if it has one."""
    return [size for size in (spec.shape or ())[:1] if isinstance(size, str)]


def _with_batch(spec: TensorSpec, source: benchmark_pb2.InputSource, batch: int) -> TensorSpec:
    """The input with this leading dimension; one without dimensions is left as it is.

    Raises:
        ModelError: INPUT_MISMATCH where something else fixes it.
    """
    override = _override(source, spec.name)
    if override is not None:
        _check_batch(spec.name, override.dimensions, batch, "--shape")
    if not spec.shape:
        return spec
    leading = spec.shape[0]
    if isinstance(leading, int) and leading != batch:
        raise ModelError(
            "INPUT_MISMATCH",
            f"input {spec} has a leading dimension of {leading} that cannot be changed here: "
            f"--batch {batch} needs a model whose leading dimension is open",
        )
    given = source.dimensions.get(leading, batch) if isinstance(leading, str) else batch
    if given != batch:
        raise ModelError(
            "INPUT_MISMATCH",
            f"--batch {batch} and --dim {leading}={given} both give the leading dimension of input "
            f"{spec}: leave one out",
        )
    return replace(spec, shape=(batch, *spec.shape[1:]))


def _check_batch(name: str, shape: Sequence[int], batch: int, where: str) -> None:
    if batch > 1 and shape and shape[0] != batch:
        raise ModelError(
            "INPUT_MISMATCH",
            f"--batch {batch} and {where} do not agree: input {name!r} has a leading dimension of "
            f"{shape[0]} there",
        )


def _specs_from_shapes(source: benchmark_pb2.InputSource) -> list[TensorSpec]:
    if not source.shapes:
        raise ModelError(
            "INPUT_REQUIRED",
            "this file does not tell its inputs (PyTorch files carry no shapes); give each in order "
            "with --shape NAME=1,3,224,224:float32, or all with --inputs FILE.npz",
        )
    return [TensorSpec(s.name, tuple(s.dimensions), s.dtype or "float32") for s in source.shapes]


def _check_names(specs: Sequence[TensorSpec], source: benchmark_pb2.InputSource) -> None:
    names = [spec.name for spec in specs]
    given = [("--shape", s.name) for s in source.shapes]
    given += [("--input-range", r.input) for r in source.ranges if r.input]
    for option, name in given:
        if name not in names:
            raise ModelError(
                "INPUT_MISMATCH",
                f"{option} names {name!r}, but the model's inputs are {_quoted(names)}",
            )
    symbols = {d for spec in specs for d in spec.shape or () if isinstance(d, str)}
    for symbol in source.dimensions:
        if symbol not in symbols:
            raise ModelError(
                "INPUT_MISMATCH",
                f"--dim names {symbol!r}, but "
                + (
                    f"the model's open dimensions are {_quoted(sorted(symbols))}"
                    if symbols
                    else "the model has no open dimension with a name"
                ),
            )


def _bind(
    specs: Sequence[TensorSpec], source: benchmark_pb2.InputSource, bound: Mapping[str, int]
) -> dict[str, int]:
    """Sizes of all symbols: those bound by --dim and --batch, then --shape, then leading ones to 1."""
    symbols = dict(bound)
    for spec in specs:
        override = _override(source, spec.name)
        if override is None or spec.shape is None:
            continue
        if len(override.dimensions) != len(spec.shape):
            raise ModelError(
                "INPUT_MISMATCH",
                f"input {spec} has {len(spec.shape)} dimensions, "
                f"--shape gives {len(override.dimensions)}: {list(override.dimensions)}",
            )
        for symbol, size in zip(spec.shape, override.dimensions, strict=True):
            if isinstance(symbol, str) and symbols.setdefault(symbol, size) != size:
                raise ModelError(
                    "INPUT_MISMATCH",
                    f"dimension {symbol!r} is bound twice, to {symbols[symbol]} and, by --shape of "
                    f"{spec.name!r}, to {size}",
                )
    for spec in specs:
        if spec.shape and isinstance(spec.shape[0], str):
            symbols.setdefault(spec.shape[0], 1)
    return symbols


def _shape(
    spec: TensorSpec, override: benchmark_pb2.TensorShape | None, symbols: Mapping[str, int]
) -> list[int]:
    if override is not None:
        if override.dtype and override.dtype != spec.dtype:
            raise ModelError(
                "INPUT_MISMATCH",
                f"input {spec} takes {spec.dtype}, --shape says {override.dtype}",
            )
        given = list(override.dimensions)
        fits = spec.shape is None or all(
            not isinstance(want, int) or want == have
            for want, have in zip(spec.shape, given, strict=True)
        )
        if not fits:
            raise ModelError("INPUT_MISMATCH", f"input {spec} does not take the shape {given}")
        return given
    if spec.shape is None:
        raise ModelError(
            "INPUT_REQUIRED",
            f"input {spec} declares no shape: give --shape {spec.name}=…",
        )
    shape = []
    for position, dimension in enumerate(spec.shape):
        size = symbols.get(dimension) if isinstance(dimension, str) else dimension
        if size is None and position == 0:
            size = 1
        if size is None:
            example = ",".join(
                str(d) if isinstance(d, int) else str(symbols.get(d or "", "N" if index else 1))
                for index, d in enumerate(spec.shape)
            )
            by_name = f"--dim {dimension}=N or " if dimension is not None else ""
            raise ModelError(
                "INPUT_REQUIRED",
                f"input {spec} leaves dimension {position}"
                f"{f' {dimension!r}' if dimension else ''} open: "
                f"give {by_name}--shape {spec.name}={example}",
            )
        shape.append(size)
    return shape


def _values(
    spec: TensorSpec,
    shape: Sequence[int],
    low: float | None,
    high: float | None,
    generator: np.random.Generator,
) -> Array:
    """Floats uniform in 0..1; integers zeros and ones, safe for embedding tables and masks."""
    if spec.dtype == "string":
        return np.full(shape, "", dtype=object)
    try:
        dtype = np.dtype(spec.dtype)
    except TypeError as error:
        raise ModelError(
            "INPUT_MISMATCH", f"inputs of type {spec.dtype} cannot be made; give --inputs FILE.npz"
        ) from error
    low, high = (0.0, 1.0) if low is None or high is None else (low, high)
    if dtype.kind == "b":
        return generator.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not (low >= limits.min and high <= limits.max and low == int(low) and high == int(high)):
            raise ModelError(
                "INPUT_MISMATCH",
                f"--input-range {low:g}:{high:g} does not fit input {spec}: whole numbers "
                f"from {limits.min} to {limits.max} do",
            )
        return generator.integers(int(low), int(high), shape, dtype=dtype, endpoint=True)
    return np.asarray(low + generator.random(shape) * (high - low)).astype(dtype)


def _override(source: benchmark_pb2.InputSource, name: str) -> benchmark_pb2.TensorShape | None:
    return next((shape for shape in source.shapes if shape.name == name), None)


def _range(source: benchmark_pb2.InputSource, name: str) -> tuple[float | None, float | None]:
    """The input's own range wins over the one for all inputs."""
    found = [r for r in source.ranges if r.input == name] or [
        r for r in source.ranges if not r.input
    ]
    return (found[0].low, found[0].high) if found else (None, None)


def _quoted(names: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(f"'{name}'" for name in names)
