"""`edgeopt-host optimize` as it is typed: what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import digits
from command_line import CommandLine, command_line


@pytest.fixture
def host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    digits.classifier(tmp_path / "digits.onnx")
    return command_line(tmp_path / "home", monkeypatch, capsys)


def test_techniques_are_listed_with_what_they_need(host: CommandLine) -> None:
    listed = host("optimize", "techniques")
    assert listed.code == 0
    assert "quantize:mixed" in listed.out
    one = host("optimize", "techniques", "quantize:int8")
    assert "per_channel" in one.out
    found = json.loads(host("optimize", "techniques", "--format", "json").out)
    assert found["schema"] == "edgeopt.techniques/1"


def test_a_run_ends_with_0_and_a_history(host: CommandLine) -> None:
    ran = host(
        "optimize", "run", "digits.onnx", "--steps", "quantize:float16", "-o", "out",
        "--format", "json",
    )  # fmt: skip
    assert ran.code == 0
    assert json.loads(ran.out) == json.loads(Path("out/history.json").read_text())
    assert "open out/report.html" in ran.err


def test_a_step_that_fails_ends_with_4_and_the_others_are_shown(host: CommandLine) -> None:
    ran = host(
        "optimize", "run", "digits.onnx", "-o", "out",
        "--steps", "quantize:dynamic,operators=Nonsense,id=bad; quantize:float16,from=original",
    )  # fmt: skip
    assert ran.code == 4
    assert "Nonsense" in ran.out
    assert "quantize-float16" in ran.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["digits.onnx", "--steps", "quantise:int8"], "did you mean quantize:int8?"),
        (["digits.onnx", "--steps", "quantize:int8"], "needs calibration examples: give --data"),
        (["digits.onnx", "--steps", "convert:ptl"], "convert:ptl takes"),
        (["digits.onnx"], "give the steps"),
        ([], "name the model to optimize"),
        (["nowhere.onnx", "--steps", "quantize:dynamic"], "nowhere.onnx"),
        (["digits.onnx", "--steps", "quantize:dynamic", "--device", "nope"], "nope"),
        (
            ["digits.onnx", "--steps", "quantize:dynamic", "--metric", "acuracy"],
            "no metric 'acuracy'",
        ),
    ],
)
def test_wrong_use_ends_with_2_before_anything_is_made(
    host: CommandLine, arguments: list[str], said: str
) -> None:
    ran = host("optimize", "run", *arguments, "-o", "out")
    assert ran.code == 2
    assert said in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert not Path("out").exists()
