"""What a model consists of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from edgeopt_host.optimize.tensors import TensorSpec

# Bits of an element, where the name of a type does not end in them.
_BITS = {"bool": 8, "complex64": 64, "complex128": 128}


@dataclass(frozen=True)
class Description:
    """What a model consists of.

    Attributes:
        inputs: as it declares them; for models that know no shapes, those of the example.
        outputs: likewise; empty where only running it would tell.
        parameters: elements of all its weights, quantized or not; None when they cannot be counted.
        macs: multiply-accumulates of convolutions and matrix products in one inference of one example;
            None when it is not known, as of loops and of free axes besides the batch.
        weight_bytes: of the weights as they are stored.
        dtypes: elements of weights by type, such as {"float32": 1200, "int8": 96000}.
        operators: how often each occurs; for Keras and PyTorch, layers.
        framework: what loads it, with its version.
        remarks: sentences on how it was read.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: int | None
    macs: int | None
    weight_bytes: int | None
    dtypes: Mapping[str, int]
    operators: Mapping[str, int]
    framework: str
    remarks: tuple[str, ...] = field(default=())

    def document(self) -> dict[str, Any]:
        return {
            "inputs": [one.document() for one in self.inputs],
            "outputs": [one.document() for one in self.outputs],
            "parameters": self.parameters,
            "macs": self.macs,
            "weight_bytes": self.weight_bytes,
            "dtypes": dict(self.dtypes),
            "operators": dict(self.operators),
            "framework": self.framework,
            "remarks": list(self.remarks),
        }


@dataclass(frozen=True)
class Weights:
    """Weights, counted."""

    parameters: int
    stored_bytes: int
    dtypes: Mapping[str, int]

    @classmethod
    def of(cls, tensors: Iterable[tuple[str, Iterable[int]]]) -> Weights:
        """Counts tensors given by numpy's name of their type, or "int4", and their shape."""
        dtypes: Counter[str] = Counter()
        bits = 0
        for dtype, shape in tensors:
            elements = prod(shape)
            dtypes[dtype] += elements
            bits += elements * _bits(dtype)
        return cls(dtypes.total(), -(-bits // 8), ordered(dtypes))


def ordered(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent first."""
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def _bits(dtype: str) -> int:
    if dtype in _BITS:
        return _BITS[dtype]
    digits = dtype.lstrip("abcdefghijklmnopqrstuvwxyz")
    size = digits.partition("_")[0].partition("e")[0]
    return int(size) if size.isdigit() else 8
