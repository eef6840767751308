"""Data from archives and functions: what is taken, and one sentence for what is not."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize import _child
from edgeopt_host.optimize.data import open_prepared, prepare

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
Y = np.arange(60) % 3


@pytest.fixture(autouse=True)
def _modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Users' modules and paths do not outlive a test."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


def save(**arrays: Any) -> str:
    np.savez("data.npz", **arrays)
    return "data.npz"


def refused(source: str, into: str = "out", **settings: Any) -> str:
    """What is said, in one line; nothing is left behind."""
    with pytest.raises(EdgeoptError) as caught:
        prepare(source, Path(into), **settings)
    assert "\n" not in caught.value.message
    assert caught.value.reason == (
        "USAGE" if isinstance(caught.value, UsageError) else "DATA_INVALID"
    )
    assert not [one for one in Path().iterdir() if "out" in one.name]
    return caught.value.message


def test_an_archive_becomes_mapped_splits(tmp_path: Path) -> None:
    source = save(x_train=X, y_train=Y, x_test=X + 10, y_test=Y)
    made = prepare(source, tmp_path / "out", calibration=10)
    assert {name: len(one) for name, one in made.splits.items()} == {
        "calibration": 10,
        "train": 44,
        "validation": 6,
        "test": 60,
    }
    test = made.splits["test"]
    assert isinstance(test.inputs[""], np.memmap)
    np.testing.assert_array_equal(test.inputs[""], X + 10)
    np.testing.assert_array_equal(test.labels, Y)
    for name in ("calibration", "train", "validation"):
        np.testing.assert_array_equal(made.splits[name].inputs[""], X[made.rows(name)])
        np.testing.assert_array_equal(made.splits[name].labels, Y[made.rows(name)])
    assert open_prepared(tmp_path / "out").digest == made.digest
    document = made.document()
    assert document["labels"] == {"kind": "classes", "classes": 3, "names": None}
    assert document["inputs"] == {"": {"shape": [4], "dtype": "float32"}}
    assert document == json.loads(json.dumps(document))
    assert not (tmp_path / "out" / "scratch").exists()


def test_several_inputs_keep_their_names_and_rows(tmp_path: Path) -> None:
    arrays = {"x_test.a/b": X, "x_test.serving_default_c:0": X[:, :2].astype(np.int64), "y_test": Y}
    made = prepare(save(**arrays), tmp_path / "out", calibration=10)
    for name, one in made.splits.items():
        assert one.split == name
        np.testing.assert_array_equal(one.inputs["a/b"], X[made.rows(name)])
        assert one.inputs["serving_default_c:0"].dtype == np.int64


def test_strange_memory_layouts_are_read_as_they_are(tmp_path: Path) -> None:
    whole = RNG.normal(size=(40, 3, 5))
    made = prepare(
        save(x_train=np.asfortranarray(whole), x_test=(whole + 9).astype(">f8")), tmp_path / "out"
    )
    np.testing.assert_array_equal(made.splits["test"].inputs[""], whole + 9)
    assert made.splits["test"].inputs[""].dtype == np.dtype("=f8")
    np.testing.assert_array_equal(made.splits["train"].inputs[""], whole[made.rows("train")])


def test_the_same_seed_gives_the_same_digest_and_another_another(tmp_path: Path) -> None:
    source = save(x_train=X, y_train=Y)
    digests = [
        prepare(source, tmp_path / str(number), calibration=10, seed=seed).digest
        for number, seed in enumerate((1, 1, 2))
    ]
    assert digests[0] == digests[1] != digests[2]


ONE_HOT = np.eye(3)[Y]
LABELS: dict[str, tuple[Any, str, int | None]] = {
    "integers": (Y, "classes", 3),
    "a column of integers": (Y[:, None].astype(np.uint8), "classes", 3),
    "booleans": (Y > 0, "classes", 2),
    "one-hot": (ONE_HOT, "classes", 3),
    "floats": (X[:, 0], "values", None),
    "rows of floats": (X[:, :2], "values", None),
    "several classes each": (np.ones((60, 3), int), "values", None),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_tell_classes_or_values_and_stay_as_they_are(case: str, tmp_path: Path) -> None:
    labels, kind, classes = LABELS[case]
    made = prepare(save(x_test=X, y_test=labels), tmp_path / "out", calibration=10)
    assert made.document()["labels"] == {"kind": kind, "classes": classes, "names": None}
    np.testing.assert_array_equal(made.splits["test"].labels, labels[made.rows("test")])


def test_classes_stored_as_floats_are_told(tmp_path: Path) -> None:
    made = prepare(save(x_test=X, y_test=Y.astype(np.float32)), tmp_path / "out")
    assert "y_test holds whole numbers as float32 and is taken for values" in str(
        made.document()["warnings"]
    )


def holed(value: float) -> Any:
    array = X.copy()
    array[7, 1:3] = value
    return array


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "NaN": ({"x_test": holed(np.nan)}, "2 NaN in x_test, first in example 7"),
    "infinite": ({"x_train": X, "x_test": holed(-np.inf)}, "2 infinite values in x_test"),
    "NaN labels": ({"x_test": X, "y_test": holed(np.nan)}, "2 NaN in y_test"),
    "labels short": ({"x_test": X, "y_test": Y[:59]}, "x_test has 60, y_test has 59"),
    "inputs short": ({"x_test.a": X, "x_test.b": X[:5]}, "x_test.a has 60, x_test.b has 5"),
    "no example": ({"x_test": X[:0]}, r"x_test of the shape (0, 4): no example"),
    "empty examples": ({"x_test": X[:, :0]}, "its examples are empty"),
    "a number": ({"x_test": np.float32(3)}, "a single number for x_test"),
    "text": ({"x_test": np.array(["a", "b"])}, "x_test of text; edgeopt takes numbers"),
    "text labels": ({"x_test": X, "y_test": Y.astype(str)}, "y_test of text; classes are integers"),
    "complex": ({"x_test": X + 1j}, "x_test of complex64"),
    "negative class": (
        {"x_test": X, "y_test": Y - 1},
        "y_test has the class -1; classes count from 0",
    ),
    "labels alone": ({"y_test": Y, "x_train": X}, "has y_test but no x_test"),
    "other names": ({"images": X}, "x_train and x_test (x_test.NAME for several inputs), labels"),
    "both ways": ({"x_test": X, "x_test.a": X}, "x_test and x_test.a; of several inputs each has"),
    "other inputs": ({"x_test": X, "x_train.a": X}, "other inputs to test than to train"),
    "other shapes": ({"x_test": X, "x_train": X[:, :3]}, "[3] in x_train, [4] in x_test"),
    "other dtypes": (
        {"x_test": X, "x_train": X.astype(np.float64)},
        "float64 in x_train, float32 in x_test",
    ),
    "other labels": (
        {"x_test": X, "y_test": Y, "x_train": X, "y_train": ONE_HOT},
        "labels of different kinds: classes [3] in y_train, classes [] in y_test",
    ),
    "one example": ({"x_test": X[:1]}, "has one example; at least two different ones"),
    "the same example": ({"x_test": X[[0] * 9]}, "has 9 examples, all the same"),
    "trained on test": (
        {"x_test": X, "x_train": X},
        "every example of x_train is also in x_test; give others",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arrays_are_named(case: str) -> None:
    arrays, said = BAD[case]
    assert said in refused(save(**arrays))


def test_no_archive_no_folder_no_function() -> None:
    Path("data.txt").write_text("hello")
    Path("data.py").write_text("")
    assert "no readable .npz archive" in refused("data.txt")
    assert "there is no 'other.npz'" in refused("other.npz")
    assert "there is no file other.py" in refused("other.py:load")
    assert "no Python module 'no.such'" in refused("no.such:load")
    assert "name its function, too: data.py:load" in refused("data.py")
    assert "options after ? are of image folders" in refused(save(x_test=X) + "?size=2x2")
    assert "there is no 'a\\x00b'" in refused("a\0b")
    np.savez("pickled.npz", x_test=np.array([{}]))
    assert "pickled Python objects" in refused("pickled.npz")


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"calibration": -1}, "calibration is -1"), ({"validation": 1.5}, "validation is 1.5"),
     ({"validation": float("nan")}, "validation is nan")],
)  # fmt: skip
def test_counts_that_are_none_are_wrong_usage(settings: dict[str, Any], said: str) -> None:
    assert said in refused(save(x_test=X), **settings)


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        prepare(save(x_test=X), tmp_path / "out")
    with pytest.raises(EdgeoptError, match="holds no prepared data"):
        open_prepared(tmp_path / "out")


def test_a_disk_that_fills_up_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        prepare(save(x_test=X), tmp_path / "out")
    assert [one.name for one in tmp_path.iterdir()] == ["data.npz"]


MODULE = """
from dataclasses import replace
import numpy as np
from edgeopt_host.optimize.data import Dataset
import neighbour

def dataset():
    return Dataset(x_train=neighbour.X, y_train=[0, 1] * 30, x_test={"": neighbour.X + 1})

def mapping():
    return {"x_train": {"a": neighbour.X, "b": neighbour.X}, "y_train": np.arange(60.0)}

def raises(): raise KeyError("first\\nsecond")
def leaves(): raise SystemExit(3)
def needs(argument): pass
def imports(): import no_such_package
def nothing(): pass
def junk(): return 3
def names(): return {"x": neighbour.X}
def ragged(): return {"x_train": [[1], [1, 2]]}
def objects(): return {"x_train": np.array([{}, {}])}
def images(): return {"x_train": [neighbour.X, neighbour.X]}
number = 3
"""


@pytest.fixture
def module() -> str:
    Path("mine.py").write_text(MODULE)
    Path("neighbour.py").write_text(
        "import numpy as np\nX = np.random.default_rng(0).random((60, 4))"
    )
    return "mine.py"


@pytest.mark.parametrize("form", ["mine.py", "mine"])
def test_functions_give_datasets(form: str, module: str, tmp_path: Path) -> None:
    assert module
    made = prepare(f"{form}:dataset", tmp_path / "out", calibration=10)
    assert len(made.splits["test"]) == 60
    assert len(made.splits["train"]) == 44
    two = prepare(f"{form}:mapping", tmp_path / "two", calibration=10)
    assert two.splits["train"].inputs.keys() == {"a", "b"}
    assert two.document()["labels"]["kind"] == "values"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raises", "the function mine.py:raises failed with KeyError: 'first"),
        ("leaves", "failed with SystemExit: 3"),
        ("needs", "missing 1 required positional argument"),
        ("imports", "needs the Python package no_such_package, which is not installed"),
        ("nothing", "returned nothing; it is to return an edgeopt_host.optimize.data.Dataset"),
        ("junk", "returned an int; it is to return"),
        ("names", "returned 'x' too; names are x_train"),
        ("ragged", "returned a x_train that is no array"),
        ("objects", "x_train of Python objects"),
        ("absent", "mine.py has no function 'absent'"),
        ("number", "mine.py has something else named 'number'"),
    ],
)
def test_functions_that_give_none_are_told(name: str, said: str, module: str) -> None:
    assert said in refused(f"{module}:{name}")


def test_a_file_that_does_not_run_is_told() -> None:
    Path("broken.py").write_text("def load(:\n")
    assert "broken.py failed with SyntaxError" in refused("broken.py:load")
    Path("wants.py").write_text("import no_such_package")
    assert "needs the Python package no_such_package" in refused("wants:load")


def test_it_runs_in_a_child(tmp_path: Path) -> None:
    save(x_train=X, y_train=Y, x_test=X + 1, y_test=Y)
    told: list[str] = []
    document = _child.call(
        "edgeopt_host.optimize.data:prepare_in_child",
        {"source": str(tmp_path / "data.npz"), "into": str(tmp_path / "out"), "calibration": 10},
        progress=lambda _, text: told.append(text),
    )
    assert document == open_prepared(tmp_path / "out").document()
    assert "dividing" in told


def test_field_data_must_be_alike(tmp_path: Path) -> None:
    source = save(x_train=X, x_test=X + 1)
    np.savez("field.npz", x_test=X[:, :2])
    assert (
        "x_test of the field data field.npz holds examples of float32 [2]; those of the data"
        in (refused(source, field="field.npz"))
    )
    np.savez("field.npz", x_test=X[:30] + 5)
    made = prepare(source, tmp_path / "out", calibration=25, field="field.npz")
    assert len(made.splits["field"]) == 30
    similar = made.document()["similarity"]
    assert similar["field"]["differs"]
    assert any("differ from field examples" in one for one in made.document()["warnings"])
