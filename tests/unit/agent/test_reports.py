"""What a worker may report, and what is left of it."""

from __future__ import annotations

from typing import Any

import pytest

from edgeopt.agent.v1 import benchmark_pb2, blob_pb2
from edgeopt_agent import reports

Event = benchmark_pb2.BenchmarkEvent
PASSES = ("", "energy", "profile", "outputs", "evaluate")
EVERY = [field.name for field in Event.DESCRIPTOR.oneofs_by_name["event"].fields]


def event(kind: str) -> Event:
    made = Event(sequence=7)
    getattr(made, kind).SetInParent()
    return made


def taken(pass_: str, *, in_turns: bool = False) -> set[str]:
    return {k for k in EVERY if reports.take(event(k), pass_, in_turns=in_turns)}


def test_each_launch_and_pass_reports_what_is_its_own() -> None:
    always = {"progress", "warning"}
    assert taken("") == always | {"execution", "samples", "state", "result"}
    assert taken("", in_turns=True) == taken("") | {"turn"}
    assert taken("energy") == always | {"energy"}
    assert taken("profile") == always | {"profile"}
    assert taken("outputs") == always | {"outputs"}
    assert taken("evaluate") == always | {"predictions"}
    assert not reports.take(Event(), "", in_turns=True)


def test_only_its_own_is_a_result() -> None:
    results = [{k for k in EVERY if reports.is_result(event(k), pass_)} for pass_ in PASSES]
    assert results == [{"result"}, {"energy"}, {"profile"}, {"outputs"}, {"predictions"}]


def test_of_an_energy_pass_the_windows_are_taken() -> None:
    made = benchmark_pb2.EnergyReadings(time_ns=[1, 2], unavailable_reason="why")
    made.channels.add(name="VDD_IN", values=[0.0, 0.0])
    made.windows.add(start_time_ns=1, end_time_ns=2, inferences=3)
    told = Event(energy=made)
    assert reports.take(told, "energy", in_turns=False)
    assert list(told.energy.windows) == list(made.windows)
    assert told.energy.unavailable_reason == "why"
    assert not told.energy.time_ns
    assert not told.energy.channels


@pytest.mark.parametrize(("kind", "pass_"), [("outputs", "outputs"), ("predictions", "evaluate")])
def test_the_agent_numbers_events_and_names_files(kind: str, pass_: str) -> None:
    told: Any = event(kind)
    getattr(told, kind).file.CopyFrom(blob_pb2.Digest(sha256="0" * 64))
    assert reports.take(told, pass_, in_turns=False)
    assert told.sequence == 0
    assert not getattr(told, kind).HasField("file")


def test_a_phase_that_is_none_is_cleared() -> None:
    told = Event(progress=benchmark_pb2.Progress(phase=99, inferences=3))  # type: ignore[arg-type]
    assert reports.take(told, "", in_turns=False)
    assert told.progress == benchmark_pb2.Progress(inferences=3)
