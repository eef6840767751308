"""Labelled data: what is taken, what is refused, and what being right means."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt_host import data
from edgeopt_host.data import LabelledData
from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.modelfile import Digest
from sample_runs import failed_run

X = np.zeros((4, 2, 2), np.float32)


def labelled(tmp_path: Path, y: Any, **arrays: Any) -> LabelledData:
    path = tmp_path / "data.npz"
    np.savez(path, y_test=np.asarray(y), **(arrays or {"x_test": np.zeros((len(y), 2))}))
    return LabelledData.open(path)


@pytest.mark.parametrize(
    "y",
    [
        np.array([2, 0, 1, 0]),
        np.array([2, 0, 1, 0], np.uint8),
        np.array([[2], [0], [1], [0]]),
        np.eye(3)[[2, 0, 1, 0]],
        np.eye(3, dtype=bool)[[2, 0, 1, 0]],
    ],
)
def test_labels_are_classes_in_any_usual_form(tmp_path: Path, y: Any) -> None:
    found = labelled(tmp_path, y, x_test=X)
    assert found.labels.tolist() == [2, 0, 1, 0]
    assert found.labels.dtype == np.int64
    assert found.classes == 3
    assert found.examples == 4
    assert found.digest == Digest.of(tmp_path / "data.npz")


def test_one_hot_labels_tell_classes_that_do_not_occur(tmp_path: Path) -> None:
    assert labelled(tmp_path, np.eye(5)[[1, 0, 1, 0]], x_test=X).classes == 5


def test_several_inputs_have_names(tmp_path: Path) -> None:
    arrays = {"x_test.image": X, "x_test.mask.2": X, "x_train": np.zeros(3)}
    assert labelled(tmp_path, [0, 1, 0, 1], **arrays).examples == 4


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array([0.1, 0.5, 0.2, 0.9]), "regression have no accuracy"),
        (np.array([0.0, 1.0, 0.0, 1.0]), r"astype\('int64'\)"),
        (np.full((4, 2), 0.5), "not one-hot"),
        (np.ones((4, 2)), "not one-hot"),
        (np.array([-1, 1, -1, 1]), "classes count from 0"),
        (np.zeros((4, 2, 2), int), "labels are"),
        (np.array(["cat", "dog", "cat", "dog"]), "<U3"),
        (np.array(3), "labels are"),
        (np.zeros((0,), int), "no example"),
        (np.array([0, 1, 0]), r"x_test has the shape \(4, 2, 2\) and y_test \(3,\)"),
    ],
)
def test_other_labels_are_refused(tmp_path: Path, y: Any, message: str) -> None:
    with pytest.raises(EdgeoptError, match=message) as caught:
        labelled(tmp_path, y, x_test=X)
    assert caught.value.reason == "DATA_INVALID"


@pytest.mark.parametrize(
    "arrays", [{"y_test": [1]}, {"x_test": [1]}, {"X_test": [1], "y": [1]}, {}]
)
def test_the_keys_are_named(tmp_path: Path, arrays: dict[str, Any]) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, **{name: np.asarray(value) for name, value in arrays.items()})  # type: ignore[arg-type]
    with pytest.raises(EdgeoptError, match=r"x_test\.NAME.* and y_test; it has") as caught:
        LabelledData.open(path)
    assert (", ".join(arrays) or "nothing") in caught.value.message


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    with pytest.raises(UsageError, match="cannot read"):
        LabelledData.open(path)
    path.write_bytes(b"no archive")
    with pytest.raises(EdgeoptError, match=r"no readable \.npz"):
        LabelledData.open(path)
    np.savez(path, x_test=np.array([{}], dtype=object), y_test=np.array([1]))
    with pytest.raises(EdgeoptError, match="pickled"):
        LabelledData.open(path)


def right(tmp_path: Path, predictions: Any, y: Any) -> list[bool]:
    answers: list[bool] = data.correct(np.asarray(predictions), labelled(tmp_path, y)).tolist()
    return answers


def test_the_largest_score_is_the_class(tmp_path: Path) -> None:
    scores = np.array([[0.1, 0.7, 0.2], [9, -3, 8], [0.3, 0.3, 0.4]])
    assert right(tmp_path, scores, [1, 2, 2]) == [True, False, True]
    assert right(tmp_path, scores.reshape(3, 1, 1, 3), [1, 2, 2]) == [True, False, True]
    # More classes than the labels use.
    assert right(tmp_path, scores, [1, 0, 0]) == [True, True, False]


def test_one_score_tells_the_second_of_two_classes(tmp_path: Path) -> None:
    assert right(tmp_path, [[0.2], [0.5], [0.9]], [0, 1, 0]) == [True, True, False]
    assert right(tmp_path, [0.2, 0.5, 0.9], [0, 1, 0]) == [True, True, False]
    # Logits, for some are not 0 to 1.
    assert right(tmp_path, [-3.0, 0.2, 4.0], [0, 1, 0]) == [True, True, False]
    assert right(tmp_path, [-3.0, np.nan, np.nan], [0, 1, 0]) == [True, False, False]


def test_integers_are_classes(tmp_path: Path) -> None:
    assert right(tmp_path, [3, 1, 2], [3, 1, 0]) == [True, True, False]
    assert right(tmp_path, [[3], [1], [2]], [3, 1, 0]) == [True, True, False]


@pytest.mark.parametrize(
    ("predictions", "y"),
    [
        (np.zeros((3, 2)), [0, 1, 2]),  # too few classes
        (np.zeros(3), [0, 1, 2]),  # one score for three classes
        (np.zeros((2, 3)), [0, 1, 2]),  # too few examples
        (np.zeros((3, 4, 4)), [0, 1, 2]),  # no scores of an example
        (np.array(["a", "b", "c"]), [0, 1, 2]),
    ],
)
def test_an_output_that_cannot_tell_is_refused(tmp_path: Path, predictions: Any, y: Any) -> None:
    with pytest.raises(EdgeoptError, match="does not tell"):
        right(tmp_path, predictions, y)


def filled(tmp_path: Path, y: Any, **outputs: Any) -> dict[str, Any]:
    file = tmp_path / "predictions.npz"
    np.savez(file, **{name: np.asarray(value) for name, value in outputs.items()})  # type: ignore[arg-type]
    run = failed_run()
    data.fill(run, file, labelled(tmp_path, y))
    assert run.accuracy is not None
    assert run.correct is not None
    assert run.correct.sum() == run.accuracy["correct"]
    return run.accuracy


def test_a_run_gets_its_accuracy(tmp_path: Path) -> None:
    scores = np.eye(2)[[0, 1, 1, 1]]
    found = filled(tmp_path, [0, 1, 1, 0], scores=scores)
    digest = Digest.of(tmp_path / "data.npz").sha256
    low, high = found.pop("ci95")
    assert found == {
        "metric": "accuracy",
        "value": 0.75,
        "correct": 3,
        "examples": 4,
        "output": "scores",
        "data_sha256": digest,
    }
    # Clopper and Pearson's, as scipy.stats.binomtest(3, 4).proportion_ci() has it.
    assert (low, high) == pytest.approx((0.19412044968324268, 0.9936905367902093))


def test_of_several_outputs_the_one_that_tells_as_many_classes(tmp_path: Path) -> None:
    boxes, scores = np.zeros((3, 7)), np.eye(3)
    assert filled(tmp_path, [0, 1, 2], boxes=boxes, scores=scores)["output"] == "scores"
    image = np.zeros((3, 8, 8))
    assert filled(tmp_path, [0, 1, 1], image=image, scores=scores)["output"] == "scores"


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"a": np.eye(3), "b": np.eye(3)}, "more than one output tells 3 classes.*'a'.*'b'"),
        ({"a": np.zeros((3, 8, 8))}, r"no output tells 3 classes of 3 examples; .*'a' \[3, 8, 8\]"),
        ({}, "has none"),
    ],
)
def test_outputs_that_leave_it_open_are_refused(
    tmp_path: Path, outputs: dict[str, Any], message: str
) -> None:
    with pytest.raises(EdgeoptError, match=message):
        filled(tmp_path, [0, 1, 2], **outputs)


def test_devices_get_the_examples_without_the_labels(tmp_path: Path) -> None:
    arrays = {"x_test.image": X, "x_test.mask": X[:, 0] + 1, "x_train": np.ones(9)}
    found = labelled(tmp_path, [0, 1, 0, 1], **arrays)
    with np.load(found.examples_file) as sent:
        assert sorted(sent.files) == ["x_test.image", "x_test.mask"]
        for name in sent.files:
            np.testing.assert_array_equal(sent[name], arrays[name])
    assert found.examples_digest == Digest.of(found.examples_file)
    assert found.examples_digest != found.digest


def test_what_devices_get_depends_on_the_examples_alone(tmp_path: Path) -> None:
    digests = set()
    for name, y in (("one", [0, 1, 0, 1]), ("other", [1, 1, 2, 1])):
        (tmp_path / name).mkdir()
        found = labelled(tmp_path / name, y, x_test=X)
        os.utime(found.path, (0, 0))
        digests.add(found.examples_digest)
    assert len(digests) == 1


def test_compressed_examples_stay_compressed(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, x_test=np.zeros((4, 100_000)), y_test=np.arange(4))
    assert LabelledData.open(path).examples_file.stat().st_size < 100_000


def test_the_examples_file_goes_with_the_data(tmp_path: Path) -> None:
    found = labelled(tmp_path, [0, 1], x_test=X[:2])
    file = found.examples_file
    assert file.exists()
    del found
    gc.collect()
    assert not file.exists()


def test_data_that_are_gone_meanwhile_are_told_of(tmp_path: Path) -> None:
    found = labelled(tmp_path, [0, 1], x_test=X[:2])
    found.path.unlink()
    with pytest.raises(EdgeoptError, match=r"data\.npz .*No such file"):
        _ = found.examples_file
