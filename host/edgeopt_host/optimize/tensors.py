"""Arrays that go into models and come out of them, and what models say of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
# By tensor name. Of data for a model with one input, the name is "".
Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class TensorSpec:
    """An input or output as its model declares it.

    Attributes:
        name: as the model calls it.
        shape: axis sizes, the first being the batch; None where any size fits.
        dtype: numpy's name, such as "float32"; "" where the model tells neither it nor the shape, as
            PyTorch modules do, and the shape is then ().
        scale: of a quantized tensor, real = scale · (stored - zero_point); 0 when it is not one.
        zero_point: of a quantized tensor.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0

    def document(self) -> dict[str, Any]:
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives, in its own order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
