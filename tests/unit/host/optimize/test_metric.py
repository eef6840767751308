"""What being right means."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize import metric
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.metric import Metric

CLASSES = np.array([2, 0, 1, 1])
SCORES = np.array([[0, 1, 9], [5, 1, 0], [4, 1, 2], [1, 3, 2]], np.float32)


def examples(labels: object = CLASSES) -> Examples:
    made = None if labels is None else np.asarray(labels)
    return Examples({"": np.zeros((4, 2), np.float32)}, made)


@pytest.mark.parametrize("labels", [CLASSES, CLASSES[:, None], np.eye(3)[CLASSES]])
def test_classes_are_counted(labels: object) -> None:
    some = examples(labels)
    metric = Metric.of(None, some.labels)
    assert (metric.name, metric.unit, metric.classes) == ("accuracy", "pt", 3)
    assert metric.per_example({"y": SCORES}, some).tolist() == [1, 1, 0, 1]
    assert metric.score({"y": SCORES[:, None]}, some) == 0.75


def test_of_several_outputs_the_one_that_fits_tells() -> None:
    outputs = {"features": np.ones((4, 7), np.float32), "y": SCORES}
    assert Metric.of("accuracy", CLASSES).score(outputs, examples()) == 0.75


def test_a_class_may_be_among_the_first() -> None:
    metric = Metric.of("top2", CLASSES)
    # The third example's class scores least, and ties count against the model.
    assert metric.per_example({"y": SCORES}, examples()).tolist() == [1, 1, 0, 1]
    flat = np.zeros((4, 3), np.float32)
    assert metric.score({"y": flat}, examples()) == 0
    assert Metric.of("top3", CLASSES).score({"y": flat}, examples()) == 1
    assert Metric.of("top-1", CLASSES).name == "top1"


def test_nan_is_wrong() -> None:
    broken = np.where(np.arange(3) == 1, np.nan, SCORES)
    for spec in ("accuracy", "top3"):
        assert Metric.of(spec, CLASSES).score({"y": broken}, examples()) == 0


def test_quantized_probabilities_may_leave_their_range() -> None:
    labels = np.array([0, 0, 1, 1])
    output = np.array([[-0.004], [0.1], [0.7], [1.004]], np.float32)
    assert Metric.of(None, labels).score({"y": output}, examples(labels)) == 1
    logits = np.array([[-3.0], [-0.1], [0.1], [2]], np.float32)
    assert Metric.of(None, labels).score({"y": logits}, examples(labels)) == 1


def test_values_have_an_error() -> None:
    labels = np.array([[1.0, 2], [0, 0], [3, 3], [1, 1]])
    metric = Metric.of(None, labels)
    assert (metric.name, metric.unit, metric.factor) == ("neg_mean_absolute_error", "", 1.0)
    found = metric.per_example(
        {"y": labels - np.array([[0, 1], [0, 0], [2, -2], [0, 0]])}, examples(labels)
    )
    assert found.tolist() == [-0.5, 0, -2, 0]


def test_without_labels_it_is_agreement() -> None:
    metric = Metric.of(None, None)
    assert (metric.name, metric.unit) == ("agreement", "pt")
    other = SCORES[:, ::-1]
    same = metric.per_example({"y": other}, examples(None), {"y": SCORES})
    assert same.tolist() == [0, 0, 0, 1]
    # No scores: a difference of a third of the norm.
    values = np.full((4, 1), 3.0)
    found = metric.per_example({"y": values + 1}, examples(None), {"y": values})
    np.testing.assert_allclose(found, 0.75)
    with pytest.raises(EdgeoptError, match="needs the outputs of the original"):
        metric.score({"y": SCORES}, examples(None))


@pytest.mark.parametrize(
    ("spec", "labels", "outputs", "message"),
    [
        (None, CLASSES, {"y": np.zeros((4, 2))}, r"no output tells 3 classes .* 'y' \[4, 2\]"),
        (None, CLASSES, {"y": np.zeros((3, 3))}, "no output tells"),
        (
            "top2",
            [0, 1, 1, 0],
            {"y": np.zeros((4, 1))},
            "needs an output with a score for each class",
        ),
        (
            None,
            [0.5, 1, 1, 2],
            {"y": np.zeros((4, 3))},
            r"no output tells labels of the shape \[4\]",
        ),
        (None, [0.5, 1, 1, 2], {"a": np.zeros(4), "b": np.zeros(4)}, "more than one output tells"),
    ],
)
def test_labels_that_do_not_fit_are_told(
    spec: str | None, labels: object, outputs: dict[str, np.ndarray], message: str
) -> None:
    some = examples(labels)
    with pytest.raises(EdgeoptError, match=message) as caught:
        Metric.of(spec, some.labels).score(outputs, some)
    assert caught.value.reason == "DATA_INVALID"


@pytest.mark.parametrize(
    ("spec", "labels"), [("accuracy", None), ("top5", np.ones(3)), ("mean_absolute_error", None)]
)
def test_a_metric_needs_its_labels(spec: str, labels: object) -> None:
    with pytest.raises(EdgeoptError, match="needs labels") as caught:
        Metric.of(spec, labels)  # type: ignore[arg-type]
    assert caught.value.reason == "DATA_INVALID"


def own(tmp_path: Path, body: str, name: str = "f") -> str:
    file = tmp_path / "own.py"
    file.write_text(f"import numpy as np\n{body}\n")
    return f"{file}:{name}"


def test_a_metric_of_ones_own(tmp_path: Path) -> None:
    spec = own(tmp_path, "def f(outputs, labels):\n    return outputs['y'].argmax(1) == labels")
    metric = Metric.of(spec, CLASSES)
    assert (metric.name, metric.unit, metric.needs_labels) == (spec, "pt", False)
    assert metric.per_example({"y": SCORES}, examples()).tolist() == [1, 1, 0, 1]


def test_a_metric_of_ones_own_may_have_one_score_for_all(tmp_path: Path) -> None:
    spec = own(tmp_path, "def f(outputs, labels):\n    return 31.5\nf.unit = 'dB'")
    metric = Metric.of(spec, None)
    assert (metric.unit, metric.factor) == ("dB", 1.0)
    assert metric.values({"y": SCORES}, examples()).shape == ()
    assert metric.per_example({"y": SCORES}, examples()).tolist() == [31.5] * 4


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def f(outputs, labels):\n    return outputs['z']", "failed with KeyError: 'z'"),
        (
            "def f(outputs, labels):\n    return np.ones(3)",
            r"returned the shape \[3\] for 4 examples",
        ),
        ("def f(outputs, labels):\n    return 'good'", "failed with ValueError"),
        ("def f(outputs, labels):\n    raise SystemExit(3)", "failed with SystemExit: 3"),
        ("raise RuntimeError('no')", r"own\.py failed with RuntimeError: no"),
        ("import no_such_package", "needs the Python package no_such_package"),
    ],
)
def test_what_is_wrong_with_ones_own_is_told(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(EdgeoptError, match=message) as caught:
        Metric.of(own(tmp_path, body), CLASSES).score({"y": SCORES}, examples())
    assert caught.value.reason == "METRIC_FAILED"


@pytest.mark.parametrize(
    "spec", ["precise", "top0", "nowhere:f", "no/file.py:f", "math:nothing", ":f"]
)
def test_what_is_no_metric_is_refused(spec: str) -> None:
    with pytest.raises(UsageError):
        Metric.of(spec, CLASSES)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("acuracy", "there is no metric 'acuracy'; a metric is accuracy"),
        ("top0", "there is no metric 'top0'"),
        ("nowhere.py:score", "cannot read nowhere.py, which was to hold the metric"),
    ],
)
def test_what_can_be_no_metric_is_refused_before_anything_runs(spec: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        metric.check(spec)


@pytest.mark.parametrize("spec", ["accuracy", "top5", "top-5", "agreement", "package.module:score"])
def test_what_may_be_a_metric_is_not_refused(spec: str) -> None:
    metric.check(spec)


def test_a_metric_that_gives_nan_has_failed(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text("def score(outputs, labels):\n    return [float('nan')] * len(labels)\n")
    found = Metric.of(f"{own}:score", np.zeros(3, np.int64))
    with pytest.raises(EdgeoptError, match="returned 3 scores of 3 that are no finite numbers"):
        found.values({"out": np.zeros((3, 2))}, Examples({"": np.zeros(3)}, np.zeros(3, np.int64)))
