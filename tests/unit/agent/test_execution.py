"""Passes of a benchmark: what lies beside a worker, and what is left when one is cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from edgeopt.agent.v1 import agent_pb2, benchmark_pb2, blob_pb2
from edgeopt_agent import execution
from edgeopt_agent.blobs import BlobStore
from edgeopt_agent.execution import Execution
from edgeopt_agent.sensors import Channel, Found, Quantity, Sensor

MINUTE = 60 * 10**9


class Meter(Sensor):
    channels = (Channel("meter", Quantity.POWER_MW),)
    closed = 0

    @classmethod
    def discover(cls, root: Path) -> Meter:
        del root
        return cls()

    def read(self) -> list[float]:
        return [1000.0]

    def close(self) -> None:
        Meter.closed += 1


@pytest.fixture(autouse=True)
def meter(monkeypatch: pytest.MonkeyPatch) -> type[Meter]:
    monkeypatch.setattr(Meter, "closed", 0)
    monkeypatch.setattr("edgeopt_agent.sensors.discover", lambda _: [Found("meter", Meter())])
    return Meter


def samplers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("power-")]


def execution_of(folder: Path, plan: benchmark_pb2.Plan, blobs: BlobStore) -> Execution:
    async def keep(_: object) -> None:
        pass

    async def with_room(attempt: Callable[[], Awaitable[None]]) -> None:
        await attempt()

    plan.timeout_ns = MINUTE
    benchmark = benchmark_pb2.Benchmark(subjects=[benchmark_pb2.Subject()], plan=plan)
    return Execution(
        benchmark, folder / "job", folder, blobs, frozenset(), lambda _: None, keep, with_room
    )


def worker(monkeypatch: pytest.MonkeyPatch, does: Callable[[str], Awaitable[None]]) -> None:
    """A stand-in for worker processes; it reports what its pass is for."""

    async def run(*arguments: Any, kind: str = "", **_: object) -> None:
        on_event = arguments[3]
        await does(kind)
        if kind == "evaluate":
            told = benchmark_pb2.Predictions(unavailable_reason="none")
            event = benchmark_pb2.BenchmarkEvent(predictions=told)
            on_event(agent_pb2.WatchBenchmarkResponse(event=event))

    monkeypatch.setattr(execution, "run_worker", run)


def energy() -> benchmark_pb2.Plan:
    return benchmark_pb2.Plan(energy=benchmark_pb2.EnergyPlan(windows=1))


def test_a_cancelled_energy_pass_samples_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meter: type[Meter]
) -> None:
    at_work = asyncio.Event()

    async def hangs(_: str) -> None:
        assert samplers() == ["power-meter"]
        at_work.set()
        await asyncio.sleep(60)

    async def cancelled() -> None:
        task = asyncio.create_task(execution_of(tmp_path, energy(), BlobStore(tmp_path, 1)).run())
        await at_work.wait()
        task.cancel()
        await task

    worker(monkeypatch, hangs)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert samplers() == []
    assert meter.closed == 1


@pytest.mark.filterwarnings("error")
def test_a_pass_that_is_cancelled_while_sensors_are_opened_samples_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meter: type[Meter]
) -> None:
    opening, go_on = threading.Event(), threading.Event()

    def discover(_: object) -> list[Found]:
        opening.set()
        assert go_on.wait(30)
        return [Found("meter", Meter())]

    async def never(_: str) -> None:
        raise AssertionError

    async def cancelled() -> None:
        task = asyncio.create_task(execution_of(tmp_path, energy(), BlobStore(tmp_path, 1)).run())
        assert await asyncio.to_thread(opening.wait, 30)
        task.cancel()
        go_on.set()
        await task

    monkeypatch.setattr("edgeopt_agent.sensors.discover", discover)
    worker(monkeypatch, never)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert samplers() == []
    assert meter.closed == 1


@pytest.mark.filterwarnings("error")
def test_a_sampler_that_cannot_begin_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meter: type[Meter]
) -> None:
    def fails(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def never(_: str) -> None:
        raise AssertionError

    monkeypatch.setattr("edgeopt_agent.power._Series.start", fails)
    worker(monkeypatch, never)
    with pytest.raises(RuntimeError, match="new thread"):
        asyncio.run(execution_of(tmp_path, energy(), BlobStore(tmp_path, 1)).run())
    assert meter.closed == 1


def test_labelled_examples_lie_beside_the_pass_that_evaluates_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = BlobStore(tmp_path, 2**20)
    source = tmp_path / "examples"
    source.write_bytes(b"examples")
    digest = blobs.add(source)
    plan = energy()
    plan.launches, plan.profile, plan.outputs = 1, True, False
    plan.evaluation_data.CopyFrom(
        blob_pb2.Digest(sha256=digest.sha256, size_bytes=digest.size_bytes)
    )
    seen: dict[str, bool] = {}
    data = tmp_path / "job" / "data.npz"

    async def looks(kind: str) -> None:
        seen[kind] = data.exists()

    worker(monkeypatch, looks)
    asyncio.run(execution_of(tmp_path, plan, blobs).run())
    assert seen == {"": False, "energy": False, "profile": False, "evaluate": True}
    assert not data.exists()
