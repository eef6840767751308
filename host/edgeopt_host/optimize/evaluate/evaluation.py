"""Everything that is known of a model without a device, against the original."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt_host.optimize import formats
from edgeopt_host.optimize.agreement import Agreement, compare, finite, match
from edgeopt_host.optimize.data import Prepared
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.evaluate import robustness as robust
from edgeopt_host.optimize.evaluate import scores
from edgeopt_host.optimize.evaluate.host import UNTIMED, HostLatency, time_original
from edgeopt_host.optimize.evaluate.outputs import Outputs
from edgeopt_host.optimize.evaluate.scores import Score
from edgeopt_host.optimize.evaluate.size import Size
from edgeopt_host.optimize.formats import Description
from edgeopt_host.optimize.metric import POINTS, Metric
from edgeopt_host.optimize.model import Model
from edgeopt_host.optimize.random_inputs import random_inputs
from edgeopt_host.optimize.technique import Progress
from edgeopt_host.optimize.tensors import Array
from edgeopt_host.stats.estimate import Estimate

TOP_K = (5,)
# In this order; test first, as the others add to it.
_SPLITS = ("test", "validation", "train")
_MOST_TRAIN = 5000
_RANDOM_EXAMPLES = 32
_MUCH_MORE = 2
_NOT_WORTH_TELLING = 2**18


@dataclass(frozen=True)
class Evaluation:
    """What is known of a model.

    Attributes:
        size: of its files.
        original_size: of the original's.
        description: what it consists of; None when nothing on this host opens its format.
        metric: of the scores.
        scores: by split, of "test", "validation" and "train"; those that have examples.
        drop: original minus this on test examples, in the metric's unit; None for the original, and
            without data.
        agreement: with the original's outputs; None for the original.
        robustness: under each corruption.
        host: latency in its own framework; of the original alone.
        warnings: sentences.
    """

    size: Size
    original_size: Size
    description: Description | None
    metric: Metric | None
    scores: Mapping[str, Score] = field(default_factory=dict)
    drop: Estimate | None = None
    agreement: Agreement | None = None
    robustness: Sequence[robust.Loss] = ()
    host: HostLatency | None = None
    warnings: Sequence[str] = ()

    def document(self) -> dict[str, Any]:
        """JSON, as in the history; docs/concepts/evaluation.md lists the keys."""
        test = self.scores.get("test")
        content = self.description
        return {
            "size": self.size.document(self.original_size),
            "parameters": content and content.parameters,
            "macs": content and content.macs,
            "dtypes": dict(content.dtypes) if content else {},
            "operators": dict(content.operators) if content else {},
            "scores": {split: one.document() for split, one in self.scores.items()},
            "drop": None
            if self.drop is None or self.metric is None or test is None
            else {
                "value": finite(self.drop.value),
                "low": finite(self.drop.low),
                "high": finite(self.drop.high),
                "unit": self.metric.unit,
                "examples": test.examples,
            },
            "agreement": self.agreement and self.agreement.document(),
            "robustness": [one.document() for one in self.robustness],
            "host": self.host and self.host.document(),
            "warnings": list(self.warnings),
        }


def evaluate(
    model: Model,
    original: Model,
    data: Prepared | None,
    metric: Metric | None,
    *,
    robustness: bool = True,
    top_k: Sequence[int] = TOP_K,
    host: bool = True,
    outputs_cache: Path,
    fresh: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluates a model against the original, or the original itself.

    Loads both models, the original only when its outputs are not in the cache yet: a process of its own
    is the place for it (`evaluate.job`). Of a format that nothing on this host runs, only the size is told.

    Args:
        model: any.
        original: of which steps made it; outputs of both are compared under its output names.
        data: examples; without them outputs are compared for random inputs.
        metric: of the scores; None for what suits the labels.
        robustness: whether inputs are disturbed.
        top_k: classes that may hold the right one, where the metric is of classes.
        host: whether the original is timed.
        outputs_cache: a folder for outputs, which any models and data may share.
        fresh: whether outputs that are there are computed again.
        seed: of what is drawn.
        progress: called as it goes.

    Raises:
        EdgeoptError: DATA_INVALID when the data do not fit the model, or labels the outputs;
            CONVERSION_DIFFERS when it has other outputs than the original; METRIC_FAILED.
    """
    if not formats.runnable(model):
        told = (
            f"nothing on this host runs {model.format.value} models, so only the size of {model.name} was "
            "measured; its outputs were compared with its source's when it was made"
        )
        return Evaluation(
            size=Size.of(model),
            original_size=Size.of(original),
            description=None,
            metric=metric,
            warnings=[told],
        )
    source = data.digest if data else "random"
    is_original = (model.digest, model.format) == (original.digest, original.format)
    before = Outputs(original, outputs_cache, source, fresh=fresh)
    after = before if is_original else Outputs(model, outputs_cache, source, fresh=fresh)
    return _Work(before, after, data, metric, seed, progress or (lambda _share, _text: None)).run(
        robustness=robustness, top_k=top_k, host=host
    )


class _Work:
    def __init__(
        self,
        before: Outputs,
        after: Outputs,
        data: Prepared | None,
        metric: Metric | None,
        seed: int,
        progress: Progress,
    ) -> None:
        self.before = before
        self.after = after
        self.model = after.model
        self.original = before.model
        self.is_original = after is before
        self.data = data
        self.metric = metric or (Metric.of_data(None, data) if data else None)
        self.seed = seed
        self.progress = progress
        self.warnings: list[str] = []

    def run(self, *, robustness: bool, top_k: Sequence[int], host: bool) -> Evaluation:
        self.progress(0.0, "size and operators")
        examples = next(iter(self.data.splits.values())) if self.data else None
        example = examples and examples.take(slice(0, 1))
        description = formats.describe(self.model, example)
        if example is None:
            example = self._random(description)
        agreed = None if self.is_original else self._agreement(example)
        found, dropped = self._scores(top_k)
        size = Size.of(self.model)
        if self.is_original:
            self.warnings += description.remarks
            self._warn_of_state(size, description)
        latency = None
        if host and self.is_original:
            self.progress(0.5, "latency in its own framework")
            latency = time_original(self.model, self.data, self.seed)
            if latency is None:
                self.warnings.append(UNTIMED)
        return Evaluation(
            size=size,
            original_size=Size.of(self.original),
            description=description,
            metric=self.metric,
            scores=found,
            drop=dropped,
            agreement=agreed,
            robustness=self._robustness() if robustness and "test" in found else (),
            host=latency,
            warnings=self.warnings,
        )

    def _warn_of_state(self, size: Size, description: Description) -> None:
        weights = description.weight_bytes
        if (
            weights
            and size.bytes > _MUCH_MORE * weights
            and size.bytes - weights > _NOT_WORTH_TELLING
        ):
            self.warnings.append(
                f"{self.model.name} has {size.bytes:,} bytes, of which {weights:,} are weights: the rest, "
                "such as an optimizer's state, makes compression ratios look better than they are"
            )

    def _random(self, description: Description) -> Examples | None:
        """For want of data."""
        inputs = description.inputs
        if not self.is_original:
            inputs = formats.describe(self.original).inputs
        return random_inputs(inputs, _RANDOM_EXAMPLES, self.seed)

    def _agreement(self, example: Examples | None) -> Agreement | None:
        if self.data:
            before, after, _ = self._outputs("test")
        elif example is not None:
            name = f"random {digest(example)}"
            before = self.before.of(name, lambda: example)
            after = self.after.of(name, lambda: example)
        else:
            self.warnings.append(
                "outputs were not compared: without data, and without known shapes of inputs, there "
                "is nothing to feed"
            )
            return None
        return compare(after, before)

    def _outputs(self, split: str) -> tuple[dict[str, Array], dict[str, Array], Examples]:
        """The original's, the model's under the original's names, and the examples."""
        assert self.data  # noqa: S101 - for the type checker
        examples = self.data.splits[split]
        if split == "train":
            examples = examples.sample(_MOST_TRAIN, self.seed)
        name = f"{split} {len(examples)} {self.seed if split == 'train' else ''}"
        before = self.before.of(name, lambda: examples)
        after = match(self.after.of(name, lambda: examples), before)
        return before, after, examples

    def _scores(self, top_k: Sequence[int]) -> tuple[dict[str, Score], Estimate | None]:
        found: dict[str, Score] = {}
        dropped = None
        if self.data is None or self.metric is None:
            return found, dropped
        metric = self.metric
        splits = [split for split in _SPLITS if split in self.data.splits]
        for number, split in enumerate(splits):
            self.progress(0.05 + 0.45 * number / len(splits), f"{split} examples")
            if metric.needs_labels and self.data.splits[split].labels is None:
                self.warnings.append(f"no {metric.name} on {split} examples, which have no labels")
                continue
            before, after, examples = self._outputs(split)
            self._count_unusable(split, after)
            estimate = scores.score(metric, after, examples, before, seed=self.seed)
            # A metric of one's own may be of outputs that tell no classes.
            classes = metric.classes if metric.needs_labels else None
            found[split] = Score(
                estimate,
                len(examples),
                scores.top_k(after, examples, classes, top_k),
                scores.report(after, examples, classes, self._names()) if split == "test" else None,
            )
            if split == "test" and not self.is_original:
                dropped = scores.drop(metric, after, before, examples, seed=self.seed)
                if metric.unit == POINTS:
                    told = scores.collapsed(dropped.value, classes, estimate.value, metric.name)
                    self.warnings += [told] if told else []
        return found, dropped

    def _count_unusable(self, split: str, outputs: Mapping[str, Array]) -> None:
        bad = np.zeros(len(next(iter(outputs.values()))), np.bool_)
        for array in outputs.values():
            if array.dtype.kind == "f":
                bad |= ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
        if bad.any():
            self.warnings.append(
                f"the model gives NaN or infinite values for {bad.sum()} of {len(bad)} {split} examples"
            )

    def _names(self) -> Sequence[str] | None:
        labels = self.data.document().get("labels") if self.data else None
        return (labels or {}).get("names")

    def _robustness(self) -> list[robust.Loss]:
        assert self.data  # noqa: S101 - for the type checker
        assert self.metric  # noqa: S101
        found = robust.losses(
            self.metric,
            self.after,
            self.before,
            robust.sample(self.data.splits["test"], self.seed),
            seed=self.seed,
            progress=lambda share, text: self.progress(0.6 + 0.4 * share, text),
        )
        if not found:
            self.warnings.append(
                "robustness was not measured: inputs that are whole numbers cannot be disturbed a little"
            )
        return found


def digest(examples: Examples) -> str:
    """Of all inputs: their names, types, shapes and values."""
    found = hashlib.sha256()
    for name, array in examples.inputs.items():
        found.update(f"{name!r} {array.dtype} {array.shape}\n".encode())
        found.update(array.tobytes())
    return found.hexdigest()
