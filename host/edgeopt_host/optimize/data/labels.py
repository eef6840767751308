"""What labels are: classes or values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize.tensors import Array

_MATRIX = 2
_MOST_CLASSES = 2**31
# Fewer different whole numbers than this look like classes that somebody stored as floats.
_LIKE_CLASSES = 1000


@dataclass(frozen=True)
class Kind:
    """What labels tell.

    Attributes:
        name: "classes" or "values".
        classes: how many classes there are at least; None for values.
        shape: of one label as stored: () for integers, (classes,) for one-hot.
    """

    name: str
    classes: int | None
    shape: tuple[int, ...]

    def document(self) -> dict[str, Any]:
        return {"kind": self.name, "classes": self.classes}


def kind(labels: Array, name: str) -> Kind:
    """Of labels (n, …), which are numbers.

    Raises:
        EdgeoptError: DATA_INVALID for classes below 0 or beyond all bounds.
    """
    shape = labels.shape[1:]
    hot = one_hot(labels)
    if hot:
        return Kind("classes", shape[0], shape)
    flat = labels.ndim == 1 or shape == (1,)
    if labels.dtype.kind not in "biu" or not flat:
        return Kind("values", None, shape)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= _MOST_CLASSES:
        raise EdgeoptError(
            f"{name} has the class {low if low < 0 else high}; classes count from 0 (values that are "
            "no classes are stored as floats)",
            "DATA_INVALID",
        )
    return Kind("classes", high + 1, shape)


def one_hot(labels: Array) -> bool:
    """Whether rows (n, k > 1) hold one 1 and else 0."""
    if labels.ndim != _MATRIX or labels.shape[1] == 1:
        return False
    return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all())


def strata(labels: Array | None) -> Array | None:
    """What to divide evenly by (n,): classes, or values of one number; None when there is none."""
    if labels is None:
        return None
    if one_hot(labels):
        return np.asarray(labels.argmax(axis=1))
    return np.asarray(labels).reshape(-1) if labels.size == len(labels) else None


def classes(labels: Array | None) -> Array | None:
    """The class of each example (n,); None when labels are none."""
    if labels is None or (labels.dtype.kind not in "biu" and not one_hot(labels)):
        return None
    return strata(labels)


def like_classes(labels: Array) -> bool:
    """Whether floats (n,) look like classes."""
    if labels.dtype.kind != "f" or labels.size != len(labels):
        return False
    seen = np.unique(labels)
    few = seen.size <= min(_LIKE_CLASSES, len(labels) // 2)
    return bool(few and (seen >= 0).all() and (seen == np.floor(seen)).all())
