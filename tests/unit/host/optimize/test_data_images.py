"""Folders of images become arrays; what is no image is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize.data import prepare
from edgeopt_host.optimize.data.images import Options, read

RNG = np.random.default_rng(0)


def draw(path: Path, size: tuple[int, int] = (6, 8), mode: str = "RGB", **settings: Any) -> Any:
    """An image file of noise, (height, width); its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size if mode == "L" else (*size, len(mode))
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path, **settings)
    return pixels


def test_a_folder_is_a_class(tmp_path: Path) -> None:
    photos, scratch = tmp_path / "photos", tmp_path
    pixels = [draw(photos / name) for name in ("10/a.png", "10/deep/b.PNG", "2/a.bmp")]
    (photos / "2" / "notes.txt").write_text("no image")
    (photos / ".cache").mkdir()
    draw(photos / ".cache" / "a.png")
    found = read(photos, Options(), scratch)
    # In the order of names as text, as Keras and torchvision have it.
    assert found.classes == ["10", "2"]
    np.testing.assert_array_equal(found.arrays["y_train"], [0, 0, 1])
    x = found.arrays["x_train"]
    assert x.dtype == np.float32
    assert x.shape == (3, 6, 8, 3)
    np.testing.assert_allclose(x, np.stack(pixels) / 255, atol=1e-6)


def test_options_say_how(tmp_path: Path) -> None:
    pixels = draw(tmp_path / "photos/a/a.png").astype(np.float64)
    read_ = {
        query: read(tmp_path / "photos", Options.parse(query), tmp_path).arrays["x_train"][0].copy()
        for query in ("scale=0..255", "scale=-1..1&layout=nchw", "size=3x4", "colour=grey")
    }
    np.testing.assert_allclose(read_["scale=0..255"], pixels)
    np.testing.assert_allclose(
        read_["scale=-1..1&layout=nchw"], pixels.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6
    )
    assert read_["size=3x4"].shape == (3, 4, 3)
    assert abs(read_["size=3x4"].mean() - pixels.mean() / 255) < 0.05
    assert read_["colour=grey"].shape == (6, 8, 1)
    luma = pixels @ (0.299, 0.587, 0.114) / 255
    np.testing.assert_allclose(read_["colour=grey"][..., 0], luma, atol=0.01)


def test_every_kind_of_image_has_three_channels(tmp_path: Path) -> None:
    grey = draw(tmp_path / "photos/a/grey.png", mode="L")
    draw(tmp_path / "photos/a/alpha.png", mode="RGBA")
    deep = RNG.integers(0, 65536, (6, 8), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "photos/a/deep.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "photos/a/palette.gif")
    draw(tmp_path / "photos/a/photo.jpg")
    found = read(tmp_path / "photos", Options(), tmp_path).arrays["x_train"]
    assert found.shape == (5, 6, 8, 3)
    np.testing.assert_allclose(found[1][..., 0], deep / 65535, atol=1 / 255)
    np.testing.assert_allclose(found[2][..., 1], grey / 255, atol=1e-6)


def test_a_photo_taken_upright_is_upright(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    pixels = draw(tmp_path / "photos/a/a.png", exif=turned)
    found = read(tmp_path / "photos", Options(), tmp_path).arrays["x_train"][0]
    np.testing.assert_allclose(found, np.rot90(pixels, -1) / 255, atol=1e-6)


def test_train_val_and_test_folders_are_splits(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for part, count in (("train", 20), ("val", 6), ("Test", 8)):
        for number in range(count):
            draw(photos / part / ("cat", "dog")[number % 2] / f"{number}.png")
    (photos / "train" / "bird").mkdir()
    made = prepare(f"{photos}?size=4x4", tmp_path / "out")
    assert {name: len(one) for name, one in made.splits.items()} == {
        "calibration": 10,
        "train": 10,
        "validation": 6,
        "test": 8,
    }
    document = made.document()
    assert document["labels"] == {"kind": "classes", "classes": 3, "names": ["bird", "cat", "dog"]}
    assert "class 'bird' has no images in train" in document["warnings"]
    assert set(made.splits["test"].labels.tolist()) == {1, 2}  # type: ignore[union-attr]


def test_field_photos_need_no_classes(tmp_path: Path) -> None:
    for number in range(8):
        draw(tmp_path / "photos/a" / f"{number}.png")
        draw(tmp_path / "field" / f"{number}.png")
    made = prepare(str(tmp_path / "photos"), tmp_path / "out", field=str(tmp_path / "field"))
    assert len(made.splits["field"]) == 8
    assert made.splits["field"].labels is None


def refused(folder: Path, query: str = "") -> str:
    with pytest.raises(EdgeoptError) as caught:
        prepare(f"{folder}{query}", folder.parent / "out")
    assert "\n" not in caught.value.message
    assert (caught.value.reason == "USAGE") == isinstance(caught.value, UsageError)
    return caught.value.message


def test_bad_folders_are_told(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    draw(photos / "a.png")
    assert "photos has no classes: put the images of each class into a folder" in refused(photos)
    (photos / "a").mkdir()
    assert "photos has no images" in refused(photos)
    draw(tmp_path / "parts/train/a.png")
    assert "parts/train has no classes" in refused(tmp_path / "parts")


def test_bad_images_are_named(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    draw(photos / "a/a.png")
    (photos / "a/b.png").write_bytes((photos / "a/a.png").read_bytes()[:80])
    assert "photos/a/b.png is no readable image" in refused(photos)
    (photos / "a/b.png").write_text("hello")
    assert "photos/a/b.png is no readable image" in refused(photos)
    draw(photos / "a/b.png", size=(5, 8))
    assert (said := refused(photos)).startswith("images have different sizes")
    assert "a/a.png 6x8" in said
    assert "a/b.png 5x8" in said
    # Not decoded: a bomb.
    Image.new("1", (20000, 20000)).save(photos / "a/b.png")
    assert "photos/a/b.png is no readable image" in refused(photos)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?size=224", "size=224 is no size of images; it is height x width"),
        ("?size=0x4", "size=0x4 is no size"),
        ("?scale=1..2", "scale=1..2: it is one of 0..1, -1..1, 0..255"),
        ("?shape=4", "'shape' is no option of image folders; they are size, scale, layout, colour"),
    ],
)
def test_bad_options_are_named(query: str, said: str, tmp_path: Path) -> None:
    draw(tmp_path / "photos/a/a.png")
    assert said in refused(tmp_path / "photos", query)
