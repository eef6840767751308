"""Examples: what models are calibrated, trained and tested on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from edgeopt_host.optimize.tensors import Array


@dataclass(frozen=True)
class Examples:
    """Examples of one split.

    Attributes:
        inputs: by input name, or "" for a model with a single input; the first axis is the example.
            They may be mapped from a file: take slices, never change them.
        labels: (n, …) classes (integers or one-hot) or values (floats); None when there are none.
        split: "train", "validation", "calibration", "test" or "field".
    """

    inputs: dict[str, Array] = field(repr=False)
    labels: Array | None = field(repr=False, default=None)
    split: str = "test"

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def take(self, indices: Array | slice) -> Examples:
        """Those at `indices` (n,), or of a slice, in that order."""
        return Examples(
            {name: array[indices] for name, array in self.inputs.items()},
            None if self.labels is None else self.labels[indices],
            self.split,
        )

    def batches(self, size: int) -> Iterator[Examples]:
        """All of them in order, at most `size` at a time."""
        for first in range(0, len(self), size):
            yield self.take(slice(first, first + size))

    def sample(self, count: int, seed: int) -> Examples:
        """At most `count` of them, drawn without replacement, in their order."""
        if count >= len(self):
            return self
        drawn = np.random.default_rng(seed).choice(len(self), count, replace=False)
        return self.take(np.sort(drawn))
