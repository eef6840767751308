"""What happens to inputs where devices are."""

from __future__ import annotations

import numpy as np
import pytest

import digits
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.evaluate.corruptions import CORRUPTIONS, SEVERITIES, Facts, corrupt

IMAGES = digits.images()[0][:200].repeat(2, axis=1).repeat(2, axis=2)
WAVES = np.sin(np.linspace(0, 60, 300) + np.arange(50)[:, None]).astype(np.float32)
TABLE = np.random.default_rng(0).normal([10, -5, 0], [1, 2, 3], (400, 3)).astype(np.float32)


def changed(array: np.ndarray, corruption: str, severity: int, seed: int = 0) -> np.ndarray:
    found = corrupt(Examples({"": array}), corruption, severity, seed)
    assert found is not None
    return found.inputs[""]


@pytest.mark.parametrize("corruption", CORRUPTIONS)
@pytest.mark.parametrize(
    "array",
    [IMAGES, IMAGES.transpose(0, 3, 1, 2), IMAGES[..., 0], WAVES, WAVES[..., None],
     (255 * IMAGES).astype(np.uint8), IMAGES.astype(np.float64), IMAGES.astype(np.float16)],
    ids=["nhwc", "nchw", "nhw", "row", "series", "uint8", "float64", "float16"],
)  # fmt: skip
def test_it_grows_stays_within_the_data_and_repeats(corruption: str, array: np.ndarray) -> None:
    before = array.copy()
    off = []
    for severity in SEVERITIES:
        made = changed(array, corruption, severity)
        assert (made.shape, made.dtype) == (array.shape, array.dtype)
        assert made.min() >= array.min()
        assert made.max() <= array.max()
        off.append(np.abs(made.astype(np.float64) - array).mean())
        assert np.array_equal(changed(array, corruption, severity), made)
    assert 0 < off[0] < off[1]
    assert np.array_equal(array, before)


def test_seeds_differ() -> None:
    assert not np.array_equal(changed(IMAGES, "noise", 1), changed(IMAGES, "noise", 1, seed=1))


def test_noise_is_a_share_of_the_deviation() -> None:
    wide = np.random.default_rng(0).normal(50, 20, (100, 3000)).astype(np.float32)
    off = changed(wide, "noise", 1) - wide
    assert off.std() == pytest.approx(0.1 * wide.std(), rel=0.02)


def test_layouts_are_told_apart() -> None:
    assert np.allclose(
        changed(IMAGES, "blur", 2)[..., 0], changed(IMAGES.transpose(0, 3, 1, 2), "blur", 2)[:, 0]
    )
    colours = np.zeros((2, 16, 16, 3), np.float32)
    colours[:, 8, 8] = (1, 2, 3)
    made = changed(colours, "blur", 1)
    # Every channel by itself.
    assert np.allclose(made[..., 1], 2 * made[..., 0])
    assert made[0, 8, 9, 0] > 0
    video = np.zeros((2, 5, 16, 16, 3), np.float32)
    assert Facts.of(video).spatial == (2, 3)
    assert Facts.of(video.transpose(0, 4, 1, 2, 3)).spatial == (3, 4)
    assert Facts.of(np.zeros((2, 128, 9))).series


def test_missing_pixels_miss_in_all_channels_and_features_are_replaced_by_their_mean() -> None:
    colours = 0.5 + np.random.default_rng(0).random((20, 16, 16, 3)).astype(np.float32)
    colours[0, 0, 0] = 0
    gone = changed(colours, "missing", 2) == 0
    assert np.array_equal(gone.any(axis=-1), gone.all(axis=-1))
    assert gone.mean() == pytest.approx(0.3, abs=0.03)
    table = changed(TABLE, "missing", 1)
    replaced = table != TABLE
    assert replaced.mean() == pytest.approx(0.1, abs=0.03)
    np.testing.assert_allclose(table[:, 0][replaced[:, 0]], TABLE[:, 0].mean(), rtol=1e-4)


def test_what_does_not_suit_is_left_alone() -> None:
    assert corrupt(Examples({"": TABLE}), "blur", 1, 0) is None
    tokens = np.arange(20).reshape(4, 5)
    both = Examples({"tokens": tokens, "image": IMAGES[:4]})
    for corruption in CORRUPTIONS:
        assert corrupt(Examples({"": tokens}), corruption, 2, 0) is None
        made = corrupt(both, corruption, 2, 0)
        assert made is not None
        assert made.inputs["tokens"] is tokens
