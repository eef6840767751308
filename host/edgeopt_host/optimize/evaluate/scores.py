"""How right a model is, and how much less than the original, with what chance may have to do with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgeopt_host import data as labelled
from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize.agreement import finite
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.metric import POINTS, Metric, known_classes, rank
from edgeopt_host.optimize.tensors import Array, Arrays
from edgeopt_host.stats import accuracy
from edgeopt_host.stats.estimate import Estimate, Mean

_RESAMPLES = 200
_ENDS = (2.5, 97.5)
_COLLAPSE_PT = 10.0
# As far above guessing, of the way to 1, as still counts as guessing.
_GUESSING = 0.05


@dataclass(frozen=True)
class Score:
    """Of one split.

    Attributes:
        estimate: in the metric's own unit (0 to 1 for accuracy), with its 95 % interval; NaN where it
            is not known.
        examples: how many.
        top_k: by k, the share of examples whose class is among the k that score highest.
        report: scikit-learn's classification_report as a dict; None where there are no classes.
    """

    estimate: Estimate
    examples: int
    top_k: Mapping[int, float] = field(default_factory=dict)
    report: Mapping[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        """JSON."""
        one = self.estimate
        return {
            "value": finite(one.value),
            "ci95": [one.low, one.high] if one.bounded else None,
            "examples": self.examples,
            "top_k": {str(k): value for k, value in self.top_k.items()},
            "report": self.report,
        }


def score(
    metric: Metric, outputs: Arrays, examples: Examples, reference: Arrays | None, *, seed: int = 0
) -> Estimate:
    """A score with its 95 % interval.

    Clopper and Pearson's for shares of examples that are right or wrong; Student's t for the mean of
    other scores per example; else percentiles of 200 bootstrap samples, when a user's metric has one
    score for all.

    Args:
        metric: of all.
        outputs: of the model.
        examples: that it was fed.
        reference: outputs of the original.
        seed: of the bootstrap.

    Raises:
        EdgeoptError: as of `Metric.values`.
    """
    values = metric.values(outputs, examples, reference)
    if values.ndim:
        return _mean(values)

    def again(drawn: Array) -> float:
        return _one(metric, outputs, examples, reference, drawn)

    return _bootstrapped(float(values), len(examples), again, seed)


def drop(
    metric: Metric, outputs: Arrays, original: Arrays, examples: Examples, *, seed: int = 0
) -> Estimate:
    """Original minus this in the metric's unit, with its 95 % interval; above 0 this is worse.

    Paired, as both were fed the same examples: Tango's score interval for examples that are right or
    wrong, else Student's t, or the bootstrap, of the differences.

    Args:
        metric: of both.
        outputs: of this model, by the original's names.
        original: of the original.
        examples: that both were fed.
        seed: of the bootstrap.

    Raises:
        EdgeoptError: as of `Metric.values`.
    """
    mine = metric.values(outputs, examples, original)
    other = metric.values(original, examples, original)
    if mine.ndim == 0 or other.ndim == 0:

        def again(drawn: Array) -> float:
            before = _one(metric, original, examples, original, drawn)
            return before - _one(metric, outputs, examples, original, drawn)

        whole = float(other.mean() - mine.mean())
        return _bootstrapped(whole, len(examples), again, seed).times(metric.factor)
    if metric.unit == POINTS and _right_or_wrong(mine) and _right_or_wrong(other):
        found = accuracy.difference(mine > 0, other > 0)
        # 0.0 rather than -0.0
        return Estimate(*(0.0 - x for x in (found.value, found.high, found.low)))
    return _mean(other - mine, binary=False).times(metric.factor)


def top_k(
    outputs: Arrays, examples: Examples, classes: int | None, counts: Sequence[int]
) -> dict[int, float]:
    """The share of examples whose class is among the k that score highest, by k.

    Empty where the model has no scores of classes, or fewer than k + 1.
    """
    if classes is None or examples.labels is None or not counts:
        return {}
    known = known_classes(examples.labels, classes)
    output = outputs[labelled.output(outputs, known)]
    width = output.size // len(output)
    if width < max(2, classes):
        return {}
    places = rank(output, known.labels)
    return {k: float((places <= k).mean()) for k in counts if k < width}


def report(
    outputs: Arrays, examples: Examples, classes: int | None, names: Sequence[str] | None = None
) -> dict[str, Any] | None:
    """scikit-learn's classification report: precision, recall, F1 and support by class, and means.

    Args:
        outputs: of the model.
        examples: with labels.
        classes: how many there are; None when labels are no classes, and there is no report.
        names: of the classes; numbers without.
    """
    from sklearn.metrics import classification_report

    if classes is None or examples.labels is None:
        return None
    known = known_classes(examples.labels, classes)
    told = labelled.predicted(outputs[labelled.output(outputs, known)], known)
    present = sorted({*known.labels.tolist(), *told.tolist()})
    called = [_name(one, names) for one in present]
    found = classification_report(
        known.labels, told, labels=present, target_names=called, output_dict=True, zero_division=0
    )
    return {str(key): _plain(value) for key, value in found.items()}


def collapsed(drop: float, classes: int | None, value: float, name: str = "accuracy") -> str | None:
    """A sentence when a model has become useless; None when it has not.

    Args:
        drop: percentage points below the original.
        classes: how many there are; None when guessing has no known score.
        value: what is left, from 0 to 1.
        name: of the metric.
    """
    if not (math.isfinite(drop) and math.isfinite(value)) or drop <= 1:
        return None
    chance = 1 / classes if classes and classes > 1 else 0.0
    guessing = bool(chance) and value <= chance + _GUESSING * (1 - chance)
    if drop <= _COLLAPSE_PT and not guessing:
        return None
    end = ", which is what guessing gives" if guessing else ""
    return f"the {name} collapsed: it fell by {drop:.1f} pt to {100 * value:.1f} %{end}"


def _mean(values: Array, *, binary: bool = True) -> Estimate:
    if not len(values) or not np.isfinite(values).all():
        return Estimate(math.nan, math.nan, math.nan)
    if binary and _right_or_wrong(values):
        return accuracy.accuracy(values > 0)
    return Mean.of(values.tolist()).estimate()


def _right_or_wrong(values: Array) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def _one(
    metric: Metric, outputs: Arrays, examples: Examples, reference: Arrays | None, drawn: Array
) -> float:
    """The score of some of the examples, of which none is read."""
    labels = None if examples.labels is None else examples.labels[drawn]
    some = Examples({"": drawn}, labels, examples.split)
    before = None if reference is None else {n: array[drawn] for n, array in reference.items()}
    return metric.score({n: array[drawn] for n, array in outputs.items()}, some, before)


def _bootstrapped(value: float, count: int, again: Callable[[Array], float], seed: int) -> Estimate:
    random = np.random.default_rng(seed)

    def once() -> float:
        try:
            return again(random.integers(count, size=count))
        except EdgeoptError:  # a sample without one of the classes, say
            return math.nan

    found = [once() for _ in range(_RESAMPLES)]
    known = [one for one in found if math.isfinite(one)]
    if not math.isfinite(value) or len(known) < _RESAMPLES // 2:
        return Estimate(value, math.nan, math.nan)
    low, high = np.percentile(known, _ENDS)
    return Estimate(value, float(low), float(high))


def _name(number: int, names: Sequence[str] | None) -> str:
    if number < 0:
        return "NaN"
    return str(names[number]) if names and number < len(names) else str(number)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return float(value)
