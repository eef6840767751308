"""Splits share no example, by place and by content, and every class has its share."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize.data.parts import Part
from edgeopt_host.optimize.data.splits import Division, contents, divide


def part(name: str, values: Any, labels: Any = None) -> Part:
    """Examples that are one number each."""
    array = np.asarray(values, np.float32)[:, None]
    return Part(name, {"": array}, None if labels is None else np.asarray(labels))


def split(*parts: Part, calibration: int = 200, validation: float = 0.1, seed: int = 0) -> Division:
    given_ = {one.name: one for one in parts}
    return divide(given_, calibration=calibration, validation=validation, seed=seed, where="it")


def sizes(division: Division) -> dict[str, int]:
    return {name: len(one.rows) for name, one in division.splits.items()}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((part("train", range(1000)), part("test", range(2000, 2500))), (200, 700, 100, 500)),
        ((part("train", range(1000)),), (200, 520, 80, 200)),
        ((part("test", range(1000)),), (200, 250, 50, 500)),
        # Given validation stays whole, and stands in for what is missing.
        ((part("train", range(1000)), part("val", range(1000, 1300)), part("test", range(2000, 2500))),
         (200, 800, 300, 500)),
        ((part("train", range(1000)), part("val", range(1000, 1300))), (200, 700, 100, 300)),
        ((part("val", range(1000)), part("test", range(2000, 2500))), (200, 700, 100, 500)),
        ((part("train", range(3)), part("test", [9])), (1, 1, 1, 1)),
        ((part("test", range(2)),), (1, None, None, 1)),
    ],
)  # fmt: skip
def test_sizes(parts: tuple[Part, ...], expected: tuple[int | None, ...]) -> None:
    names = ("calibration", "train", "validation", "test")
    wanted = {name: one for name, one in zip(names, expected, strict=True) if one}
    assert sizes(split(*parts)) == wanted


@pytest.mark.parametrize(("asked", "count"), [(0, None), (0.02, 20), (30, 30), (900, 250)])
def test_validation_is_a_share_or_a_number(asked: float, count: int | None) -> None:
    made = split(part("train", range(1000)), part("test", [-1]), validation=asked)
    assert sizes(made).get("validation") == count
    assert bool(made.warnings) == (asked == 900)


def test_no_more_than_5000_validate() -> None:
    assert sizes(split(part("train", range(60000)), part("test", [-1])))["validation"] == 5000


def test_fewer_calibration_examples_than_asked_are_told() -> None:
    made = split(part("train", range(50)), part("test", [-1]))
    assert made.warnings == [
        "25 calibration examples instead of 200: x_train has 50 different ones to share"
    ]


def test_a_test_that_comes_out_of_training_data_is_told() -> None:
    assert (
        "a model that was trained on them looks better"
        in split(part("train", range(9999))).warnings[0]
    )


def test_every_class_has_its_share() -> None:
    labels = np.repeat(range(10), [910, *[10] * 9])
    made = split(part("train", range(1000), labels), part("test", [-1], [0]), calibration=100)
    counts = np.bincount(labels[made.splits["calibration"].rows], minlength=10)
    assert counts.sum() == 100
    assert abs(counts - np.bincount(labels) / 10).max() <= 1
    hot = split(
        part("train", range(1000), np.eye(10)[labels]),
        part("test", [-1], np.eye(10)[:1]),
        calibration=100,
    )
    np.testing.assert_array_equal(hot.splits["calibration"].rows, made.splits["calibration"].rows)


def test_values_are_spread_out() -> None:
    values = np.random.default_rng(0).lognormal(size=1000)
    for seed in range(20):
        made = split(
            part("train", range(1000), values),
            part("test", [-1], [0.0]),
            calibration=100,
            seed=seed,
        )
        ranks = values.argsort().argsort()[made.splits["calibration"].rows]
        assert (np.bincount(ranks // 100, minlength=10) == 10).all()


def test_content_in_test_is_left_out_elsewhere() -> None:
    made = split(
        part("train", range(100)), part("val", range(90, 120)), part("test", range(110, 200))
    )
    assert (made.in_test, made.in_validation) == (10, 10)
    assert sizes(made) == {"calibration": 45, "train": 45, "validation": 20, "test": 90}


def test_repeated_examples_stay_together() -> None:
    made = split(part("train", [*range(50), *range(50)]), part("test", [-1]), calibration=10)
    assert sizes(made) == {"calibration": 10, "train": 70, "validation": 5, "test": 1}
    assert made.repeated == 15


def test_several_inputs_are_one_content() -> None:
    left, right = np.array([[0], [0], [1], [0]]), np.array([[0], [1], [0], [0]])
    keys = contents(Part("train", {"a": left, "b": right}, None))
    assert len(set(keys.tolist())) == 3
    assert keys[0] == keys[3]


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["train", "val", "test"]),
        st.lists(st.integers(0, 40), min_size=1, max_size=60),
        min_size=1,
    ),
    st.integers(0, 30),
    st.one_of(st.integers(0, 30), st.floats(0, 0.99)),
    st.integers(0, 3),
)
def test_splits_share_nothing_and_lose_only_twins(
    values: dict[str, list[int]], calibration: int, validation: float, seed: int
) -> None:
    parts = {
        name: part(name, values[name], np.array(values[name]) % 4)
        for name in ("train", "val", "test")
        if name in values
    }
    try:
        made = split(*parts.values(), calibration=calibration, validation=validation, seed=seed)
    except EdgeoptError:  # of which other tests tell
        pool = next(name for name in ("train", "val", "test") if name in values)
        others = [set(one) for name, one in values.items() if name != pool]
        assert set(values[pool]) <= set().union(*others) if others else len(set(values[pool])) == 1
        return
    found = {name: {values[one.part][row] for row in one.rows} for name, one in made.splits.items()}
    assert all(len(one.rows) > 0 for one in made.splits.values())
    assert all((np.diff(one.rows) > 0).all() for one in made.splits.values())
    for one, other in itertools.combinations(found.values(), 2):
        assert not one & other
    assert "test" in found
    assert ("calibration" in found) == (calibration > 0)
    lost = made.in_test + made.in_validation + made.repeated
    if len(parts) < 3:  # x_val may be longer than validation
        total = sum(map(len, values.values()))
        assert sum(sizes(made).values()) + lost == total
    again = split(*parts.values(), calibration=calibration, validation=validation, seed=seed)
    for name, same in made.splits.items():
        np.testing.assert_array_equal(same.rows, again.splits[name].rows)
