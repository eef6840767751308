"""What every technique must do, whatever it makes of what: a new one adds a row to CASES."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgeopt_host.errors import UsageError
from edgeopt_host.optimize import _child, needs, registry
from edgeopt_host.optimize.model import Format
from edgeopt_host.optimize.technique import Technique


@dataclass(frozen=True)
class Case:
    """A technique on one kind of model, with parameters that fit a network of 4 layers."""

    technique: str
    source: Format
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.technique.replace(':', '-')}-of-{self.source.value}"

    def found(self) -> Technique:
        return registry.find(self.technique, self.source)


KERAS, SAVED, TFLITE, ONNX = Format.KERAS, Format.SAVED_MODEL, Format.TFLITE, Format.ONNX
TORCH, SCRIPT, PROGRAM = Format.TORCH, Format.TORCHSCRIPT, Format.EXPORTED_PROGRAM
CASES = [
    Case("convert:tflite", KERAS),
    Case("convert:tflite", SAVED),
    Case("convert:onnx", KERAS),
    Case("convert:onnx", SAVED),
    Case("convert:onnx", TFLITE),
    Case("convert:onnx", TORCH),
    Case("convert:onnx", SCRIPT),
    Case("convert:onnx", PROGRAM),
    Case("convert:ptl", TORCH),
    Case("convert:ptl", SCRIPT),
    Case("convert:ptl", PROGRAM),
    Case("quantize:dynamic", KERAS),
    Case("quantize:dynamic", TFLITE),
    Case("quantize:dynamic", ONNX),
    Case("quantize:dynamic", TORCH),
    Case("quantize:float16", KERAS),
    Case("quantize:float16", TFLITE),
    Case("quantize:float16", ONNX),
    Case("quantize:int8", KERAS, {"io": "uint8"}),
    Case("quantize:int8", SAVED),
    Case("quantize:int8", TFLITE),
    Case("quantize:int8", ONNX),
    Case("quantize:int8", TORCH),
    Case("quantize:int8-onnx", TORCH),
    Case("quantize:int16x8", KERAS),
    Case("quantize:int16x8", TFLITE),
    Case("quantize:int4", KERAS),
    Case("quantize:int4", TFLITE),
    Case("quantize:int4", ONNX),
    Case("quantize:mixed", KERAS, {"budget_pt": 5.0}),
    Case("quantize:mixed", TFLITE, {"budget_pt": 5.0}),
    Case("quantize:mixed", ONNX, {"budget_pt": 5.0, "faster": False}),
    Case("quantize:mixed", TORCH, {"budget_pt": 5.0}),
    Case("simplify:graph", ONNX),
]
# They install environments of hundreds of megabytes.
ELSEWHERE = {("convert:pte", TORCH), ("convert:tflite", ONNX)}

Made = dict[str, dict[str, Any]]


def call(function: str, **arguments: Any) -> Any:
    return _child.call(f"technique_rig:{function}", arguments)


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(call("prepared", folder=str(tmp_path_factory.mktemp("data"))))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, data: str) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("sources")
    found: dict[str, Any] = {}
    for kind in ("keras", "torch"):
        inside = folder / kind
        inside.mkdir()
        found |= call(f"{kind}_sources", folder=str(inside))
    first = [Case("convert:tflite", KERAS), Case("convert:onnx", KERAS)]
    made = apply(first, found, data, folder)
    return found | {answer["model"]["format"]: answer["model"] for answer in made.values()}


def apply(cases: list[Case], sources: dict[str, Any], data: str, folder: Path) -> Made:
    jobs = [
        {
            "case": case.name,
            "technique": case.found().function,
            "source": sources[case.source.value],
            "parameters": case.parameters,
        }
        for case in cases
    ]
    return dict(call("apply_all", jobs=jobs, data=data, folder=str(folder)))


@pytest.fixture(scope="module")
def twice(
    tmp_path_factory: pytest.TempPathFactory, sources: dict[str, Any], data: str
) -> tuple[Made, Made]:
    """What every case makes, in two rounds of processes that share nothing; one for each framework."""

    def framework(case: Case) -> str:
        return case.source.value if case.source in {TFLITE, ONNX, KERAS, SAVED} else "torch"

    rounds: list[Made] = []
    for number in range(2):
        folder = tmp_path_factory.mktemp(f"round{number}")
        made: Made = {}
        for name in sorted({framework(case) for case in CASES}):
            made |= apply(
                [case for case in CASES if framework(case) == name], sources, data, folder
            )
        rounds.append(made)
    return rounds[0], rounds[1]


def of(pick: Callable[[Case], bool]) -> Any:
    return pytest.mark.parametrize(
        "case", [pytest.param(case, id=case.name) for case in CASES if pick(case)]
    )


def test_every_technique_has_a_row() -> None:
    rows = {case.found().function for case in CASES}
    rows |= {registry.find(*elsewhere).function for elsewhere in ELSEWHERE}
    assert rows == {one.function for one in registry.techniques()}


@of(lambda _: True)
def test_makes_a_model_that_its_runtime_runs(case: Case, twice: tuple[Made, Made]) -> None:
    answer = twice[0][case.name]
    assert "error" not in answer, answer["error"]
    assert answer["model"]["format"] == case.found().gives.value
    assert answer["inputs"]


@of(lambda case: case.found().deterministic)
def test_the_same_seed_gives_the_same_bytes_in_another_process(
    case: Case, twice: tuple[Made, Made]
) -> None:
    first, second = (made[case.name] for made in twice)
    assert first["model"]["digest"] == second["model"]["digest"]
    assert first["model"]["path"] != second["model"]["path"]


@of(lambda _: True)
def test_leaves_its_input_alone(
    case: Case, twice: tuple[Made, Made], sources: dict[str, Any]
) -> None:
    assert twice[1][case.name]["source_after"] == sources[case.source.value]["digest"]


@of(lambda case: bool(case.found().splits))
def test_tells_what_data_it_used(case: Case, twice: tuple[Made, Made]) -> None:
    used = twice[0][case.name]["used"]
    assert set(used) == set(case.found().splits)
    assert all(count > 0 for count in used.values())


@of(lambda case: bool(case.found().needed_splits))
def test_asks_for_missing_data_before_it_starts(case: Case) -> None:
    with pytest.raises(UsageError, match=rf"{case.technique} needs .* examples: give --data"):
        needs.check({"step": case.found()}, has_data=False)


@pytest.mark.parametrize("name", sorted({case.technique for case in CASES}))
def test_refuses_formats_that_it_does_not_take(name: str) -> None:
    taken = set().union(*(one.takes for one in registry.named(name)))
    for format_ in set(Format) - taken:
        with pytest.raises(UsageError, match=f"what it is given is {format_.value}"):
            registry.find(name, format_)


@pytest.mark.parametrize("technique", registry.techniques(), ids=lambda one: one.function)
def test_is_documented(technique: Technique) -> None:
    assert technique.summary.endswith(".")
    assert all(parameter.doc for parameter in technique.parameters), technique.parameters
    assert technique.libraries
