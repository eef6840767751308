# ruff: noqa: ARG001 - of the technique, its signature counts

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.optimize.technique import Notes, Technique, of, technique
from edgeopt_host.report import techniques as report


@technique(
    "shrink:all",
    takes={Format.ONNX, Format.KERAS},
    gives=Format.TFLITE,
    libraries={"numpy", "no-such-library"},
    labels=True,
    deterministic=False,
)
def shrink(
    source: Model,
    target: Path,
    *,
    io: Literal["int8", "float"] = "int8",
    layers: tuple[str, ...] = (),
    bits: int,
    share: float | None = None,
    strict: bool = True,
    calibration: Examples,
    seed: int,
) -> Notes | None:
    """Makes all of it small.

    Costs a little
    accuracy.

    Use it where room is scarce.

    Args:
        io: of inputs and outputs.
        layers: by pattern.
        bits: of weights.
        share: how many.
        strict: no exceptions.
    """
    return None


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Technique:
    for name in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    found = of(shrink)
    assert found is not None
    return found


def test_the_list_has_a_line_each(shown: Technique) -> None:
    head, line = report.render([shown]).splitlines()
    assert re.split(" {2,}", head) == ["Technique", "Takes", "Gives", "Needs", "What it does"]
    assert re.sub(" {2,}", "  ", line) == (
        "shrink:all  keras, onnx  tflite  calibration with labels  Makes all of it small."
    )


def test_a_technique_tells_everything(shown: Technique, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Technique, "load", lambda _: shrink)
    text = report.render_one([shown])
    assert text.startswith("shrink:all   keras, onnx → tflite\n  Makes all of it small.\n")
    assert "\n  Costs a little accuracy.\n  Use it where room is scarce.\n" in text
    for told in (
        "calibration with labels",
        "no-such-library (not installed)",
        "may give other bytes",
    ):
        assert told in text
    rows = {line.split()[0]: " ".join(line.split()) for line in text.splitlines() if line.strip()}
    assert rows["io"] == "io int8 | float int8 of inputs and outputs."
    assert rows["layers"] == "layers list of str none by pattern."
    assert rows["bits"] == "bits int required of weights."
    assert rows["share"] == "share float none how many."
    assert rows["strict"] == "strict bool true no exceptions."
    assert "seed" not in rows


def test_programs_get_the_same(shown: Technique, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Technique, "load", lambda _: shrink)
    document = json.loads(report.render_json([shown]))
    assert document == report.document([shown])
    (entry,) = document["techniques"]
    assert entry["takes"] == ["keras", "onnx"]
    assert entry["libraries"]["no-such-library"] is None
    assert entry["libraries"]["numpy"]
    assert entry["description"] == "Costs a little accuracy.\n\nUse it where room is scarce."
    assert [one["name"] for one in entry["parameters"] if one["required"]] == ["bits"]
    assert entry["parameters"][1] == {
        "name": "layers", "type": "str", "many": True, "required": False, "default": [], "choices": [],
        "doc": "by pattern.",
    }  # fmt: skip


def test_data_that_are_used_if_there_are_told_apart(shown: Technique) -> None:
    both = replace(
        shown,
        splits=("calibration", "validation"),
        optional_splits=frozenset({"validation"}),
        labels=False,
    )
    assert (report.needs(both), report.uses(both)) == ("calibration", "validation")
    assert report.document([both])["techniques"][0]["needed"] == ["calibration"]
    verifying = replace(both, verifies=True)
    assert (report.needs(verifying), report.uses(verifying)) == ("", "calibration, validation")
    head, *_, line = report.render([both, verifying]).splitlines()
    assert " Needs        Uses if there            What it does" in head
    assert " tflite               calibration, validation  Makes all of it small." in line
    text = report.render_one([verifying])
    assert re.search(r"Needs data +none\n +Uses if there +calibration, validation\n", text)
