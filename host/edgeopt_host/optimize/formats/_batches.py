"""Any number of examples for models that insist on theirs."""

from __future__ import annotations

import numpy as np

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize.formats.runner import Runner
from edgeopt_host.optimize.tensors import Array, Arrays


class Batched:
    """A runner that loops, and pads the last of fixed batches with its last example.

    Models that say they take any number, and then do not, get one at a time. So do models with inputs
    that have no batch axis, such as a recurrent state (2, n, 128): of those, data have one axis more.
    """

    def __init__(self, runner: Runner, name: str) -> None:
        self._runner = runner
        self._name = name
        known = [spec for spec in runner.signature.inputs if spec.dtype]
        sizes = {spec.shape[0] for spec in known if spec.shape} - {None}
        self._fixed = sizes.pop() if len(sizes) == 1 else None
        self._singly = False
        self.signature = runner.signature

    @property
    def fixed(self) -> int | None:
        """The number of examples the model insists on."""
        return self._fixed

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        count = len(next(iter(inputs.values())))
        if self._singly or self._unbatched(inputs):
            return self._each(inputs, count)
        if self._fixed:
            return self._padded(inputs, count, self._fixed)
        try:
            outputs = self._runner(inputs)
            if all(array.ndim and len(array) == count for array in outputs.values()):
                return outputs
        except EdgeoptError:
            if count == 1:
                raise
        outputs = self._each(inputs, count)
        self._singly = True
        return outputs

    def _unbatched(self, inputs: Arrays) -> bool:
        return any(
            spec.dtype and inputs[spec.name].ndim == len(spec.shape) + 1
            for spec in self.signature.inputs
        )

    def _padded(self, inputs: Arrays, count: int, size: int) -> dict[str, Array]:
        parts = []
        for first in range(0, count, size):
            indices = np.minimum(np.arange(first, first + size), count - 1)
            outputs = self._runner({name: array[indices] for name, array in inputs.items()})
            taken = min(size, count - first)
            if any(not one.ndim or len(one) != size for one in outputs.values()):
                if size != 1:
                    raise self._odd()
                outputs = {name: array[np.newaxis] for name, array in outputs.items()}
            parts.append({name: array[:taken] for name, array in outputs.items()})
        return self._joined(parts)

    def _each(self, inputs: Arrays, count: int) -> dict[str, Array]:
        ranks = {spec.name: len(spec.shape) for spec in self.signature.inputs if spec.dtype}
        parts = []
        for index in range(count):
            one = {
                # An element of a vector would be no array.
                name: np.asarray(array[index])
                if ranks.get(name) == array.ndim - 1
                else array[index : index + 1]
                for name, array in inputs.items()
            }
            parts.append(
                {
                    name: array if array.ndim and len(array) == 1 else array[np.newaxis]
                    for name, array in self._runner(one).items()
                }
            )
        return self._joined(parts)

    def _joined(self, parts: list[dict[str, Array]]) -> dict[str, Array]:
        try:
            return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        except (KeyError, ValueError) as error:
            raise self._odd() from error

    def _odd(self) -> EdgeoptError:
        return EdgeoptError(
            f"{self._name} gives outputs of another size for each example, as detectors do after their last "
            "layer: give a model without that part",
            "MODEL_UNSUPPORTED",
        )
