"""How far the outputs of a model are from those of the model it was made of."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.formats.runner import Runner
from edgeopt_host.optimize.model import Model
from edgeopt_host.optimize.tensors import Array, Arrays

_MATRIX = 2
# How far the sum of rounded probabilities is from 1 at most.
_SUM_ROUNDING = 0.02
# Enough examples to tell outputs of the same shape apart.
_TELLING = 64
# Enough to find a difference, and quick.
_ENOUGH = 64


@dataclass(frozen=True)
class Difference:
    """Of one output.

    Attributes:
        max_abs: the largest difference, in the output's unit; infinite where only one is finite.
        mean_abs: their mean.
        relative: the Euclidean norm of the differences over that of the reference.
        argmax_same: the share (0 to 1) of rows with the largest value in the same place; None for an
            output without scores of classes.
        scale: the largest absolute value of the reference.
    """

    max_abs: float
    mean_abs: float
    relative: float
    argmax_same: float | None
    scale: float

    def document(self) -> dict[str, Any]:
        return {
            "max_abs": finite(self.max_abs),
            "mean_abs": finite(self.mean_abs),
            "relative": finite(self.relative),
            "argmax_same": self.argmax_same,
        }


@dataclass(frozen=True)
class Agreement:
    """Of all outputs: the worst of each figure. Units as of Difference.

    Attributes:
        per_output: by the reference's output names.
        examples: how many were compared.
    """

    max_abs: float
    mean_abs: float
    relative: float
    argmax_same: float | None
    per_output: dict[str, Difference]
    examples: int

    def document(self) -> dict[str, Any]:
        """JSON; null for what is infinite."""
        whole = Difference(self.max_abs, self.mean_abs, self.relative, self.argmax_same, 0.0)
        outputs = {name: one.document() for name, one in self.per_output.items()}
        return {**whole.document(), "examples": self.examples, "per_output": outputs}


def compare(outputs: Arrays, reference: Arrays) -> Agreement:
    """Compares the real-valued outputs of two models that were fed the same examples.

    Args:
        outputs: of one; the first axis is the example. Names may differ (see `match`).
        reference: of the other, to which differences are related.

    Raises:
        EdgeoptError: CONVERSION_DIFFERS when they have other outputs.
    """
    matched = match(outputs, reference)
    each = {name: _difference(matched[name], array) for name, array in reference.items()}
    if not each:
        raise EdgeoptError("the models have no outputs to compare", "MODEL_INVALID")
    same = [one.argmax_same for one in each.values() if one.argmax_same is not None]
    return Agreement(
        max_abs=max(one.max_abs for one in each.values()),
        mean_abs=max(one.mean_abs for one in each.values()),
        relative=max(one.relative for one in each.values()),
        argmax_same=min(same) if same else None,
        per_output=each,
        examples=len(next(iter(reference.values()))),
    )


def check(
    source: Model | Runner, made: Model | Runner, examples: Examples, tolerance: float
) -> Agreement:
    """Compares two models on examples, and refuses the one made when it differs by too much.

    Args:
        source: what it was made of.
        made: what was made.
        examples: to feed both.
        tolerance: the largest difference that is allowed, as a share of the largest absolute value
            of that output, or of 1 where that is smaller.

    Raises:
        EdgeoptError: CONVERSION_DIFFERS, telling by how much.
    """
    from edgeopt_host.optimize import formats

    found = compare(formats.predict(made, examples), formats.predict(source, examples))
    for name, one in found.per_output.items():
        allowed = tolerance * max(1.0, one.scale)
        if one.max_abs <= allowed:
            continue
        seen = "is not finite where the source's is"
        if math.isfinite(one.max_abs):
            seen = f"differs by up to {one.max_abs:.2g} ({one.mean_abs:.2g} on average) from the source's"
        raise EdgeoptError(
            f"the output {name!r} of what was made {seen}, on {found.examples} examples; with "
            f"tolerance={tolerance:g}, {allowed:.2g} was allowed",
            "CONVERSION_DIFFERS",
        )
    return found


def verified(source: Model, made: Model, examples: Examples, tolerance: float) -> dict[str, Any]:
    """As `check`, of a file that was just made, which is removed when it differs; tells as JSON."""
    try:
        return check(source, made, examples.take(slice(_ENOUGH)), tolerance).document()
    except BaseException:
        made.path.unlink(missing_ok=True)
        raise


def match(outputs: Arrays, reference: Arrays) -> dict[str, Array]:
    """One model's outputs under the names of another's, of which it was made.

    Converters rename outputs and put them in another order. Names count when they are the same, but
    for a ":0". Else shapes tell, without axes of length 1, and the values where several outputs have
    the same shape. Further outputs are left out.

    Returns:
        Arrays of the shapes of the reference.

    Raises:
        EdgeoptError: CONVERSION_DIFFERS when there is no such assignment.
    """
    plain = {_plain(name): array for name, array in outputs.items()}
    names = {name: _plain(name) for name in reference}
    if len(plain) == len(outputs) and all(
        names[name] in plain and _alike(plain[names[name]], array)
        for name, array in reference.items()
    ):
        return {n: plain[names[n]].reshape(array.shape) for n, array in reference.items()}
    found = _assign(outputs, reference)
    if found is None:
        raise EdgeoptError(
            f"the outputs are {_shapes(outputs)}; those of the model it was made of are "
            f"{_shapes(reference)}",
            "CONVERSION_DIFFERS",
        )
    return {name: outputs[found[name]].reshape(array.shape) for name, array in reference.items()}


def scores(output: Array) -> bool:
    """Whether an output scores classes along its last axis.

    An output (n, classes) does; one of more axes when its values there add up to 1.
    """
    if output.ndim < _MATRIX or output.shape[-1] < _MATRIX or not output.size:
        return False
    if output.ndim == _MATRIX:
        return True
    some = output[:_TELLING].astype(np.float64)
    sums = some.sum(axis=-1)
    return bool((some >= -_SUM_ROUNDING).all() and (np.abs(sums - 1) <= _SUM_ROUNDING).all())


def per_example(output: Array, reference: Array) -> Array:
    """How well an output agrees with another, for each example: float64 (n,) from 0 to 1.

    Of scores the share of rows with the largest in the same place: 0 or 1 for an output (n, classes).
    Of others 1 / (1 + relative difference), by Euclidean norms over the example.
    """
    count = len(reference)
    if scores(reference):
        return np.asarray(_same(output, reference).reshape(count, -1).mean(axis=1))
    made = output.reshape(count, -1).astype(np.float64)
    right = reference.reshape(count, -1).astype(np.float64)
    off = np.linalg.norm(made - right, axis=1)
    norm = np.linalg.norm(right, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        agreed = 1 / (1 + np.where(off == 0, 0.0, off / norm))
    return np.where(np.isfinite(off), agreed, 0.0)


def finite(value: float | None) -> float | None:
    """A number as JSON has it: null for what is infinite or NaN."""
    return float(value) if value is not None and math.isfinite(value) else None


def _difference(made: Array, reference: Array) -> Difference:
    total = squares = norm = worst = scale = 0.0
    # By pieces: a test set's outputs as float64 can be several times the memory they are in.
    for first in range(0, len(reference), _TELLING):
        right = reference[first : first + _TELLING].astype(np.float64)
        mine = made[first : first + _TELLING].astype(np.float64)
        known = np.isfinite(right)
        if (np.isfinite(mine) != known).any():
            worst = total = squares = math.inf
            continue
        off = np.abs(np.where(known, mine - right, 0.0))
        total += float(off.sum())
        squares += float((off**2).sum())
        worst = max(worst, float(off.max(initial=0.0)))
        norm += float((right[known] ** 2).sum())
        scale = max(scale, float(np.abs(right[known]).max(initial=0.0)))
    relative = math.sqrt(squares / norm) if norm else (math.inf if squares else 0.0)
    same = float(_same(made, reference).mean()) if scores(reference) else None
    return Difference(worst, total / max(1, reference.size), relative, same, scale)


def _same(made: Array, reference: Array) -> Array:
    """Whether the largest along the last axis is in the same place; not where NaN is."""
    usable = ~np.isnan(made).any(axis=-1)
    return np.asarray(usable & (made.argmax(axis=-1) == reference.argmax(axis=-1)))


def _assign(outputs: Arrays, reference: Arrays) -> dict[str, str] | None:
    """The output that is meant by each of the reference; None when they do not go together."""
    from scipy.optimize import linear_sum_assignment

    if len(outputs) < len(reference):
        return None
    costs = np.full((len(reference), len(outputs)), np.inf)
    for row, right in enumerate(reference.values()):
        for column, made in enumerate(outputs.values()):
            if _alike(made, right):
                # Of equal ones, the order decides.
                costs[row, column] = _distance(made, right) + 1e-6 * abs(row - column)
    try:
        rows, columns = linear_sum_assignment(costs)
    except ValueError:  # none is possible
        return None
    names, others = list(reference), list(outputs)
    return {names[row]: others[column] for row, column in zip(rows, columns, strict=True)}


def _distance(made: Array, reference: Array) -> float:
    """From 0 to 1."""
    right = reference[:_TELLING]
    agreed = per_example(made[:_TELLING].reshape(right.shape), right)
    norm = np.abs(right.astype(np.float64)).mean() + 1e-12
    off = np.abs(made[:_TELLING].reshape(right.shape).astype(np.float64) - right).mean() / norm
    share = off / (1 + off) if np.isfinite(off) else 1.0
    return float((1 - agreed.mean() + share) / 2)


def _alike(one: Array, other: Array) -> bool:
    return _core(one) == _core(other)


def _core(array: Array) -> tuple[int, ...]:
    return (len(array), *(int(size) for size in array.shape[1:] if size != 1))


def _plain(name: str) -> str:
    return re.sub(r":0$", "", name)


def _shapes(arrays: Mapping[str, Array]) -> str:
    told = ", ".join(f"{name!r} {list(array.shape)}" for name, array in arrays.items())
    return told or "none"
