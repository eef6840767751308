"""What being right means: accuracy, an error, agreement with the original, or the user's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt_host import data
from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize import _user_code, agreement
from edgeopt_host.optimize.data import Prepared
from edgeopt_host.optimize.data import labels as kinds
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.tensors import Array, Arrays

POINTS = "pt"
_KNOWN = (
    "a metric is accuracy, topK (such as top5), mean_absolute_error, agreement, or a function: "
    "module:function or FILE.py:function"
)
_NAMES = {"accuracy", "agreement", "mean_absolute_error", "neg_mean_absolute_error"}
_TOP = re.compile(r"top-?([1-9][0-9]{0,5})")
_Function = Callable[[Arrays, Examples, "Arrays | None"], Array]


def check(spec: str) -> None:
    """Refuses what can be no metric, before anything is read or run.

    Raises:
        UsageError: for an unknown name, or a file that is not there.
    """
    if spec in _NAMES or _TOP.fullmatch(spec):
        return
    file = Path(spec.rpartition(":")[0])
    if not _user_code.is_function(spec):
        raise UsageError(f"there is no metric {spec!r}; {_KNOWN}")
    if file.suffix == ".py" and not file.is_file():
        raise UsageError(f"cannot read {file}, which was to hold the metric: there is no such file")


@dataclass(frozen=True)
class Metric:
    """How right outputs are. Higher is better.

    Attributes:
        name: as given, or "accuracy", "top5", "neg_mean_absolute_error", "agreement".
        unit: of differences: "pt", percentage points of a share from 0 to 1; else the score's own,
            which may be "".
        classes: how many there are at least; None for labels that are no classes.
    """

    name: str
    unit: str
    classes: int | None = None
    _function: _Function = field(repr=False, compare=False, kw_only=True)

    @classmethod
    def of(cls, spec: str | None, labels: Array | None) -> Metric:
        """The metric that is meant.

        Args:
            spec: "accuracy", "topK", "mean_absolute_error", "agreement", "module:function" or
                "FILE.py:function"; None for what suits the labels.
            labels: all there are, (n, …); None without labels.

        A function is called as `f(outputs, labels)`: outputs by name, the first axis being the
        example. It returns a score for each example (n,), or one for all; higher is better. Its
        attribute `unit`, if it has one, names the unit of a score that is no share from 0 to 1.

        Raises:
            UsageError: for what is no metric.
            EdgeoptError: DATA_INVALID when the labels do not suit it, METRIC_FAILED when its module
                cannot be imported.
        """
        kind = None if labels is None else kinds.kind(labels, "the labels")
        classes = kind.classes if kind else None
        if spec is None:
            spec = "agreement" if kind is None else "accuracy" if classes else "mean_absolute_error"
        top = _TOP.fullmatch(spec)
        if spec == "agreement":
            return cls(spec, POINTS, classes, _function=_agreement)
        if spec == "accuracy" or top:
            if classes is None:
                seen = "no labels" if kind is None else "values"
                raise EdgeoptError(
                    f"{spec} needs labels that are classes; there are {seen}", "DATA_INVALID"
                )
            if not top:
                return cls(spec, POINTS, classes, _function=_Accuracy(classes))
            count = int(top.group(1))
            return cls(f"top{count}", POINTS, classes, _function=_TopK(count, classes))
        if spec in {"mean_absolute_error", "neg_mean_absolute_error"}:
            if kind is None:
                raise EdgeoptError(f"{spec} needs labels; there are none", "DATA_INVALID")
            return cls("neg_mean_absolute_error", "", _function=_absolute_error)
        if not _user_code.is_function(spec):
            raise UsageError(f"there is no metric {spec!r}; {_KNOWN}")
        function = _user_code.function(spec, "be the metric", "METRIC_FAILED")
        unit = str(getattr(function, "unit", POINTS))
        return cls(spec, unit, classes, _function=_Own(function, spec))

    @classmethod
    def of_data(cls, spec: str | None, prepared: Prepared) -> Metric:
        """As `of`, with the labels of all splits."""
        given = [one.labels for one in prepared.splits.values() if one.labels is not None]
        return cls.of(spec, np.concatenate(given) if given else None)

    @property
    def needs_labels(self) -> bool:
        """Whether examples without labels have no score; users' functions decide by themselves."""
        return self._function is not _agreement and not isinstance(self._function, _Own)

    @property
    def factor(self) -> float:
        """By which a difference of scores is one in `unit`."""
        return 100.0 if self.unit == POINTS else 1.0

    def values(self, outputs: Arrays, examples: Examples, reference: Arrays | None = None) -> Array:
        """Scores: float64 (n,), or () of a user's function that has one score for all.

        Args:
            outputs: real-valued, of these examples; names are the original model's.
            examples: with labels, unless the metric is agreement.
            reference: outputs of the original, for agreement.

        Raises:
            EdgeoptError: DATA_INVALID when outputs and labels do not go together, METRIC_FAILED when
                a user's function does.
        """
        return np.asarray(self._function(outputs, examples, reference), np.float64)

    def per_example(
        self, outputs: Arrays, examples: Examples, reference: Arrays | None = None
    ) -> Array:
        """Scores: float64 (n,). A score for all stands for each. See `values`."""
        found = self.values(outputs, examples, reference)
        return found if found.ndim else np.full(len(examples), found)

    def score(self, outputs: Arrays, examples: Examples, reference: Arrays | None = None) -> float:
        """Their mean: 0 to 1 for accuracy. See `values`."""
        return float(self.values(outputs, examples, reference).mean())


def known_classes(labels: Array | None, classes: int | None) -> data.Classes:
    """Labels as classes (n,), whichever way they are stored.

    Raises:
        EdgeoptError: DATA_INVALID when they are none.
    """
    found = kinds.classes(labels)
    if found is None or classes is None:
        raise EdgeoptError("these examples have no classes as labels", "DATA_INVALID")
    return data.Classes(found.astype(np.int64), classes)


def rank(output: Array, classes: Array) -> Array:
    """How many classes score at least as high as the right one, per example: int64 (n,), from 1.

    Ties count against the model. What has NaN is as far down as can be.
    """
    flat = output.reshape(len(output), -1).astype(np.float64)
    right = np.take_along_axis(flat, classes[:, None], axis=1)
    place = (flat >= right).sum(axis=1)
    return np.where(np.isnan(flat).any(axis=1), flat.shape[1] + 1, place)


class _Accuracy:
    def __init__(self, classes: int) -> None:
        self.classes = classes

    def __call__(self, outputs: Arrays, examples: Examples, _: Arrays | None) -> Array:
        known = known_classes(examples.labels, self.classes)
        return data.correct(outputs[data.output(outputs, known)], known).astype(np.float64)


class _TopK:
    def __init__(self, count: int, classes: int) -> None:
        self.count = count
        self.classes = classes

    def __call__(self, outputs: Arrays, examples: Examples, _: Arrays | None) -> Array:
        known = known_classes(examples.labels, self.classes)
        output = outputs[data.output(outputs, known)]
        if output.size < len(output) * max(2, self.classes):
            raise EdgeoptError(
                f"top{self.count} needs an output with a score for each class; the model gives "
                f"{list(output.shape)}",
                "DATA_INVALID",
            )
        return (rank(output, known.labels) <= self.count).astype(np.float64)


class _Own:
    """A user's function, with its mistakes told."""

    def __init__(self, function: Callable[..., Any], spec: str) -> None:
        self.function = function
        self.spec = spec

    def __call__(self, outputs: Arrays, examples: Examples, _: Arrays | None) -> Array:
        # A dict of its own: what it changes there is nobody else's.
        found = _user_code.call(
            lambda: np.asarray(self.function(dict(outputs), examples.labels), np.float64),
            f"the metric {self.spec}",
            "METRIC_FAILED",
        )
        if found.shape not in {(), (len(examples),)}:
            raise EdgeoptError(
                f"the metric {self.spec} returned the shape {list(found.shape)} for {len(examples)} "
                "examples; it returns a score for each, or one for all",
                "METRIC_FAILED",
            )
        if not np.isfinite(found).all():
            raise EdgeoptError(
                f"the metric {self.spec} returned {int((~np.isfinite(found)).sum())} scores of {found.size} "
                "that are no finite numbers",
                "METRIC_FAILED",
            )
        return found


def _agreement(outputs: Arrays, _: Examples, reference: Arrays | None) -> Array:
    if reference is None:
        raise EdgeoptError(
            "agreement needs the outputs of the original, which were not given", "DATA_INVALID"
        )
    matched = agreement.match(outputs, reference)
    each = [agreement.per_example(matched[name], array) for name, array in reference.items()]
    return np.asarray(np.mean(each, axis=0))


def _absolute_error(outputs: Arrays, examples: Examples, _: Arrays | None) -> Array:
    labels = examples.labels
    if labels is None:
        raise EdgeoptError("these examples have no labels", "DATA_INVALID")
    wanted = labels.size
    found = [array for array in outputs.values() if array.size == wanted]
    if len(found) != 1:
        seen = ", ".join(f"{name!r} {list(array.shape)}" for name, array in outputs.items())
        raise EdgeoptError(
            f"{'no' if not found else 'more than one'} output tells labels of the shape "
            f"{list(labels.shape)}; the model has {seen}",
            "DATA_INVALID",
        )
    count = len(labels)
    made = found[0].reshape(count, -1).astype(np.float64)
    return np.asarray(-np.abs(made - labels.reshape(count, -1)).mean(axis=1))
