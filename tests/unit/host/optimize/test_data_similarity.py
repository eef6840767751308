"""Calibration data that resemble test are said to, in nearly all draws; others are found, and named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgeopt_host.optimize.data import Examples, similarity

Array = np.ndarray[Any, np.dtype[Any]]


def photos(rng: np.random.Generator, labels: Array) -> Array:
    """Images (n, 8, 8, 3) whose class is where they are bright."""
    rows = rng.normal(0.4, 0.1, (len(labels), 8, 8, 3))
    rows[np.arange(len(labels)), labels % 8] += 0.5
    return np.asarray(rows * rng.uniform(0.7, 1.3, (len(labels), 1, 1, 1)), np.float32)


def table(rng: np.random.Generator, labels: Array) -> Array:
    """Features (n, 12) of very different scales, some of them counts."""
    rows = rng.normal(size=(len(labels), 12)) + labels[:, None] / 5
    rows[:, 4:8] = rng.poisson(2, (len(labels), 4))
    return np.asarray(rows * 10.0 ** np.arange(-6, 6), np.float64)


def tokens(rng: np.random.Generator, labels: Array) -> Array:
    """Long rows of integers (n, 1500), padded."""
    rows = rng.integers(0, 256, (len(labels), 1500), dtype=np.int32)
    rows[np.arange(1500) > rng.integers(100, 1500, (len(labels), 1))] = 256
    return rows


KINDS: dict[str, Callable[[np.random.Generator, Array], Array]] = {
    "photos": photos,
    "table": table,
    "tokens": tokens,
}


def examples(kind: str, count: int, seed: int, split: str, classes: int = 8) -> Examples:
    rng = np.random.default_rng([seed, ord(split[0])])
    labels = rng.integers(0, classes, count)
    return Examples({"": KINDS[kind](rng, labels)}, labels, split)


def compared(calibration: Examples, test: Examples) -> dict[str, Any]:
    return dict(similarity(calibration, test)["test"])


@pytest.mark.parametrize(("kind", "draws"), [("photos", 60), ("table", 60), ("tokens", 20)])
def test_the_same_source_is_called_alike(kind: str, draws: int) -> None:
    found = [
        compared(examples(kind, 60, seed, "calibration"), examples(kind, 120, seed, "test"))
        for seed in range(draws)
    ]
    # At most 1 % are expected; more than 5 % of them would be too many.
    assert sum(one["differs"] for one in found) <= 0.05 * draws
    # p-values are not all pushed to 1 either: the test can tell something.
    assert min(one["whole"]["p_value"] for one in found) < 0.2
    assert all("resemble test examples (p " in one["text"] for one in found if not one["differs"])


def test_a_darker_channel_is_named() -> None:
    for seed in range(5):
        calibration = examples("photos", 100, seed, "calibration")
        calibration.inputs[""][..., 2] *= 0.6
        made = similarity(calibration, examples("photos", 300, seed, "test"))
        found = made["test"]
        assert found["differs"]
        assert found["feature"]["channel"] == 2
        assert found["feature"]["shift_sd"] < -1
        assert "of channel 2, on average" in found["text"]
        assert made["warnings"] == [
            f"{found['text']}: ranges calibrated on such examples may not fit"
        ]


def test_channels_are_found_in_either_layout() -> None:
    calibration, test = (examples("photos", 100, 0, split) for split in ("calibration", "test"))
    calibration.inputs[""][..., 1] += 0.3
    turned = [
        Examples({"": one.inputs[""].transpose(0, 3, 1, 2)}, one.labels, one.split)
        for one in (calibration, test)
    ]
    assert compared(*turned)["feature"]["channel"] == 1


def test_a_scaled_input_is_found() -> None:
    """The commonest mistake: 0..255 instead of 0..1."""
    calibration = examples("photos", 30, 0, "calibration")
    scaled = Examples({"": calibration.inputs[""] * 255}, None, "calibration")
    assert compared(scaled, examples("photos", 100, 0, "test"))["p_value"] < 0.005


def test_a_feature_of_a_table_is_named_whatever_its_scale() -> None:
    calibration = examples("table", 100, 0, "calibration")
    calibration.inputs[""][:, 1] += 1e-5
    found = compared(calibration, examples("table", 300, 0, "test"))
    assert found["differs"]
    assert "value of feature 1, on average" in found["text"]
    assert found["whole"]["p_value"] < 0.01


def test_many_features_are_not_many_alarms() -> None:
    alarms = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        pair = [Examples({"": rng.normal(size=(60, 400))}) for _ in range(2)]
        alarms += compared(*pair)["differs"]
    assert alarms <= 1


def test_a_missing_class_is_named() -> None:
    for seed in range(5):
        test = examples("photos", 600, seed, "test")
        calibration = examples("photos", 200, seed, "calibration")
        kept = np.flatnonzero(calibration.labels != 3)
        found = compared(calibration.take(kept), test)
        assert found["differs"]
        assert found["classes"]["class"] == 3
        assert "class 3 makes 0.0% of calibration" in found["text"]
    named = similarity(calibration.take(kept), test, names=["a", "b", "c", "cat", *"efgh"])
    assert "class 'cat' makes 0.0%" in named["test"]["text"]


def test_a_missing_class_without_labels_shows_in_the_whole() -> None:
    test = examples("photos", 500, 0, "test", classes=4)
    calibration = examples("photos", 200, 0, "calibration", classes=4)
    bare = Examples(calibration.inputs, None).take(np.flatnonzero(calibration.labels != 3))
    found = compared(bare, test)
    assert found["classes"] is None
    assert found["whole"]["p_value"] < 0.005
    assert found["differs"]


def test_one_hot_labels_are_classes_and_values_are_none() -> None:
    calibration, test = (examples("photos", 100, 0, split) for split in ("calibration", "test"))
    hot = [Examples(one.inputs, np.eye(8)[one.labels]) for one in (calibration, test)]
    assert compared(*hot)["classes"] == compared(calibration, test)["classes"]
    floats = [Examples(one.inputs, np.divide(one.labels, 7.0)) for one in (calibration, test)]  # type: ignore[arg-type]
    assert compared(*floats)["classes"] is None


def test_the_field_is_compared_too() -> None:
    calibration, test = (examples("photos", 100, 0, split) for split in ("calibration", "test"))
    field = Examples({"": test.inputs[""] * 0.5}, None, "field")
    made = similarity(calibration, test, field)
    assert not made["test"]["differs"]
    assert made["field"]["differs"]
    assert "differ from field examples" in made["warnings"][0]


def test_too_few_are_not_judged() -> None:
    found = compared(examples("table", 19, 0, "calibration"), examples("table", 100, 0, "test"))
    assert found["differs"] is None
    assert found["text"].startswith("too few examples to tell whether calibration (19)")


def test_constant_data_are_alike() -> None:
    still = Examples({"": np.zeros((50, 4, 4, 1), np.float32)}, np.zeros(50, int))
    found = compared(still, still)
    assert not found["differs"]
    assert found["p_value"] == 1


def test_the_same_seed_gives_the_same_answer() -> None:
    pair = examples("tokens", 60, 0, "calibration"), examples("tokens", 60, 0, "test")
    assert similarity(*pair, seed=3) == similarity(*pair, seed=3)
