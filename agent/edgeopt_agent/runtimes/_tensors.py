"""What adapters do with arrays; apart from _base.py because the agent process imports no numpy."""

from __future__ import annotations

from typing import Any

import numpy as np


def as_tensor(value: object) -> np.ndarray[Any, np.dtype[Any]]:
    """An output as numpy stores it without pickling: strings as text of a fixed width."""
    array = np.asarray(value)
    if array.dtype.kind != "O":
        return array
    words = [w.decode(errors="replace") if isinstance(w, bytes) else str(w) for w in array.flat]
    return np.array(words, dtype=np.str_).reshape(array.shape)
