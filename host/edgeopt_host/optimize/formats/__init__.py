"""Models in every format: told apart, described and run.

Each format is a module with the two functions of `_Module`. What is imported here is light; a framework
is loaded by the first function that needs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.formats import (
    exported_program,
    keras,
    onnx,
    ptl,
    saved_model,
    tflite,
    torch,
    torchscript,
)
from edgeopt_host.optimize.formats._batches import Batched
from edgeopt_host.optimize.formats._recognize import recognize
from edgeopt_host.optimize.formats.description import Description
from edgeopt_host.optimize.formats.predict import predict as _predict
from edgeopt_host.optimize.formats.runner import Runner
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.technique import Progress
from edgeopt_host.optimize.tensors import Array

__all__ = ["Description", "Runner", "describe", "open_model", "open_runner", "predict", "runnable"]


class _Module(Protocol):
    """What a format's module offers."""

    def runner(self, model: Model, threads: int) -> Runner:
        """Loads it. It may insist on the number of examples that its signature says."""

    def describe(self, model: Model, example: Examples | None) -> Description:
        """Reads or loads it; `example` gives shapes to models that know none."""


_MODULES: dict[Format, _Module] = {
    Format.KERAS: keras,
    Format.SAVED_MODEL: saved_model,
    Format.TORCH: torch,
    Format.TORCHSCRIPT: torchscript,
    Format.EXPORTED_PROGRAM: exported_program,
    Format.ONNX: onnx,
    Format.TFLITE: tflite,
    Format.PTL: ptl,
}


def open_model(
    reference: str | Path,
    *,
    into: Path,
    weights: Path | None = None,
    code: Path | None = None,
) -> Model:
    """Finds a model and tells its format by its content; loads no framework.

    Args:
        reference: a file or folder, or "FILE.py:FACTORY" of a PyTorch module.
        into: an existing folder, for the folder that is made of models that consist of several files.
        weights: a state dict, for "FILE.py:FACTORY".
        code: a Python file to be imported before a Keras model is loaded, with its own classes.

    Raises:
        UsageError: when there is no such file, or options do not fit it.
        EdgeoptError: MODEL_INVALID when it is no model, or not a whole one.
    """
    path, factory = _parts(reference)
    try:
        if factory is not None:
            if code is not None:
                raise UsageError(
                    "--code is for Keras models; a PyTorch module's own file says it all"
                )
            return torch.bundle(path, factory, weights, into)
        found, companions = recognize(path)
        if weights is not None:
            raise UsageError(
                f"--weights is for FILE.py:FACTORY; {path} is {found.value} and holds its own"
            )
        if code is not None:
            if found is not Format.KERAS:
                raise UsageError(f"--code is for Keras models; {path} is {found.value}")
            return keras.bundle(path, code, into)
        return Model.of(path, found, companions)
    except OSError as error:
        raise UsageError(
            f"cannot read the model {error.filename or path}: {error.strerror or error}"
        ) from error


def runnable(model: Model) -> bool:
    """Whether something on this host opens and runs its format."""
    return model.format in _MODULES


def open_runner(model: Model, *, threads: int = 1) -> Runner:
    """Loads a model to run it on this host, with any number of examples at a time.

    Raises:
        EdgeoptError: MODEL_INVALID, MODEL_UNSUPPORTED or UNSUPPORTED_OPERATOR.
    """
    return Batched(_module(model).runner(model, threads), model.name)


def describe(model: Model, example: Examples | None = None) -> Description:
    """What a model consists of.

    Args:
        model: any.
        example: one or more, for the shapes and multiply-accumulates of models that know no shapes.

    Raises:
        EdgeoptError: as `open_runner`.
    """
    return _module(model).describe(model, example)


def predict(
    model: Model | Runner,
    examples: Examples,
    *,
    batch: int = 64,
    progress: Progress | None = None,
) -> dict[str, Array]:
    """What a model gives for examples, as real values by output name; the first axis is the example.

    Integer inputs and outputs that have a scale take and give real values all the same. float64 and
    float16 are cast to float32 and back, int64 and int32 to one another.

    Args:
        model: any, or one that is loaded.
        examples: their arrays bear the model's input names, or "" for its only one.
        batch: how many at a time, where the model allows it.
        progress: called as they come.

    Raises:
        EdgeoptError: DATA_INVALID when they do not fit the model; else as `open_runner`.
    """
    runner = open_runner(model) if isinstance(model, Model) else model
    return _predict(runner, examples, batch, progress)


def _module(model: Model) -> _Module:
    if not runnable(model):
        raise EdgeoptError(
            f"{model.name} is a {model.format.value} model, which nothing on this host runs",
            "MODEL_UNSUPPORTED",
        )
    return _MODULES[model.format]


def _parts(reference: str | Path) -> tuple[Path, str | None]:
    """The file, and the factory in it."""
    file, colon, factory = str(reference).rpartition(":")
    if colon and file.endswith(".py") and factory.isidentifier():
        return Path(file), factory
    return Path(reference), None
