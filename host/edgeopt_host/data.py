"""Labelled data (`--data FILE.npz`), and how right a model is on it."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt_host import npz
from edgeopt_host.errors import EdgeoptError
from edgeopt_host.modelfile import Digest
from edgeopt_host.run import Run
from edgeopt_host.stats import accuracy

Array = np.ndarray[Any, np.dtype[Any]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

_INPUTS, _LABELS = "x_test", "y_test"
_MATRIX = 2
_HALF = 0.5
# By which the probabilities of a quantized model leave 0 to 1.
_SLACK = 0.01


@dataclass(frozen=True)
class Classes:
    """What is right about examples.

    Args:
        labels: the class of each example: int64 (n,).
        classes: how many classes there are at least: one more than the largest label, or the width
            of one-hot labels.
    """

    labels: np.ndarray[Any, np.dtype[np.int64]] = field(repr=False, compare=False)
    classes: int

    @property
    def examples(self) -> int:
        return int(self.labels.size)


@dataclass(frozen=True)
class LabelledData(Classes):
    """An `.npz` with `x_test` (or `x_test.NAME` for several inputs) and `y_test`.

    Labels stay here: a model that could read them would be right about all of them.

    Args:
        path: of the file.
        digest: of its content.
    """

    path: Path
    digest: Digest

    @cached_property
    def examples_file(self) -> Path:
        """The inputs alone, which is what devices get: an .npz that is gone with this object.

        Raises:
            EdgeoptError: when the file is not any more what it was.
        """
        descriptor, name = tempfile.mkstemp(prefix="edgeopt-", suffix=".npz")
        os.close(descriptor)
        file = Path(name)
        weakref.finalize(self, file.unlink, missing_ok=True)
        npz.extract(self.path, _is_input, file)
        return file

    @cached_property
    def examples_digest(self) -> Digest:
        """Of `examples_file`."""
        return Digest.of(self.examples_file)

    @classmethod
    def open(cls, path: Path) -> LabelledData:
        """Reads the labels, and checks that the inputs go with them.

        Raises:
            UsageError: when the file cannot be read.
            EdgeoptError: DATA_INVALID when it holds no such data.
        """
        npz.check(path)
        with np.load(path, allow_pickle=False) as archive:
            shapes = npz.shapes(path)
            inputs = list(filter(_is_input, shapes))
            if not inputs or _LABELS not in shapes:
                raise _invalid(
                    path,
                    f"labelled data are x_test (or x_test.NAME for several inputs) and y_test; it has "
                    f"{', '.join(shapes) or 'nothing'}",
                )
            given = archive[_LABELS]
        labels, classes = _labels(given, path)
        for name in inputs:
            if shapes[name][:1] != (labels.size,):
                raise _invalid(
                    path,
                    f"the first axis is the example: {name} has the shape {shapes[name]} and y_test "
                    f"{given.shape}",
                )
        return cls(labels, classes, path, Digest.of(path))


def correct(predictions: Array, known: Classes) -> Bools:
    """Whether a model was right about each example: bool (n,).

    Args:
        predictions: one output for every example, as of `predicted`.
        known: of as many examples.

    Raises:
        EdgeoptError: DATA_INVALID when the output cannot tell these classes.
    """
    return accuracy.correct(predicted(predictions, known), known.labels)


def predicted(predictions: Array, known: Classes) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The class that a model tells of each example: int64 (n,), -1 where it gives NaN.

    Args:
        predictions: one output for every example. Of scores (n, classes) the largest counts.
            Integers (n,) or (n, 1) are classes. Floats (n,) or (n, 1) tell the second of two
            classes: probabilities from 0.5 when all lie within 0 to 1, else logits from 0. Further
            axes of length 1 are ignored.
        known: of as many examples.

    Raises:
        EdgeoptError: DATA_INVALID when the output cannot tell these classes.
    """
    scores = _scores(predictions)
    if scores is None or not _fits(scores, known):
        raise EdgeoptError(
            f"an output of {predictions.dtype} {list(predictions.shape)} does not tell "
            f"{known.classes} classes of {known.examples} examples",
            "DATA_INVALID",
        )
    if scores.dtype.kind != "f":
        return (scores if scores.ndim == 1 else scores.argmax(axis=1)).astype(np.int64)
    unknown = np.isnan(scores)
    if scores.ndim == _MATRIX:
        return np.where(unknown.any(axis=1), -1, scores.argmax(axis=1))
    seen = scores[~unknown]
    probabilities = not seen.size or (seen.min() >= -_SLACK and seen.max() <= 1 + _SLACK)
    second = scores >= _HALF if probabilities else scores > 0
    return np.where(unknown, -1, second.astype(np.int64))


def output(outputs: Mapping[str, Array], known: Classes) -> str:
    """The name of the output that tells the classes: of several the one with exactly as many.

    Raises:
        EdgeoptError: DATA_INVALID when none does, or more than one.
    """
    scores = {name: _scores(array) for name, array in outputs.items()}
    fit = {n: s for n, s in scores.items() if s is not None and _fits(s, known)}
    exact = [n for n, s in fit.items() if s.ndim == _MATRIX and s.shape[1] == known.classes]
    chosen = exact if len(fit) > 1 else list(fit)
    if len(chosen) == 1:
        return chosen[0]
    seen = ", ".join(f"{name!r} {list(array.shape)}" for name, array in outputs.items())
    raise EdgeoptError(
        f"{'no' if not fit else 'more than one'} output tells {known.classes} classes of "
        f"{known.examples} examples; the model has {seen or 'none'}",
        "DATA_INVALID",
    )


def fill(run: Run, predictions: Path, labelled: LabelledData) -> None:
    """Sets a run's accuracy, and whether it was right per example.

    Args:
        run: of the model.
        predictions: an .npz from its device, with an array per output.
        labelled: what it was fed.

    Raises:
        EdgeoptError: DATA_INVALID when no output, or more than one, tells the classes.
    """
    npz.check(predictions)
    with np.load(predictions, allow_pickle=False) as archive:
        outputs = {name: archive[name] for name in archive.files}
    name = output(outputs, labelled)
    run.correct = correct(outputs[name], labelled)
    share = accuracy.accuracy(run.correct)
    run.accuracy = {
        "metric": "accuracy",
        "value": share.value,
        "correct": int(run.correct.sum()),
        "examples": labelled.examples,
        "ci95": [share.low, share.high],
        "output": name,
        "data_sha256": labelled.digest.sha256,
    }


def _is_input(name: str) -> bool:
    return name == _INPUTS or name.startswith(f"{_INPUTS}.")


def _labels(given: Array, path: Path) -> tuple[np.ndarray[Any, np.dtype[np.int64]], int]:
    """Classes (n,), and how many there are."""
    if given.size == 0:
        raise _invalid(path, f"y_test has the shape {given.shape}: no example")
    if given.ndim == _MATRIX and given.shape[1] > 1:
        if given.dtype.kind not in "biuf" or not _one_hot(given):
            raise _invalid(
                path,
                f"y_test {given.shape} is not one-hot: each row of it has one 1 and else 0; "
                "probabilities and several classes per example have no accuracy",
            )
        return given.argmax(axis=1).astype(np.int64), given.shape[1]
    if given.ndim > _MATRIX or given.ndim == 0:
        raise _invalid(
            path, f"y_test has the shape {given.shape}; labels are (n,), (n, 1) or (n, classes)"
        )
    flat = given.reshape(-1)
    if flat.dtype.kind not in "biu":
        raise _invalid(
            path,
            f"y_test is {flat.dtype}; a class is a whole number, so save classes as integers "
            "(y_test.astype('int64')). Values of a regression have no accuracy",
        )
    if int(flat.min()) < 0 or int(flat.max()) >= 2**31:
        raise _invalid(path, f"y_test has the class {flat.min()}; classes count from 0")
    labels = flat.astype(np.int64)
    return labels, int(labels.max()) + 1


def _one_hot(rows: Array) -> bool:
    return bool(np.isin(rows, (0, 1)).all() and (rows.sum(axis=1) == 1).all())


def _scores(output: Array) -> Array | None:
    """The output as (n, classes) or (n,); None when it is neither, or holds no numbers."""
    if output.ndim == 0 or output.dtype.kind not in "biuf":
        return None
    rest = [size for size in output.shape[1:] if size != 1]
    return output.reshape(len(output), *rest) if len(rest) < _MATRIX else None


def _fits(scores: Array, known: Classes) -> bool:
    if len(scores) != known.examples:
        return False
    if scores.ndim == _MATRIX:
        return bool(scores.shape[1] >= known.classes)
    return scores.dtype.kind in "biu" or known.classes <= _MATRIX


def _invalid(path: Path, why: str) -> EdgeoptError:
    return EdgeoptError(f"{path} is no labelled data: {why}", "DATA_INVALID")
