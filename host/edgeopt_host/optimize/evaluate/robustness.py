"""How much a model loses when its inputs are disturbed, and how much the original does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edgeopt_host.optimize.agreement import finite, match
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.evaluate.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from edgeopt_host.optimize.evaluate.outputs import Outputs
from edgeopt_host.optimize.metric import Metric
from edgeopt_host.optimize.technique import Progress

MOST_EXAMPLES = 1000
# Numbers that all examples together may have, as several copies of them are in memory: 256 MiB.
_MOST_NUMBERS = 2**26
_FEWEST_EXAMPLES = 32


@dataclass(frozen=True)
class Loss:
    """Under one corruption.

    Attributes:
        corruption: its name.
        severity: 1 or 2.
        value: the model's score.
        original_value: the original's.
        drop: in the metric's unit, below its own score for undisturbed inputs.
        drop_original: likewise of the original.
        examples: how many.
    """

    corruption: str
    severity: int
    value: float
    original_value: float
    drop: float
    drop_original: float
    examples: int

    def document(self) -> dict[str, Any]:
        """JSON."""
        return {
            "corruption": self.corruption,
            "severity": self.severity,
            "value": finite(self.value),
            "original_value": finite(self.original_value),
            "drop": finite(self.drop),
            "drop_original": finite(self.drop_original),
            "examples": self.examples,
        }


def sample(examples: Examples, seed: int) -> Examples:
    """What is disturbed: at most 1000 examples, fewer of large ones, in memory."""
    each = max(math.prod(array.shape[1:]) for array in examples.inputs.values())
    fitting = max(_FEWEST_EXAMPLES, _MOST_NUMBERS // max(1, each))
    return examples.sample(min(MOST_EXAMPLES, fitting), seed)


def losses(
    metric: Metric,
    model: Outputs,
    original: Outputs,
    examples: Examples,
    *,
    seed: int,
    progress: Progress,
) -> list[Loss]:
    """Scores under each corruption and severity; those that do not suit the inputs are left out.

    Where there are no labels, answers are compared with the original's for undisturbed inputs.

    Args:
        metric: of both.
        model: this one's outputs.
        original: the original's.
        examples: of `sample`.
        seed: of what is drawn.
        progress: called as they come.

    Raises:
        EdgeoptError: as of `Metric.values`.
    """
    count = len(examples)
    tag = f"disturbed {count} {seed}"
    clean_original = original.of(tag, lambda: examples)
    clean = match(model.of(tag, lambda: examples), clean_original)
    before_original = metric.score(clean_original, examples, clean_original)
    before = metric.score(clean, examples, clean_original)
    kinds = [(name, severity) for name in CORRUPTIONS for severity in SEVERITIES]
    found = []
    for number, (name, severity) in enumerate(kinds):
        progress(number / len(kinds), f"{name}, severity {severity}")
        made = corrupt(examples, name, severity, seed)
        if made is None:
            continue
        where = f"{tag} {name} {severity}"
        given = original.of(where, lambda made=made: made)  # type: ignore[misc]
        mine = match(model.of(where, lambda made=made: made), given)  # type: ignore[misc]
        value = metric.score(mine, examples, clean_original)
        original_value = metric.score(given, examples, clean_original)
        found.append(
            Loss(
                name,
                severity,
                value,
                original_value,
                metric.factor * (before - value),
                metric.factor * (before_original - original_value),
                count,
            )
        )
    return found
