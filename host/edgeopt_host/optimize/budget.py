"""Whether what a variant loses is within a budget, as far as validation examples can tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize import agreement
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.metric import Metric
from edgeopt_host.optimize.tensors import Array, Arrays

# Sums of the same numbers in another order may differ by this share.
_ROUNDING = 1e-9
# So many standard errors are a one-sided bound of 95 %, as far as the error of a mean is normal.
_BOUND = 1.645
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Drop:
    """What a variant lost of a metric's score.

    Attributes:
        value: the source's score minus the variant's, in the metric's unit; infinite where there is none.
        standard_error: of `value`, in the same unit; None where there is one score for all examples, or
            one example.
        examples: how many both were fed.
        step: what one example is worth, in that unit, where each is right or wrong; else None.
    """

    value: float
    standard_error: float | None
    examples: int
    step: float | None = None

    @property
    def high(self) -> float:
        """It is hardly more: the upper bound of 95 %."""
        return self.value + _BOUND * (self.standard_error or 0.0)

    @property
    def low(self) -> float:
        """It is hardly less: the lower bound of 95 %."""
        return self.value - _BOUND * (self.standard_error or 0.0)

    def within(self, budget: float) -> bool:
        """Whether value + 1.645 standard errors ≤ budget.

        A search that goes on while the value alone is within the budget ends right at it, and is beyond
        it on other data half the time or more. By this bound a variant whose true loss is the budget is
        accepted one time in 20.

        That is the promise for one variant, not for the best of many: a search asks for one after the
        other, and what is lucky on these examples stays. Its result is thus beyond the budget more often
        than one time in 20, the more so the fewer the examples, but then by little.
        """
        return self.high <= budget + _ROUNDING * max(1.0, abs(budget))

    def words(self, unit: str) -> str:
        """Such as "0.31 ± 0.12 pt"."""
        error = "" if self.standard_error is None else f" ± {self.standard_error:.2g}"
        return f"{self.value:.2g}{error} {unit}".rstrip()

    def warnings(self, budget: float, unit: str) -> list[str]:
        """That the examples are too few to tell the budget, where one is worth more than it."""
        if self.step is None or not 0 < budget < self.step:
            return []
        needed = math.ceil(self.step * self.examples / budget - _ROUNDING)
        counted = f"{self.examples:,} validation example{'s' * (self.examples > 1)}"
        return [f"{counted} cannot tell {f'{budget:g} {unit}'.rstrip()}: give {needed:,} or more"]

    def document(self, unit: str) -> dict[str, Any]:
        """JSON; null for what is infinite or unknown."""
        return {
            "drop_pt": agreement.finite(self.value),
            "standard_error": self.standard_error,
            "unit": unit,
            "examples": self.examples,
        }


def drop(source: Array, variant: Array, examples: int, factor: float = 1.0) -> Drop:
    """What a variant lost, from scores of the same examples in the same order.

    With scores for each example it is their mean difference, and its standard error that of the paired
    differences: s / √n, where s is their standard deviation with n - 1 degrees of freedom. Pairing leaves
    out what examples differ by anyway: only those count on which the two differ.

    Args:
        source: scores of the source, float64 (n,); or () for one score of all.
        variant: of the variant, of the same shape.
        examples: n.
        factor: by which a difference of scores is one in the metric's unit.
    """
    lost = factor * (source - variant)
    if not np.isfinite(lost).all():
        return Drop(math.inf, None, examples)
    error = None
    if lost.ndim and examples > 1:
        error = float(lost.std(ddof=1)) / math.sqrt(examples)
    judged = lost.ndim and np.isin(source, (0, 1)).all() and np.isin(variant, (0, 1)).all()
    return Drop(float(lost.mean()), error, examples, factor / examples if judged else None)


@dataclass(frozen=True)
class Trial:
    """What a variant lost, and the error of its outputs: the norm of differences over their norm."""

    drop: Drop
    error: float

    def document(self) -> dict[str, Any]:
        return {
            "drop_pt": agreement.finite(self.drop.value),
            "standard_error": self.drop.standard_error,
            "output_error": agreement.finite(self.error),
        }


@dataclass(frozen=True)
class Original:
    """What the source makes of examples; variants are tried against it.

    Attributes:
        metric: by which.
        examples: which.
        outputs: of the source, real-valued, by name.
    """

    metric: Metric
    examples: Examples
    outputs: Arrays

    @cached_property
    def scores(self) -> Array:
        """Of the source: float64 (n,), or () of a metric with one score for all."""
        return self.metric.values(self.outputs, self.examples, self.outputs)

    def sample(self, count: int, seed: int) -> Original:
        """At most `count` of the examples, drawn without replacement, in their order."""
        if count >= len(self.examples):
            return self
        drawn = np.random.default_rng(seed).choice(len(self.examples), count, replace=False)
        drawn.sort()
        outputs = {name: array[drawn] for name, array in self.outputs.items()}
        return Original(self.metric, self.examples.take(drawn), outputs)

    def trial(self, outputs: Arrays) -> Trial:
        """What a variant lost that gave these outputs for the same examples; names may differ."""
        matched = agreement.match(outputs, self.outputs)
        error = agreement.compare(matched, self.outputs).relative
        scores = self.metric.values(matched, self.examples, self.outputs)
        lost = drop(self.scores, scores, len(self.examples), self.metric.factor)
        return Trial(lost, error if math.isfinite(error) else math.inf)


def check(budget: float, examples: int) -> None:
    """Refuses parameters that mean nothing.

    Raises:
        UsageError: naming the parameter.
    """
    if not 0 <= budget < math.inf:
        raise UsageError(f"budget_pt is {budget}; it is 0 or more")
    if examples < 1:
        raise UsageError(f"examples is {examples}; it is 1 or more")


def exceeded(what: str, lost: Drop, budget: float, unit: str, advice: str = "") -> EdgeoptError:
    """What to raise when not even the least that can be quantized is within the budget.

    Args:
        what: is quantized, such as "with only first in int8".
        lost: by that.
        budget: that was allowed.
        unit: of both.
        advice: what else can be done, such as "use activations=dynamic".
    """
    return EdgeoptError(
        f"even {what} it loses {lost.words(unit)} on {lost.examples:,} validation "
        f"example{'s' * (lost.examples != 1)}, which is not within budget_pt={budget:g} with 95 % "
        f"confidence: {f'{advice}, ' * bool(advice)}give more examples, or allow more",
        "BUDGET_EXCEEDED",
    )


def row(
    layer: str,
    operator: str,
    size: int,
    trials: Mapping[str, Trial],
    chosen: str,
    time_ratio: float | None = None,
) -> dict[str, Any]:
    """A line of the table of sensitivities.

    Args:
        layer: its name.
        operator: its kind.
        size: of its weights in float, bytes.
        trials: of the layer alone, by precision, the fewest bits first: these stand for the layer.
        chosen: the precision it has in the end.
        time_ratio: of the whole model with it to the source; None when not measured.
    """
    first = next(iter(trials.values()), None)
    nothing = dict.fromkeys(("drop_pt", "standard_error", "output_error"))
    return {
        "layer": layer,
        "operator": operator,
        "bytes": size,
        **(first.document() if first else nothing),
        "time_ratio": time_ratio,
        "chosen": chosen,
        "precisions": {name: one.document() for name, one in trials.items()},
    }


def harm(trial: Trial, size: int, budget: float) -> tuple[float, float]:
    """What quantizing a layer costs, to sort by: drops that are sure, then error for bytes saved.

    Drops of a single layer are mostly within the noise of the examples; errors of outputs are not, and
    add up as their squares.
    """
    return max(0.0, trial.drop.low - budget), trial.error**2 / max(size, 1)


def longest(ordered: Sequence[_Item], fine: Callable[[Sequence[_Item]], bool]) -> list[_Item]:
    """The longest start of a list that is fine, as if every shorter one were; found by halving.

    None at all is fine, without asking.
    """
    if not ordered or fine(ordered):
        return list(ordered)
    good, bad = 0, len(ordered)
    while bad - good > 1:
        middle = (good + bad) // 2
        if fine(ordered[:middle]):
            good = middle
        else:
            bad = middle
    return list(ordered[:good])
