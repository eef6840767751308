"""What is fuzzed: a decoder, what it is given, and how it may refuse that."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis.strategies import SearchStrategy


@dataclass(frozen=True)
class Target:
    """One decoder.

    Attributes:
        inputs: what it is given.
        decode: gives it one input, and checks what came of it. Whatever it raises besides `refused`
            is a finding.
        refused: how the decoder's documentation says that it refuses.
        examples: what is tried every time, first.
        cost: how long an input takes, compared with the others: a soak gives it fewer.
    """

    name: str
    inputs: SearchStrategy[Any]
    decode: Callable[[Any], object]
    refused: tuple[type[Exception], ...] = ()
    examples: tuple[Any, ...] = ()
    cost: int = 1


def scratch() -> Path:
    """A folder that goes with this process."""
    folder = tempfile.mkdtemp(prefix="edgeopt-fuzz-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
