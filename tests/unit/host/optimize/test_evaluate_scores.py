"""Scores, what was lost, and what chance may have to do with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score

from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.evaluate import scores
from edgeopt_host.optimize.metric import Metric
from edgeopt_host.stats import accuracy

RNG = np.random.default_rng(1)
LABELS = RNG.integers(0, 4, 300)
EXAMPLES = Examples({"": np.zeros((300, 1))}, LABELS)


def answers(wrong: int, *, first: int = 0) -> dict[str, np.ndarray]:
    told = LABELS.copy()
    told[first : first + wrong] = (told[first : first + wrong] + 1) % 4
    return {"y": np.eye(4, dtype=np.float32)[told]}


def test_accuracy_has_the_interval_of_a_share() -> None:
    found = scores.score(Metric.of(None, LABELS), answers(30), EXAMPLES, None)
    expected = stats.binomtest(270, 300).proportion_ci(method="exact")
    assert found.value == 0.9
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_a_drop_is_paired() -> None:
    metric = Metric.of(None, LABELS)
    found = scores.drop(metric, answers(45), answers(30), EXAMPLES)
    right = np.arange(300)
    expected = accuracy.difference(right >= 45, right >= 30)
    assert found.value == pytest.approx(5.0)
    assert (found.low, found.high) == pytest.approx((-expected.high, -expected.low))
    assert 0 < found.low < 5 < found.high
    # As many wrong, but others.
    other = scores.drop(metric, answers(30, first=100), answers(30), EXAMPLES)
    assert other.value == 0
    assert other.high - other.low > found.high - found.low


def test_errors_have_students_interval() -> None:
    labels = RNG.standard_normal(300)
    examples = Examples({"": np.zeros((300, 1))}, labels)
    metric = Metric.of(None, labels)
    good, bad = labels + 0.1 * RNG.standard_normal(300), labels + 0.3 * RNG.standard_normal(300)
    found = scores.score(metric, {"y": good}, examples, None)
    errors = -np.abs(good - labels)
    expected = stats.ttest_1samp(errors, 0).confidence_interval()
    assert (found.value, found.low, found.high) == pytest.approx((errors.mean(), *expected))
    lost = scores.drop(metric, {"y": bad}, {"y": good}, examples)
    paired = stats.ttest_rel(errors, -np.abs(bad - labels)).confidence_interval()
    assert (lost.low, lost.high) == pytest.approx(tuple(paired))
    assert lost.low > 0
    assert np.isnan(scores.score(metric, {"y": good * np.nan}, examples, None).value)


def test_one_score_for_all_is_resampled(tmp_path: Path) -> None:
    (tmp_path / "f1.py").write_text(
        "from sklearn.metrics import f1_score\n"
        "def f1(outputs, labels):\n"
        "    return f1_score(labels, outputs['y'].argmax(1), average='macro')\n"
    )
    metric = Metric.of(f"{tmp_path}/f1.py:f1", LABELS)
    found = scores.score(metric, answers(30), EXAMPLES, None)
    assert found.value == f1_score(LABELS, answers(30)["y"].argmax(1), average="macro")
    # About as wide as that of a share.
    assert 0.85 < found.low < found.value < found.high < 0.95
    assert scores.score(metric, answers(30), EXAMPLES, None) == found
    lost = scores.drop(metric, answers(60), answers(30), EXAMPLES)
    assert 5 < lost.low < lost.value < lost.high < 15


def test_the_report_is_scikit_learns() -> None:
    found = scores.report(answers(30), EXAMPLES, 4, ["a", "b", "c", "d"])
    assert found is not None
    assert found["accuracy"] == accuracy_score(LABELS, answers(30)["y"].argmax(1))
    assert found["a"]["support"] == (LABELS == 0).sum()
    assert set(found) == {"a", "b", "c", "d", "accuracy", "macro avg", "weighted avg"}
    broken = answers(30)
    broken["y"][0] = np.nan
    unnamed = scores.report(broken, EXAMPLES, 4)
    assert unnamed is not None
    assert unnamed["NaN"]["support"] == 0
    assert unnamed["0"]["support"] == (LABELS == 0).sum()
    assert scores.report({"y": LABELS}, Examples(EXAMPLES.inputs, None), None) is None


def test_top_k() -> None:
    outputs = answers(30)
    outputs["y"] += 0.1 * np.eye(4, dtype=np.float32)[LABELS]
    assert scores.top_k(outputs, EXAMPLES, 4, (1, 2, 4, 5)) == {1: 0.9, 2: 1.0}
    # Classes, without scores.
    assert scores.top_k({"y": LABELS}, EXAMPLES, 4, (1,)) == {}


@pytest.mark.parametrize(
    ("drop", "classes", "value", "expected"),
    [
        (80.9, 10, 0.101, "fell by 80.9 pt to 10.1 %, which is what guessing gives"),
        (12.0, 10, 0.8, "collapsed: it fell by 12.0 pt to 80.0 %"),
        (9.0, 10, 0.85, None),
        (9.0, 2, 0.51, "guessing"),
        (0.2, 10, 0.1, None),
        (-3.0, 10, 0.9, None),
        (98.0, None, 0.0, "to 0.0 %"),
        (float("nan"), 10, float("nan"), None),
    ],
)
def test_a_collapse_is_told(
    drop: float, classes: int | None, value: float, expected: str | None
) -> None:
    found = scores.collapsed(drop, classes, value)
    assert found is None if expected is None else expected in (found or "")


def test_losing_little_is_no_guessing() -> None:
    told = scores.collapsed(12.0, 10, 0.8)
    assert told is not None
    assert "guessing" not in told
