"""A real model with a little more work after every inference: a regression of a known size.

A model file is the recipe, one JSON object, and the real model after it:

    {"runtime": "tflite", "iterations": 4200, "suffix": ".tflite"}\n<the file's bytes>

`iterations` of an empty loop take a fixed amount of CPU time, whatever pre-empts them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from itertools import repeat
from pathlib import Path
from typing import Any

from edgeopt_agent import runtimes
from edgeopt_agent.runtimes import Placement, Runtime, RuntimeInfo, Session, Settings


def content(model: Path, runtime: str, iterations: int) -> bytes:
    """The content of a model file for this runtime."""
    recipe = {"runtime": runtime, "iterations": iterations, "suffix": model.suffix}
    return json.dumps(recipe).encode() + b"\n" + model.read_bytes()


def after(infer: Callable[[], object], iterations: int) -> Callable[[], object]:
    """An inference with some work after it. Without, it is called the same way."""

    def both() -> None:
        infer()
        for _ in repeat(None, iterations):
            pass

    return both


class SlowedSession(Session):
    def __init__(self, inner: Session, iterations: int) -> None:
        self.inputs = inner.inputs
        self._inner = inner
        self._iterations = iterations

    def prepare(self, feeds: Mapping[str, Any]) -> None:
        self._inner.prepare(feeds)
        self.infer = after(self._inner.infer, self._iterations)

    def outputs(self) -> tuple[dict[str, Any], list[str]]:
        return self._inner.outputs()

    def placement(self) -> Placement:
        return self._inner.placement()


class Slowed(Runtime):
    info = RuntimeInfo("edgeopt-slowed", "1.0", ())

    def open(self, model: Path, settings: Settings) -> Session:
        first, _, content = model.read_bytes().partition(b"\n")
        recipe = json.loads(first)
        with tempfile.NamedTemporaryFile(suffix=recipe["suffix"], delete=False) as file:
            file.write(content)
        inner = runtimes.load(recipe["runtime"]).open(Path(file.name), settings)
        return SlowedSession(inner, recipe["iterations"])
