"""Who gets which example: calibration, train, validation and test, which share none."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize.data.labels import strata
from edgeopt_host.optimize.data.parts import Part, chunks
from edgeopt_host.optimize.tensors import Array

SPLITS = ("calibration", "train", "validation", "test")
MOST_VALIDATION = 5000
# Of the only part there is, what becomes test: of x_train, else of x_test.
_TEST_OF_TRAIN, _TEST_OF_TEST = 0.2, 0.5


@dataclass(frozen=True)
class Split:
    """Examples of one split.

    Attributes:
        part: "train", "val" or "test": the part they are from.
        rows: (n,) which of its rows, in order.
    """

    part: str
    rows: Array


@dataclass(frozen=True)
class Division:
    """All splits that have examples.

    Attributes:
        splits: by name, of SPLITS.
        in_test: examples left out because test has the same.
        in_validation: because the given validation examples have the same.
        repeated: because their twin went to another split.
        warnings: sentences.
    """

    splits: dict[str, Split]
    in_test: int
    in_validation: int
    repeated: int
    warnings: list[str]


def contents(part: Part) -> Array:
    """A number (n,) for each example that examples with the same inputs share."""
    columns = [_hashes(array) for _, array in sorted(part.inputs.items())]
    return columns[0] if len(columns) == 1 else _hashes(np.stack(columns, axis=1))


def _hashes(array: Array) -> Array:
    found = np.empty(len(array), np.uint64)
    at = 0
    for chunk in chunks(array):
        digests = b"".join(
            hashlib.blake2b(row.data, digest_size=8).digest()
            for row in chunk.reshape(len(chunk), -1)
        )
        found[at : at + len(chunk)] = np.frombuffer(digests, np.uint64)
        at += len(chunk)
    return found


def divide(
    parts: Mapping[str, Part], *, calibration: int, validation: float, seed: int, where: str
) -> Division:
    """Divides examples evenly by class, at random by `seed`.

    Calibration and validation come out of x_train, and what is left is to train with. A missing x_test
    is a fifth of x_train; a missing x_train half of x_test. x_val is validation; it stands in for
    x_test or x_train when one of these is missing.

    Args:
        parts: as given.
        calibration: how many, at most half of what there is.
        validation: how many, or their share when below 1; at most a quarter, and MOST_VALIDATION.
        seed: of what is drawn.
        where: the data are from, for messages.

    Raises:
        UsageError: for counts that are none.
        EdgeoptError: DATA_INVALID when too few different examples are left.
    """
    _check_counts(calibration, validation)
    keys = {name: contents(part) for name, part in parts.items()}
    rng = np.random.default_rng(seed)
    warnings: list[str] = []
    if len(parts) == 1:
        test, pool = _cut(next(iter(parts.values())), keys, rng, where, warnings)
    else:
        test = _all("test" if "test" in parts else "val", parts)
        pool = _all("train" if "train" in parts else "val", parts)
    rows, in_test = _without(pool, keys, test)
    # A cut leaves out only twins, which are no mistake of the user's.
    repeated = in_test if len(parts) == 1 else 0
    splits = {"test": test}
    in_validation = 0
    if len(parts) == 3:  # noqa: PLR2004 - x_val besides the two others
        given, twins = _without(_all("val", parts), keys, test)
        count = min(MOST_VALIDATION, len(given))
        if validation >= 1:
            count = min(count, int(validation))
        if count:
            drawn = _draw(given, count, strata(parts["val"].labels), rng)
            splits["validation"] = Split("val", drawn)
        before = len(rows)
        rows = rows[~np.isin(keys[pool.part][rows], keys["val"][given])]
        in_test, in_validation = in_test + twins, before - len(rows)
    if not len(rows):
        raise EdgeoptError(
            f"{where} has nothing to calibrate with: every example of x_{pool.part} is also in "
            f"x_{test.part}; give others",
            "DATA_INVALID",
        )
    _, first = np.unique(keys[pool.part][rows], return_index=True)
    free = rows[np.sort(first)]
    by = strata(parts[pool.part].labels)
    different = len(free)
    sizes = {"calibration": min(calibration, max(1, different // 2))}
    if "validation" not in splits:
        sizes["validation"] = _validation(validation, different, different - sizes["calibration"])
    for name, count in sizes.items():
        if count:
            splits[name] = Split(pool.part, _draw(free, count, by, rng))
            free = free[~np.isin(free, splits[name].rows)]
    # To train with: the rest, and what is repeated in it as often as it was given.
    here = keys[pool.part]
    train = rows[np.isin(here[rows], here[free])]
    repeated += len(rows) - len(train) - sum(sizes.values())
    if len(train):
        splits["train"] = Split(pool.part, train)
    asked = {"calibration": calibration, "validation": int(validation)}
    warnings += [
        f"{count} {name} example{'' if count == 1 else 's'} instead of {asked[name]}: x_{pool.part} has "
        f"{different} different ones to share"
        for name, count in sizes.items()
        if count < asked[name]
    ]
    return Division(
        {name: splits[name] for name in SPLITS if name in splits},
        0 if len(parts) == 1 else in_test,
        in_validation,
        repeated,
        warnings,
    )


def _check_counts(calibration: int, validation: float) -> None:
    if calibration < 0:
        raise UsageError(f"calibration is {calibration}; it is a number of examples")
    if not 0 <= validation < math.inf or (validation >= 1 and validation != int(validation)):
        raise UsageError(
            f"validation is {validation}; it is a number of examples, or their share below 1"
        )


def _cut(
    part: Part, keys: Mapping[str, Array], rng: np.random.Generator, where: str, warnings: list[str]
) -> tuple[Split, Split]:
    """Test and the rest of the only part there is."""
    _, first = np.unique(keys[part.name], return_index=True)
    different = np.sort(first)
    if len(different) == 1:
        seen = "one example" if len(part) == 1 else f"{len(part)} examples, all the same"
        raise EdgeoptError(
            f"{where} has {seen}; at least two different ones are needed, one to calibrate and one "
            "to test with",
            "DATA_INVALID",
        )
    share = _TEST_OF_TRAIN if part.name == "train" else _TEST_OF_TEST
    count = max(1, round(share * len(different)))
    rows = _draw(different, count, strata(part.labels), rng)
    if part.name == "train":
        warnings.append(
            "test examples come out of x_train, as there is no x_test: a model that was trained on "
            "them looks better than it is"
        )
    rest = np.setdiff1d(np.arange(len(part)), rows)
    return Split(part.name, rows), Split(part.name, rest)


def _all(name: str, parts: Mapping[str, Part]) -> Split:
    return Split(name, np.arange(len(parts[name])))


def _without(pool: Split, keys: Mapping[str, Array], test: Split) -> tuple[Array, int]:
    """Rows whose content test does not have, and how many have it."""
    inside = np.isin(keys[pool.part][pool.rows], keys[test.part][test.rows])
    return pool.rows[~inside], int(inside.sum())


def _validation(asked: float, different: int, left: int) -> int:
    if asked == 0:
        return 0
    count = min(MOST_VALIDATION, max(1, round(asked * different))) if asked < 1 else int(asked)
    return min(count, left, max(1, different // 4))


def _draw(rows: Array, count: int, by: Array | None, rng: np.random.Generator) -> Array:
    """`count` of `rows`, in order: of each class its share, give or take one.

    Every n-th of all, sorted by class and at random within: systematic sampling.
    """
    order = rng.permutation(rows)
    if by is not None:
        order = order[np.argsort(by[order], kind="stable")]
    places = (np.arange(count) * len(rows) + rng.integers(len(rows))) // count
    return np.sort(order[places])
