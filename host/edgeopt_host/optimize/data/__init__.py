"""Data to calibrate, train, validate and test with (docs/reference/data.md)."""

from __future__ import annotations

from edgeopt_host.optimize.data.dataset import Dataset
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.data.prepared import (
    CALIBRATION,
    VALIDATION,
    Prepared,
    open_prepared,
    prepare,
    prepare_in_child,
)
from edgeopt_host.optimize.data.similarity import similarity

__all__ = [
    "CALIBRATION",
    "VALIDATION",
    "Dataset",
    "Examples",
    "Prepared",
    "open_prepared",
    "prepare",
    "prepare_in_child",
    "similarity",
]
