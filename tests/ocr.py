"""Rendered words, and how many of them a CTC recognizer reads without a fault.

    python tests/ocr.py recognizer.onnx words.npz           writes x_train, y_train, x_test, y_test
    edgeopt-host optimize run recognizer.onnx --data words.npz --metric tests/ocr.py:exact …

Made for the recognizers of PaddleOCR (rapidocr-onnxruntime): (n, 3, 48, width) in -1…1, whose alphabet
stands in their metadata. A label is the word as the model's own classes, filled up with 0, CTC's blank.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import numpy as np

_HEIGHT, _WIDTH = 48, 192
_LONGEST = 10
_BLANK = 0


def exact(outputs: Mapping[str, Any], labels: Any) -> Any:
    """Whether each word was read without a fault (n,): the best path, merged, without blanks and spaces."""
    (scores,) = outputs.values()
    # The last class is the space, which these models like to see around words.
    skipped = {_BLANK, np.shape(scores)[2] - 1}
    return np.array(
        [
            _merged(path, skipped) == [code for code in label.tolist() if code != _BLANK]
            for path, label in zip(np.asarray(scores).argmax(axis=2), labels, strict=True)
        ],
        dtype=np.float64,
    )


def data(model: Path, train: int = 300, test: int = 500, seed: int = 0) -> dict[str, Any]:
    """Words of English text in grey on grey, of several sizes, with noise."""
    codes = {character: code for code, character in enumerate(alphabet(model))}
    random = np.random.default_rng(seed)
    images, labels = [], []
    for word in random.permutation(_words(codes)):
        image = _render(str(word), random)
        if image is None:
            continue
        images.append(np.repeat(image[None], 3, axis=0))
        labels.append([codes[one] for one in word] + [_BLANK] * (_LONGEST - len(word)))
        if len(images) == train + test:
            break
    x, y = np.stack(images), np.array(labels, dtype=np.int32)
    return {"x_train": x[:train], "y_train": y[:train], "x_test": x[train:], "y_test": y[train:]}


def alphabet(model: Path) -> list[str]:
    """The model's classes: CTC's blank, what its metadata list, and the space."""
    import onnx

    metadata = {one.key: one.value for one in onnx.load(str(model)).metadata_props}
    return ["", *metadata["character"].splitlines(), " "]


def _words(known: Mapping[str, int]) -> Sequence[str]:
    """English words of the Python documentation, which every Python carries."""
    from pydoc_data.topics import topics

    found = set(re.findall(r"\b[a-z]{4,10}\b", "\n".join(topics.values())))
    return sorted(word for word in found if known.keys() >= set(word))


def _render(word: str, random: np.random.Generator) -> Any:
    """(48, 192) in -1…1; None when it is too long. What is right of it is 0, as PaddleOCR fills it."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(int(random.integers(22, 34)))
    left, top, right, bottom = font.getbbox(word)
    width = int(right - left) + 16
    paper, ink = int(random.integers(170, 256)), int(random.integers(0, 90))
    x, y = 8 - left, (_HEIGHT - (bottom - top)) / 2 - top + random.integers(-3, 4)
    if width > _WIDTH:
        return None
    image = Image.new("L", (width, _HEIGHT), paper)
    ImageDraw.Draw(image).text((x, y), word, fill=ink, font=font)
    noisy = np.asarray(image, dtype=np.float32) + random.normal(0, 6, (_HEIGHT, width))
    filled = np.zeros((_HEIGHT, _WIDTH), dtype=np.float32)
    filled[:, :width] = noisy.clip(0, 255) / 127.5 - 1
    return filled


def _merged(path: Any, skipped: AbstractSet[int]) -> list[int]:
    changes = np.flatnonzero(np.diff(path, prepend=-1))
    return [int(code) for code in path[changes] if int(code) not in skipped]


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes rendered words for a recognizer.")
    parser.add_argument("model", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--train", type=int, default=300)
    parser.add_argument("--test", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    np.savez(given.target, **data(given.model, given.train, given.test, given.seed))


if __name__ == "__main__":
    main()
