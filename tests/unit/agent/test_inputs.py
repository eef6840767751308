"""What a model is fed when the user says little, much, or something wrong."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent.runtimes import ModelError, TensorSpec
from edgeopt_agent.worker.inputs import make_feeds

Source = benchmark_pb2.InputSource
IMAGE = TensorSpec("image", ("batch", 3, "height", "width"), "float32")


def shape(name: str, *dimensions: int, dtype: str = "") -> benchmark_pb2.TensorShape:
    return benchmark_pb2.TensorShape(name=name, dimensions=dimensions, dtype=dtype)


def value_range(low: float, high: float, name: str = "") -> benchmark_pb2.ValueRange:
    return benchmark_pb2.ValueRange(input=name, low=low, high=high)


def test_floats_are_uniform_between_zero_and_one_and_the_same_every_time() -> None:
    spec = TensorSpec("x", (1000,), "float32")
    first, second = (make_feeds([spec], Source())["x"] for _ in range(2))
    assert first.dtype == np.float32
    assert 0 <= first.min() < 0.05
    assert 0.95 < first.max() <= 1
    np.testing.assert_array_equal(first, second)


def test_integers_are_zeros_and_ones_which_no_embedding_table_is_too_small_for() -> None:
    values = make_feeds([TensorSpec("ids", (500,), "int64")], Source())["ids"]
    assert set(values.tolist()) == {0, 1}


@pytest.mark.parametrize(
    "dtype", ["bool", "float16", "float64", "int8", "uint8", "int32", "uint64"]
)
def test_every_dtype_keeps_its_name(dtype: str) -> None:
    assert make_feeds([TensorSpec("x", (3,), dtype)], Source())["x"].dtype == np.dtype(dtype)


def test_a_scalar_and_a_string_have_their_shapes() -> None:
    feeds = make_feeds(
        [TensorSpec("sr", (), "int64"), TensorSpec("text", (2,), "string")], Source()
    )
    assert feeds["sr"].shape == ()
    assert feeds["text"].tolist() == ["", ""]


def test_a_leading_dimension_left_open_is_one() -> None:
    feeds = make_feeds([IMAGE], Source(dimensions={"height": 4, "width": 6}))
    assert feeds["image"].shape == (1, 3, 4, 6)
    feeds = make_feeds([TensorSpec("x", (None, 2), "float32")], Source())
    assert feeds["x"].shape == (1, 2)


def test_a_symbol_bound_once_binds_everywhere() -> None:
    specs = [
        TensorSpec("ids", ("n", "length"), "int32"),
        TensorSpec("mask", ("n", "length"), "bool"),
    ]
    feeds = make_feeds(specs, Source(shapes=[shape("ids", 2, 7)]))
    assert feeds["mask"].shape == (2, 7)


def test_any_other_open_dimension_must_be_given_and_the_error_says_how() -> None:
    with pytest.raises(ModelError) as caught:
        make_feeds([IMAGE], Source(dimensions={"width": 6}))
    assert caught.value.reason == "INPUT_REQUIRED"
    for part in ("'image'", "'height'", "--dim height=N", "--shape image=1,3,N,6"):
        assert part in str(caught.value)


def test_an_open_dimension_without_a_name_is_given_by_shape() -> None:
    with pytest.raises(ModelError, match=r"dimension 1 open: give --shape x=1,N"):
        make_feeds([TensorSpec("x", (None, None), "float32")], Source())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Source(shapes=[shape("image", 1, 3, 4)]), "has 4 dimensions, --shape gives 3"),
        (Source(shapes=[shape("image", 1, 4, 4, 4)]), "does not take the shape"),
        (Source(shapes=[shape("other", 1)]), "--shape names 'other'"),
        (Source(shapes=[shape("image", 1, 3, 4, 4, dtype="int8")]), "--shape says int8"),
        (Source(dimensions={"depth": 4}), "--dim names 'depth'"),
        (Source(ranges=[value_range(0, 1, "other")]), "--input-range names 'other'"),
        (
            Source(dimensions={"height": 4}, shapes=[shape("image", 1, 3, 5, 5)]),
            "bound twice, to 4 and",
        ),
    ],
)
def test_what_does_not_fit_is_named(source: benchmark_pb2.InputSource, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        make_feeds([IMAGE], source)
    assert caught.value.reason == "INPUT_MISMATCH"


def test_a_range_holds_for_all_inputs_and_one_of_its_own_wins() -> None:
    specs = [TensorSpec("a", (200,), "float32"), TensorSpec("b", (200,), "int32")]
    feeds = make_feeds(specs, Source(ranges=[value_range(5, 6), value_range(-3, 3, "b")]))
    assert feeds["a"].min() >= 5
    assert feeds["a"].max() <= 6
    assert set(feeds["b"].tolist()) == {-3, -2, -1, 0, 1, 2, 3}


def test_one_value_can_be_asked_for() -> None:
    sr = make_feeds([TensorSpec("sr", (), "int64")], Source(ranges=[value_range(16000, 16000)]))[
        "sr"
    ]
    assert sr == 16000


def test_a_range_beyond_the_dtype_is_refused() -> None:
    with pytest.raises(ModelError, match="whole numbers from -128 to 127"):
        make_feeds([TensorSpec("x", (1,), "int8")], Source(ranges=[value_range(0, 255)]))


def test_a_shape_no_memory_holds_is_refused() -> None:
    huge = Source(shapes=[shape("x", 2**62, 2**62)])
    with pytest.raises(ModelError, match="cannot have the shape"):
        make_feeds([TensorSpec("x", (None, None), "float32")], huge)


def test_an_input_file_gives_everything(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="leave --dim, --shape and --input-range out"):
        make_feeds([IMAGE], Source(dimensions={"height": 4}), tmp_path / "inputs.npz")


def test_without_a_signature_the_shapes_are_the_inputs() -> None:
    source = Source(shapes=[shape("x", 1, 2), shape("n", 3, dtype="int64")])
    feeds = make_feeds(None, source)
    assert [(name, a.shape, a.dtype.name) for name, a in feeds.items()] == [
        ("x", (1, 2), "float32"),
        ("n", (3,), "int64"),
    ]
    with pytest.raises(ModelError, match=r"--shape NAME=1,3,224,224:float32") as caught:
        make_feeds(None, Source())
    assert caught.value.reason == "INPUT_REQUIRED"


def test_a_file_gives_the_values(tmp_path: Path) -> None:
    file = tmp_path / "inputs.npz"
    x = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    np.savez(file, image=x)
    np.testing.assert_array_equal(make_feeds([IMAGE], Source(), file)["image"], x)


@pytest.mark.parametrize(
    ("arrays", "reason", "message"),
    [
        ({}, "INPUT_REQUIRED", "image"),
        ({"image": np.zeros((1, 3, 2, 2), np.float32), "y": np.zeros(1)}, "INPUT_MISMATCH", "y"),
        ({"image": np.zeros((1, 3, 2, 2))}, "INPUT_MISMATCH", "float64"),
        ({"image": np.zeros((1, 4, 2, 2), np.float32)}, "INPUT_MISMATCH", "4"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], reason: str, message: str
) -> None:
    file = tmp_path / "inputs.npz"
    np.savez(file, **arrays)
    with pytest.raises(ModelError, match=message) as caught:
        make_feeds([IMAGE], Source(), file)
    assert caught.value.reason == reason


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"random bytes"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "inputs.npz"
    file.write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read"):
        make_feeds([IMAGE], Source(), file)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    file = tmp_path / "inputs.npz"
    buffer = io.BytesIO()
    np.savez(buffer, image=np.array([{"a": 1}], dtype=object))
    file.write_bytes(buffer.getvalue())
    with pytest.raises(ModelError, match="cannot be read"):
        make_feeds([IMAGE], Source(), file)


def test_a_batch_is_every_inputs_leading_dimension() -> None:
    specs = [
        TensorSpec("image", ("batch", 3), "float32"),
        TensorSpec("unnamed", (None, 2), "float32"),
        TensorSpec("scalar", (), "int64"),
        TensorSpec("fixed", (8, 2), "float32"),
    ]
    feeds = make_feeds(specs, Source(), batch=8)
    assert {name: a.shape for name, a in feeds.items()} == {
        "image": (8, 3),
        "unnamed": (8, 2),
        "scalar": (),
        "fixed": (8, 2),
    }


def test_the_symbol_of_a_batch_is_bound_everywhere() -> None:
    specs = [
        TensorSpec("x", ("n", 2), "float32"),
        TensorSpec("mask", (4, "n"), "bool"),
    ]
    assert make_feeds(specs, Source(), batch=4)["mask"].shape == (4, 4)


def test_a_batch_of_one_is_what_it_was() -> None:
    assert make_feeds([TensorSpec("x", (2, 2), "float32")], Source(), batch=1)["x"].shape == (2, 2)


@pytest.mark.parametrize(
    ("shape_", "source", "message"),
    [
        ((1, 3), Source(), "leading dimension of 1 that cannot be changed here: --batch 8 needs"),
        (("n", 3), Source(dimensions={"n": 4}), "--batch 8 and --dim n=4 both"),
        (("n", 3), Source(shapes=[shape("x", 4, 3)]), "--batch 8 and --shape do not agree"),
    ],
)
def test_a_batch_that_contradicts_is_refused(
    shape_: tuple[int | str, ...], source: benchmark_pb2.InputSource, message: str
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        make_feeds([TensorSpec("x", shape_, "float32")], source, batch=8)
    assert caught.value.reason == "INPUT_MISMATCH"


def test_an_input_file_must_have_the_batch(tmp_path: Path) -> None:
    file = tmp_path / "inputs.npz"
    np.savez(file, x=np.zeros((4, 2), np.float32))
    specs = [TensorSpec("x", ("n", 2), "float32")]
    assert make_feeds(specs, Source(), file, batch=4)["x"].shape == (4, 2)
    with pytest.raises(ModelError, match="--batch 8 and the input file do not agree: input 'x'"):
        make_feeds(specs, Source(), file, batch=8)
