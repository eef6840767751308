"""How far two models' outputs are apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import digits
from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize import agreement
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.model import Format, Model

RNG = np.random.default_rng(0)
REFERENCE = RNG.standard_normal((100, 5)).astype(np.float32)


def test_equal_outputs_agree() -> None:
    found = agreement.compare({"y": REFERENCE}, {"y": REFERENCE.copy()})
    assert (found.max_abs, found.mean_abs, found.relative, found.argmax_same) == (0, 0, 0, 1)
    assert found.examples == 100


def test_differences_are_those_of_the_worst_output() -> None:
    moved = REFERENCE.copy()
    moved[70, 3] += 2
    found = agreement.compare({"a": REFERENCE, "b": moved}, {"a": REFERENCE, "b": REFERENCE})
    assert found.max_abs == pytest.approx(2)
    assert found.mean_abs == pytest.approx(2 / REFERENCE.size)
    assert found.relative == pytest.approx(2 / np.linalg.norm(REFERENCE), rel=1e-5)
    expected = float((moved.argmax(1) == REFERENCE.argmax(1)).mean())
    assert found.argmax_same == pytest.approx(expected)
    assert found.per_output["a"].max_abs == 0
    assert found.per_output["b"].scale == pytest.approx(float(np.abs(REFERENCE).max()))


def test_scores_of_classes_are_told_from_values() -> None:
    pictures = RNG.random((3, 8, 8, 3)).astype(np.float32)
    assert agreement.compare({"y": pictures}, {"y": pictures}).argmax_same is None
    assert agreement.compare({"y": REFERENCE[:, :1]}, {"y": REFERENCE[:, :1]}).argmax_same is None
    steps = pictures / pictures.sum(axis=-1, keepdims=True)
    turned = steps.copy()
    turned[0] = np.roll(turned[0], 1, axis=-1)
    assert agreement.compare({"y": turned}, {"y": steps}).argmax_same == pytest.approx(2 / 3)


def test_nan_is_as_far_as_can_be_but_for_nan() -> None:
    broken = REFERENCE.copy()
    broken[99, 0] = np.nan
    assert agreement.compare({"y": broken}, {"y": REFERENCE}).document()["max_abs"] is None
    assert agreement.compare({"y": broken}, {"y": broken}).max_abs == 0
    assert agreement.compare({"y": broken}, {"y": broken}).argmax_same == 0.99


def test_names_count_first() -> None:
    a, b = REFERENCE, REFERENCE + 1
    found = agreement.match({"b:0": b, "a:0": a}, {"a": a, "b": b})
    assert found["a"] is a or np.array_equal(found["a"], a)
    # However well the values would fit the other way round.
    assert np.array_equal(agreement.match({"a": b, "b": a}, {"a": a, "b": b})["a"], b)


def test_shapes_tell_outputs_of_other_names() -> None:
    boxes = RNG.random((100, 4, 1)).astype(np.float32)
    found = agreement.match(
        {"x:0": REFERENCE, "x:1": boxes[..., 0]}, {"boxes": boxes, "y": REFERENCE}
    )
    assert np.array_equal(found["boxes"], boxes)
    assert np.array_equal(found["y"], REFERENCE)


def test_values_tell_outputs_of_the_same_shape() -> None:
    notes, onsets = RNG.random((2, 100, 20, 88)).astype(np.float32)
    rough = {"out:1": onsets + 0.05, "out:0": notes - 0.05}
    found = agreement.match(rough, {"note": notes, "onset": onsets})
    assert np.array_equal(found["note"], rough["out:0"])
    same = {"p": notes, "q": notes.copy()}
    kept = agreement.match(same, {"a": notes, "b": notes})
    assert np.shares_memory(kept["a"], same["p"])


@pytest.mark.parametrize("outputs", [{}, {"y": REFERENCE[:, :4]}, {"y": REFERENCE[:50]}])
def test_other_outputs_are_refused(outputs: dict[str, np.ndarray]) -> None:
    with pytest.raises(
        EdgeoptError, match=r"those of the model it was made of are 'y' \[100, 5\]"
    ) as caught:
        agreement.compare(outputs, {"y": REFERENCE})
    assert caught.value.reason == "CONVERSION_DIFFERS"


def test_further_outputs_are_left_out() -> None:
    more = {"z": REFERENCE + 1, "y": REFERENCE}
    assert list(agreement.match(more, {"y": REFERENCE})) == ["y"]
    assert np.array_equal(agreement.match(more, {"x": REFERENCE})["x"], REFERENCE)
    with pytest.raises(EdgeoptError, match="those of the model"):
        agreement.match({"y": REFERENCE}, more)


def test_per_example_agreement_is_a_share() -> None:
    found = agreement.per_example(np.full((2, 3, 1), 5.0), np.full((2, 3, 1), 4.0))
    np.testing.assert_allclose(found, 0.8)
    zero = np.zeros((2, 3, 1))
    assert agreement.per_example(zero, zero).tolist() == [1, 1]
    assert agreement.per_example(zero + 1, zero).tolist() == [0, 0]
    assert agreement.per_example(zero * np.nan, zero + 1).tolist() == [0, 0]


def test_a_model_that_differs_is_refused(tmp_path: Path) -> None:
    source = Model.of(digits.classifier(tmp_path / "a.onnx"), Format.ONNX)
    renamed = Model.of(digits.classifier(tmp_path / "b.onnx", output="Identity"), Format.ONNX)
    other = Model.of(digits.classifier(tmp_path / "c.onnx", noise=0.02), Format.ONNX)
    examples = Examples({"": digits.images()[0][:50]})
    assert agreement.check(source, renamed, examples, 1e-6).max_abs < 1e-6
    measured = agreement.check(source, other, examples, 0.5)
    with pytest.raises(EdgeoptError, match="'digit' of what was made differs by up to") as caught:
        agreement.check(source, other, examples, 1e-3)
    assert caught.value.reason == "CONVERSION_DIFFERS"
    assert f"{measured.max_abs:.2g}" in caught.value.message
    broken = Model.of(digits.classifier(tmp_path / "d.onnx", scale=np.nan), Format.ONNX)
    with pytest.raises(EdgeoptError, match="is not finite"):
        agreement.check(source, broken, examples, 1)
