"""Folders of images: a class per subfolder, below `train`, `val` and `test` when there are these."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize.tensors import Array

_PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_SCALES = {"0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0), "0..255": (0.0, 255.0)}
_CHOICES = {"scale": tuple(_SCALES), "layout": ("nhwc", "nchw"), "colour": ("rgb", "grey")}
_LARGEST_SIDE = 16384
_BYTE, _WORD = 255, 65535


@dataclass(frozen=True)
class Options:
    """How images become arrays.

    Attributes:
        size: (height, width) they are stretched to; None when all have one size already.
        scale: what black and white become.
        layout: "nhwc" or "nchw".
        colour: "rgb" or "grey".
    """

    size: tuple[int, int] | None = None
    scale: str = "0..1"
    layout: str = "nhwc"
    colour: str = "rgb"

    @classmethod
    def parse(cls, query: str) -> Options:
        """Of what follows the `?`: "size=224x224&scale=-1..1".

        Raises:
            UsageError: naming the option.
        """
        given: dict[str, Any] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            if name == "size":
                match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", value, re.ASCII)
                sides = (int(match[1]), int(match[2])) if match else (0, 0)
                if not 0 < min(sides) <= max(sides) <= _LARGEST_SIDE:
                    raise UsageError(
                        f"size={value} is no size of images; it is height x width, like size=224x224"
                    )
                given[name] = sides
            elif name not in _CHOICES:
                raise UsageError(
                    f"{name!r} is no option of image folders; they are size, {', '.join(_CHOICES)}"
                )
            elif value not in _CHOICES[name]:
                raise UsageError(f"{name}={value}: it is one of {', '.join(_CHOICES[name])}")
            else:
                given[name] = value
        return cls(**given)


@dataclass(frozen=True)
class Folder:
    """What is in a folder of images: arrays by `x_train`, `y_train`, …, and the classes' names."""

    arrays: dict[str, Array]
    classes: list[str]
    warnings: list[str]


def read(
    folder: Path,
    options: Options,
    scratch: Path,
    *,
    labelled: bool = True,
    tell: Callable[[float], None] = lambda _: None,
) -> Folder:
    """Reads all images into arrays that are mapped from files in `scratch`: float32.

    Args:
        folder: of the classes' folders, or of train, val and test folders with these in.
        options: how.
        scratch: an existing folder.
        labelled: False for images without classes, which may then be in any depth.
        tell: called with the share done.

    Raises:
        EdgeoptError: DATA_INVALID for a folder without classes and, by name, for an image that cannot
            be read or has another size than the others.
    """
    listed, classes, told = _listed(folder, labelled=labelled)
    total = sum(map(len, listed.values()))
    if not total:
        raise EdgeoptError(f"{folder} has no images", "DATA_INVALID")
    reader = _Reader(options)
    arrays: dict[str, Array] = {}
    done = 0
    for part, images in listed.items():
        if not images:
            continue
        shape = reader.read(images[0][0]).shape
        into = np.lib.format.open_memmap(
            scratch / f"x_{part}.npy", "w+", np.float32, (len(images), *shape)
        )
        for at, (path, _) in enumerate(images):
            into[at] = reader.read(path)
            done += 1
            tell(done / total)
        arrays[f"x_{part}"] = into
        if labelled:
            arrays[f"y_{part}"] = np.array([label for _, label in images], np.int64)
    return Folder(arrays, classes, told)


class _Reader:
    """Reads images, and holds them to the size of the first."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._first: tuple[Path, tuple[int, ...]] | None = None

    def read(self, path: Path) -> Array:
        """One image as float32, (height, width, channels) or as the layout says."""
        pixels = _pixels(path, self._options)
        first, size = self._first = self._first or (path, pixels.shape[:2])
        if pixels.shape[:2] != size:
            raise EdgeoptError(
                f"images have different sizes: {first} {size[0]}x{size[1]}, {path} "
                f"{pixels.shape[0]}x{pixels.shape[1]} (height x width); give the one that the model "
                "takes, like PHOTOS?size=224x224",
                "DATA_INVALID",
            )
        return pixels.transpose(2, 0, 1) if self._options.layout == "nchw" else pixels


def _listed(
    folder: Path, *, labelled: bool
) -> tuple[dict[str, list[tuple[Path, int]]], list[str], list[str]]:
    """Images and their labels by part; the classes; warnings."""
    if not labelled:
        return {"test": [(path, 0) for path in _images(folder)]}, [], []
    inside = _folders(folder)
    if not inside:
        raise EdgeoptError(
            f"{folder} has no classes: put the images of each class into a folder of its name",
            "DATA_INVALID",
        )
    parts = {"train": [folder]}
    if all(one.name.lower() in _PARTS for one in inside):
        parts = {}
        for one in inside:
            parts.setdefault(_PARTS[one.name.lower()], []).append(one)
    by_class = {
        part: {one.name: _images(one) for each in folders for one in _folders(each)}
        for part, folders in parts.items()
    }
    for part, folders in parts.items():
        if not by_class[part]:
            raise EdgeoptError(
                f"{folders[0]} has no classes: put the images of each class into a folder of its name",
                "DATA_INVALID",
            )
    classes = sorted({name for found in by_class.values() for name in found})
    warnings_ = [
        f"class {name!r} has no images in {part}"
        for part, found in by_class.items()
        for name in classes
        if not found.get(name)
    ]
    listed = {
        part: [(path, label) for label, name in enumerate(classes) for path in found.get(name, [])]
        for part, found in by_class.items()
    }
    return listed, classes, warnings_


def _folders(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    """Files with an image's suffix, in any depth; not hidden ones."""
    from PIL import Image

    suffixes = Image.registered_extensions().keys()
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _pixels(path: Path, options: Options) -> Array:
    """One image as float32 (height, width, channels), scaled."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            # Of images so large that they may be bombs.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                image: Image.Image = ImageOps.exif_transpose(opened)
                if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip to 8
                    deep = np.asarray(image, np.float32) * (_BYTE / _WORD)
                    image = Image.fromarray(np.clip(deep, 0, _BYTE).round().astype(np.uint8))
                image = image.convert("L" if options.colour == "grey" else "RGB")
                if options.size is not None:
                    image = image.resize(options.size[::-1], Image.Resampling.BILINEAR)
                pixels = np.asarray(image, np.float32)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise what they like
        why = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise EdgeoptError(f"{path} is no readable image: {why}", "DATA_INVALID") from error
    low, high = _SCALES[options.scale]
    pixels = pixels * np.float32((high - low) / _BYTE) + np.float32(low)
    return pixels.reshape(*pixels.shape[:2], -1)
