"""Inputs for a model of which nobody gave data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.tensors import Array, TensorSpec


def random_inputs(inputs: Sequence[TensorSpec], count: int, seed: int) -> Examples | None:
    """Random examples that a model takes: floats from 0 to 1, bytes of any value, other integers 0 or 1.

    Args:
        inputs: as the model declares them.
        count: how many.
        seed: of what is drawn.

    Returns:
        Examples of the split "random"; None when axes besides the batch, or types, are not known.
    """
    random = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for spec in inputs:
        sizes = spec.shape[1:]
        if not spec.dtype or not spec.shape or None in sizes:
            return None
        shape = (count, *(size for size in sizes if size is not None))
        dtype = np.dtype(spec.dtype)
        if dtype.kind == "f":
            made[spec.name] = random.random(shape, np.float32).astype(dtype)
        elif dtype.itemsize == 1 and dtype.kind in "iu":
            limits = np.iinfo(dtype)
            made[spec.name] = random.integers(limits.min, limits.max + 1, shape, dtype)
        elif dtype.kind in "biu":
            made[spec.name] = random.integers(0, 2, shape).astype(dtype)
        else:
            return None
    if not made:
        return None
    return Examples(made if len(made) > 1 else {"": next(iter(made.values()))}, None, "random")
