"""Running a model on this host, whatever its format."""

from __future__ import annotations

from typing import Protocol

from edgeopt_host.optimize.tensors import Array, Arrays, Signature


class Runner(Protocol):
    """A loaded model.

    Calling it takes arrays by the model's own input names, with any number of examples as first axis,
    and returns outputs by the model's own output names, with as many. A quantized input or output is
    passed as the model has it; `predict` (formats/predict.py) converts from and to real values.
    """

    signature: Signature

    def __call__(self, inputs: Arrays) -> dict[str, Array]: ...
