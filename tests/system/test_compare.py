"""`edgeopt-host compare` for real: two models in turns, and what becomes of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import tiny
from command_line import command_line
from edgeopt_host.compare import judge

EdgeoptHost = Callable[..., subprocess.CompletedProcess[str]]
SHORT = ("--launches", "3", "--warmup", "0.05", "--duration", "0.1")
LOCAL = ("--device", "local", "--threads", "1")


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    """One that takes several times as long as the other."""
    return tiny.matmul(tmp_path / "small.onnx", 64), tiny.matmul(tmp_path / "large.onnx", 512)


def test_a_slower_model_is_found_to_be_slower(
    models: tuple[Path, Path], tmp_path: Path, edgeopt_host: EdgeoptHost
) -> None:
    page = tmp_path / "report.html"
    ended = edgeopt_host("compare", *models, *LOCAL, *SHORT, "--html", page, "--format", "json")
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    (device,) = document["devices"]
    (other,) = device["others"]
    assert device["reference"]["model"] == "small.onnx"
    p50 = other["metrics"][0]
    assert p50["metric"] == "p50_latency_ms"
    assert p50["ratio_ci95"][0] > 1
    assert p50["found"] == "more"
    assert " % slower (" in other["words"]
    assert [run["paired"]["subject"] for run in document["runs"]] == [0, 1]
    assert "large.onnx" in page.read_text("utf-8")
    stored = json.loads(edgeopt_host("runs", "list", "--format", "json").stdout)["runs"]
    assert {run["id"] for run in stored} == {run["id"] for run in document["runs"]}


def test_it_stops_as_soon_as_it_knows_enough(
    models: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # To within 1 % takes as long as the machine likes; to within half, six launches.
    monkeypatch.setattr("edgeopt_host.compare.judge", partial(judge, half_width=0.5))
    host = command_line(tmp_path / "home", monkeypatch, capsys)
    paths = [str(model) for model in models]
    ended = host("compare", *paths, *LOCAL, "--budget", "30", "--warmup", "0.05", "--format=json")
    assert ended.code == 0, ended.err
    for run in json.loads(ended.out)["runs"]:
        assert 6 <= run["latency_ms"]["launches"] < run["request"]["plan"]["launches"] == 15


def test_within_a_budget_the_table_says_how_they_differ(
    models: tuple[Path, Path], edgeopt_host: EdgeoptHost
) -> None:
    ended = edgeopt_host("compare", *models, *LOCAL, "--budget", "6", "--warmup", "0.05")
    assert ended.returncode == 0, ended.stderr
    assert "B (large.onnx) is " in ended.stdout
    assert "p50_latency_ms" in ended.stdout


def test_a_model_that_fails_is_told_and_ends_with_4(
    models: tuple[Path, Path], tmp_path: Path, edgeopt_host: EdgeoptHost
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    ended = edgeopt_host("compare", models[0], broken, *LOCAL, *SHORT)
    assert ended.returncode == 4
    assert "could not be measured: MODEL_INVALID" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--launches", "2"), "--device"),
        ((*LOCAL, "--budget", "5", "--launches", "2"), "leave one out"),
        ((*LOCAL, "--html", "no/such/folder/report.html"), "its folder does not exist"),
        ((*LOCAL, "--html", "."), "it is a folder"),
    ],
)
def test_wrong_use_ends_with_2_before_anything_is_measured(
    models: tuple[Path, Path], edgeopt_host: EdgeoptHost, arguments: tuple[str, ...], told: str
) -> None:
    ended = edgeopt_host("compare", *models, *arguments)
    assert ended.returncode == 2
    assert told in ended.stderr
    assert ended.stdout == ""


def test_one_model_is_not_enough(models: tuple[Path, Path], edgeopt_host: EdgeoptHost) -> None:
    ended = edgeopt_host("compare", models[0], *LOCAL)
    assert ended.returncode == 2
    assert "give 2 to 26 models" in ended.stderr
