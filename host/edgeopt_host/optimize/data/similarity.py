"""Whether calibration data look like what a model meets: in test, and in the field.

Three looks, each with a p-value under the hypothesis that both were drawn from the same source:

- all of an example at once: the energy distance (Székely and Rizzo, "Energy statistics", 2013) with a
  permutation test, on random projections where examples are large;
- each channel's mean, spread and range (each feature, of tables): Kolmogorov-Smirnov;
- how frequent classes are: chi-squared over random tables with the same margins.

The smallest counts, times how many there are (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.data.labels import classes
from edgeopt_host.optimize.data.parts import chunks
from edgeopt_host.optimize.tensors import Array

# Below it two samples differ. One in a hundred pairs from the same source is said to.
_DIFFERENT = 0.01
# With fewer nothing but the grossest difference shows.
_FEWEST = 20
_MOST = 500
_PERMUTATIONS = 1999
_PROJECTED = 128
_MOST_FEATURES = 1024
_MOST_CHANNELS = 64
_MOST_CLASSES = 2000
_MEASURES = ("mean", "standard deviation", "minimum", "maximum")
_TABLE = 2
# Of p, as papers write it: less is told as less than that.
_LEAST_TOLD = 0.001


def similarity(
    calibration: Examples,
    test: Examples,
    field: Examples | None = None,
    *,
    seed: int = 0,
    names: Sequence[str] = (),
) -> dict[str, Any]:
    """How well calibration examples resemble others, in numbers and a sentence each.

    Args:
        calibration: examples that ranges are measured on.
        test: those that models are tested on.
        field: those that devices meet.
        seed: of samples and permutations.
        names: of classes, for sentences.

    Returns:
        {"test": comparison, "field": comparison | None, "warnings": sentences}, with comparison =
        {"text", "differs" and "p_value" (None when there are too few to tell), "examples": [n, n],
        "whole", "feature", "classes": what each look found}.
    """
    compared = {"test": compare(calibration, test, "test", seed=seed, names=names)}
    if field is not None:
        compared["field"] = compare(calibration, field, "field", seed=seed, names=names)
    warnings = [
        f"{one['text']}: ranges calibrated on such examples may not fit"
        for one in compared.values()
        if one["differs"]
    ]
    return {"test": compared["test"], "field": compared.get("field"), "warnings": warnings}


def compare(
    calibration: Examples, other: Examples, called: str, *, seed: int, names: Sequence[str] = ()
) -> dict[str, Any]:
    """One comparison of `similarity`; `called` is the other's name in the sentence."""
    counts = [len(calibration), len(other)]
    if min(counts) < _FEWEST:
        return {
            "text": f"too few examples to tell whether calibration ({counts[0]}) resembles {called} "
            f"({counts[1]}): {_FEWEST} of each are needed",
            "differs": None,
            "p_value": None,
            "examples": counts,
            "whole": None,
            "feature": None,
            "classes": None,
        }
    rng = np.random.default_rng(seed)
    ours, others = calibration.sample(_MOST, seed), other.sample(_MOST, seed)
    whole = _whole(ours, others, rng)
    feature = _feature(ours, others)
    frequencies = _classes(calibration, other, rng)
    looks = [one for one in (whole, feature, frequencies) if one is not None]
    p_value = min(1.0, len(looks) * min(one["p_value"] for one in looks))
    differs = p_value < _DIFFERENT
    text = f"calibration examples resemble {called} examples"
    if differs:
        text = f"calibration examples differ from {called} examples: " + _most(
            whole, feature, frequencies, called, names
        )
    return {
        "text": f"{text} (p {_p(p_value)})",
        "differs": differs,
        "p_value": p_value,
        "examples": counts,
        "whole": whole,
        "feature": feature,
        "classes": frequencies,
    }


def _most(
    whole: dict[str, Any],
    feature: dict[str, Any] | None,
    frequencies: dict[str, Any] | None,
    called: str,
    names: Sequence[str],
) -> str:
    """The difference to name: of classes or of a feature, when one shows; else the whole."""
    looks = [one for one in (frequencies, feature) if one is not None]
    best = min(looks, key=lambda one: one["p_value"], default=whole)
    if best["p_value"] > max(whole["p_value"], _DIFFERENT):
        best = whole
    if best is frequencies:
        number = best["class"]
        name = repr(names[number]) if number < len(names) else str(number)
        return (
            f"class {name} makes {best['calibration']:.1%} of calibration and {best['other']:.1%} of "
            f"{called}"
        )
    if best is feature:
        return (
            f"most in the {best['measure']}{_of(best)}, on average {best['calibration']:.4g} in "
            f"calibration and {best['other']:.4g} in {called}"
        )
    return "as a whole, though no single channel or class does"


def _of(feature: dict[str, Any]) -> str:
    said = ""
    if feature["channel"] is not None:
        said = (
            f" of {'feature' if feature['measure'] == 'value' else 'channel'} {feature['channel']}"
        )
    return said + (f" of input {feature['input']!r}" if feature["input"] else "")


def _p(value: float) -> str:
    return f"= {value:.2g}" if value >= _LEAST_TOLD else f"< {_LEAST_TOLD}"


def _whole(one: Examples, other: Examples, rng: np.random.Generator) -> dict[str, Any]:
    from scipy.spatial.distance import cdist

    points = np.concatenate(
        [_points(one.inputs[name], other.inputs[name]) for name in one.inputs], 1
    )
    distances = cdist(points, points)
    count, total = len(one), len(points)
    # Energy distance = -w'Dw with weights 1/n on one sample and -1/m on the other.
    weights = np.full(total, -1 / (total - count))
    weights[:count] = 1 / count
    signed = np.stack([weights, *(rng.permutation(weights) for _ in range(_PERMUTATIONS))], axis=1)
    energies = -(signed * (distances @ signed)).sum(axis=0)
    # Against rounding, which would tell equal permutations apart.
    beyond = (energies[1:] >= energies[0] * (1 - 1e-9)).sum()
    mean = distances.mean()
    return {
        "p_value": float((1 + beyond) / (1 + _PERMUTATIONS)),
        "energy": float(energies[0] / mean) if mean > 0 else 0.0,
    }


def _points(one: Array, other: Array) -> Array:
    """Both samples' examples as points (n + m, d) of total variance 1."""
    width = math.prod(one.shape[1:])
    found: list[Array] = []
    projection = None
    if width > _MOST_FEATURES:
        from sklearn.random_projection import SparseRandomProjection

        projection = SparseRandomProjection(_PROJECTED, dense_output=True, random_state=0)
        projection.fit(np.zeros((1, width), np.float32))
    for array in (one, other):
        for chunk in chunks(array):
            rows = chunk.reshape(len(chunk), -1).astype(np.float64)
            found.append(rows if projection is None else projection.transform(rows))
    points = np.concatenate(found)
    points -= points.mean(axis=0)
    if one.ndim == _TABLE and projection is None:
        spread = points.std(axis=0)
        points /= np.where(spread > 0, spread, 1)
    variance = points.var(axis=0).sum()
    return np.asarray(points / math.sqrt(variance) if variance > 0 else points)


def _feature(one: Examples, other: Examples) -> dict[str, Any] | None:
    """The channel's measure, or the feature, that differs most."""
    from scipy.stats import ks_2samp

    worst: dict[str, Any] | None = None
    tests = 0
    for name in one.inputs:
        left, right = (_measures(each.inputs[name]) for each in (one, other))
        for measure, values in left.items():
            others = right[measure]
            channels = values.shape[1]
            for channel in range(channels):
                pair = values[:, channel], others[:, channel]
                tests += 1
                p_value = float(ks_2samp(*pair, method="exact").pvalue)
                spread = float(np.concatenate(pair).std())
                averages = [float(each.mean()) for each in pair]
                shift = (averages[0] - averages[1]) / spread if spread > 0 else 0.0
                found = {
                    "p_value": p_value,
                    "input": name,
                    "channel": channel if channels > 1 else None,
                    "measure": measure,
                    "calibration": averages[0],
                    "other": averages[1],
                    "shift_sd": shift,
                }
                if worst is None or _rank(found) < _rank(worst):
                    worst = found
    if worst is not None:
        worst["p_value"] = min(1.0, worst["p_value"] * tests)
    return worst


def _rank(found: dict[str, Any]) -> tuple[float, float]:
    return found["p_value"], -abs(found["shift_sd"])


def _measures(array: Array) -> dict[str, Array]:
    """By measure (n, channels)."""
    if array.ndim <= _TABLE and math.prod(array.shape[1:]) <= _MOST_FEATURES:
        return {"value": np.asarray(array, np.float64).reshape(len(array), -1)}
    axis = _channel_axis(array.shape)
    found: list[Array] = []
    for chunk in chunks(array):
        rows = chunk.astype(np.float64)
        rows = rows[:, None] if axis is None else np.moveaxis(rows, axis, 1)
        rows = rows.reshape(*rows.shape[:2], -1)
        found.append(np.stack([rows.mean(2), rows.std(2), rows.min(2), rows.max(2)]))
    stacked = np.concatenate(found, axis=1)
    return dict(zip(_MEASURES, stacked, strict=True))


def _channel_axis(shape: tuple[int, ...]) -> int | None:
    """The last axis, or the first after the example: the smaller, when it is small enough."""
    if len(shape) <= _TABLE:
        return None
    axis = 1 if shape[1] < shape[-1] and len(shape) > _TABLE + 1 else len(shape) - 1
    small = shape[axis] <= _MOST_CHANNELS and shape[axis] < math.prod(shape[1:]) / shape[axis]
    return axis if small else None


def _classes(
    calibration: Examples, other: Examples, rng: np.random.Generator
) -> dict[str, Any] | None:
    """The class whose share differs most, in standard errors."""
    from scipy.stats import random_table

    ours, others = classes(calibration.labels), classes(other.labels)
    if ours is None or others is None:
        return None
    numbers = np.unique(np.concatenate([ours, others]))
    if not 1 < len(numbers) <= _MOST_CLASSES:
        return None
    table = np.stack(
        [
            np.bincount(np.searchsorted(numbers, each), minlength=len(numbers))
            for each in (ours, others)
        ]
    )
    sizes = table.sum(axis=1)
    expected = np.outer(sizes, table.sum(axis=0)) / sizes.sum()
    tables = random_table(sizes, table.sum(axis=0)).rvs(_PERMUTATIONS, random_state=rng)
    parts = (table - expected) ** 2 / expected
    random = ((tables - expected) ** 2 / expected).sum(axis=(1, 2))
    beyond = (random >= parts.sum() * (1 - 1e-9)).sum()
    worst = int(parts.sum(axis=0).argmax())
    shares = table[:, worst] / sizes
    return {
        "p_value": float((1 + beyond) / (1 + _PERMUTATIONS)),
        "class": int(numbers[worst]),
        "calibration": float(shares[0]),
        "other": float(shares[1]),
    }
