"""Which models are measured on which devices when some of them fail; no device is asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeopt_host import bench
from edgeopt_host.observer import Observer
from edgeopt_host.optimize.devices import Candidate, measure
from edgeopt_host.optimize.model import Format, Model
from edgeopt_host.run import Device, Failure, Run, RuntimeUsed
from edgeopt_host.run import Model as Measured

# What each device cannot run.
BAD: dict[str, set[str]] = {}


class Bench:
    """Measures in an instant: a model that a device cannot run ends the turns of all on it."""

    asked: list[tuple[list[str], list[str]]]

    def compare(self, models: Sequence[Path], devices: Sequence[str], **_: Any) -> list[list[Run]]:
        names = [one.stem for one in models]
        Bench.asked.append((names, list(devices)))
        return [[run(device, name, names) for name in names] for device in devices]


def run(device: str, model: str, partners: list[str]) -> Run:
    failed = [one for one in partners if one in BAD[device]]
    error = None
    if failed:
        reason = "LOAD_FAILED" if model in failed else "PARTNER_FAILED"
        error = Failure(reason, f"{model} on {device}")
    return Run(
        id=f"{device}-{model}-{len(Bench.asked)}",
        time="",
        command="push",
        model=Measured(model, "", 0, "onnx"),
        device=Device(device, board=f"board of {device}"),
        runtime=RuntimeUsed("onnxruntime"),
        error=error,
    )


def measured(models: str, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    Bench.asked = []
    monkeypatch.setattr(bench, "Bench", Bench)
    candidates = [Candidate(name, Model(Path(name), Format.ONNX, name, 1)) for name in models]
    return measure(
        candidates,
        candidates[0],
        devices=list(BAD),
        tags=[],
        data=None,
        observer=Observer(),
        labels={},
    )


def reasons(device: dict[str, Any]) -> dict[str, str | None]:
    return {row["step"]: row["error"] and row["error"]["reason"] for row in device["models"]}


@pytest.fixture(autouse=True)
def _empty() -> None:
    BAD.clear()


def test_each_device_goes_on_with_what_it_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    BAD.update({"x": {"a"}, "y": {"b"}, "z": set(), "w": {"a"}})
    told = measured("rabc", monkeypatch)
    assert [device["name"] for device in told] == ["x", "y", "z", "w"]
    assert told[0]["board"] == "board of x"
    assert reasons(told[0]) == {"r": None, "a": "LOAD_FAILED", "b": None, "c": None}
    assert reasons(told[1]) == {"r": None, "a": None, "b": "LOAD_FAILED", "c": None}
    assert set(reasons(told[2]).values()) == {None}
    assert Bench.asked == [
        (["r", "a", "b", "c"], ["x", "y", "z", "w"]),
        (["r", "b", "c"], ["x", "w"]),
        (["r", "a", "c"], ["y"]),
    ]


def test_models_that_fail_one_after_the_other_are_all_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    BAD.update({"x": {"a", "c"}})
    original = Bench.compare

    def first_alone(self: Bench, models: Sequence[Path], **kwargs: Any) -> list[list[Run]]:
        # A device stops at the first that fails.
        BAD["x"] = {next((one.stem for one in models if one.stem in "ac"), "")}
        return original(self, models, **kwargs)

    monkeypatch.setattr(Bench, "compare", first_alone)
    (device,) = measured("rabc", monkeypatch)
    assert reasons(device) == {"r": None, "a": "LOAD_FAILED", "b": None, "c": "LOAD_FAILED"}
    assert [names for names, _ in Bench.asked] == [list("rabc"), list("rbc"), list("rb")]


@pytest.mark.parametrize("bad", ["r", "rab"])
def test_without_the_reference_nothing_is_measured_again(
    bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    BAD.update({"x": set(bad)})
    (device,) = measured("rab", monkeypatch)
    assert len(Bench.asked) == 1
    assert reasons(device) == {
        name: "LOAD_FAILED" if name in bad else "PARTNER_FAILED" for name in "rab"
    }


def test_more_models_than_a_benchmark_takes_share_one_reference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    BAD.update({"x": {"b"}})
    names = "rabcdefghijklmnopqstuv"
    (device,) = measured(names, monkeypatch)
    assert [row["step"] for row in device["models"]] == list(names)
    assert [len(asked) for asked, _ in Bench.asked] == [16, 15, 7]
