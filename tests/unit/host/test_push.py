"""What a push makes of errors that come in between. The device is a list of events."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tiny
from edgeopt.agent.v1 import benchmark_pb2, device_pb2
from edgeopt_host import push as module
from edgeopt_host.errors import StoreError, UsageError
from edgeopt_host.inventory import Device
from edgeopt_host.modelfile import ModelFile
from edgeopt_host.observer import Observer
from edgeopt_host.plan import Execution, InputRange, Inputs, Provider
from edgeopt_host.push import Request, push
from edgeopt_host.run import Run

Event = benchmark_pb2.BenchmarkEvent


def events() -> list[Event]:
    block = benchmark_pb2.Samples.Block(latency_ns=[10**6] * 100)
    return [
        Event(progress=benchmark_pb2.Progress(phase=99)),  # type: ignore[arg-type]
        Event(samples=benchmark_pb2.Samples(blocks=[block])),
        Event(result=benchmark_pb2.LaunchResult(timed_ns=10**8)),
        Event(benchmark=benchmark_pb2.Benchmark(state="STATE_SUCCEEDED")),
    ]


class _Agent:
    def __init__(self) -> None:
        self.benchmarks: list[benchmark_pb2.Benchmark] = []
        self.events = events()

    def device(self) -> device_pb2.Device:
        return device_pb2.Device(
            runtimes=[device_pb2.RuntimeFacts(name=name) for name in ("onnx", "tflite")]
        )

    def upload(self, *_: object) -> int:
        return 0

    def run(self, benchmark: benchmark_pb2.Benchmark) -> Iterator[Event]:
        self.benchmarks.append(benchmark)
        yield from self.events


class _Phases(Observer):
    def __init__(self) -> None:
        self.phases: list[str] = []
        self.notices: list[str] = []

    def measuring(self, _device: str, _model: str, phase: str, *_: Any) -> None:
        self.phases.append(phase)

    def notice(self, message: str) -> None:
        self.notices.append(message)


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> dict[str, _Agent]:
    """By device; one that is not there cannot even be connected to, because of a bug."""
    found = {"pi4": _Agent(), "local": _Agent()}

    @contextlib.contextmanager
    def connect(device: Device, **_: object) -> Iterator[_Agent]:
        yield found[device.name]

    monkeypatch.setattr(module, "connect", connect)
    return found


@pytest.fixture
def models(tmp_path: Path) -> list[ModelFile]:
    return [ModelFile.open(tiny.relu(tmp_path / f"{name}.onnx")) for name in "ab"]


def pushed(
    models: list[ModelFile],
    *devices: str,
    request: Request | None = None,
    keep: Callable[[Run], None] = lambda _: None,
    observer: Observer | None = None,
) -> list[Run]:
    bench = [Device(name, "") for name in devices or ("pi4",)]
    return push(models, bench, request or Request(), observer or Observer(), keep)


def reasons(runs: list[Run]) -> list[str | None]:
    return [run.error.reason if run.error else None for run in runs]


def failing(error: Exception, times: int = 1) -> Callable[..., None]:
    left = [error] * times

    def fails(*_: object) -> None:
        if left:
            raise left.pop()

    return fails


@pytest.mark.usefixtures("agents")
def test_a_run_that_cannot_be_stored_keeps_its_figures(models: list[ModelFile]) -> None:
    runs = pushed(models, keep=failing(StoreError("the disk is full")))
    assert reasons(runs) == ["STORE", None]
    assert [run.latency_ms.p50 for run in runs] == [1, 1]
    assert [run.id is None for run in runs] == [True, False]


def test_a_failed_run_that_cannot_be_stored_keeps_its_error(
    agents: dict[str, _Agent], models: list[ModelFile]
) -> None:
    failure = benchmark_pb2.Failure(reason="WORKER_CRASHED", message="SIGSEGV")
    failed = benchmark_pb2.Benchmark(state="STATE_FAILED", failure=failure)
    agents["pi4"].events = [Event(benchmark=failed)]
    observer = _Phases()
    runs = pushed(models, keep=failing(StoreError("the disk is full"), 2), observer=observer)
    assert reasons(runs) == ["WORKER_CRASHED"] * 2
    assert observer.notices == ["the failed run is not stored: the disk is full"] * 2


@pytest.mark.usefixtures("agents")
def test_a_bug_while_storing_keeps_the_figures_too(models: list[ModelFile]) -> None:
    runs = pushed(models, keep=failing(ZeroDivisionError("oops")))
    assert reasons(runs) == ["INTERNAL", None]
    assert (runs[0].id, runs[0].latency_ms.p50) == (None, 1)


def test_a_bug_in_one_model_hides_no_other_result(
    agents: dict[str, _Agent], models: list[ModelFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents["pi4"], "run", failing(ZeroDivisionError("oops"), 2))
    runs = pushed(models, "pi4", "local")
    assert reasons(runs) == ["INTERNAL", "INTERNAL", None, None]
    assert runs[0].error is not None
    assert "a bug in edgeopt: ZeroDivisionError: oops" in runs[0].error.message


@pytest.mark.usefixtures("agents")
def test_a_bug_on_one_device_hides_no_other_devices_results(models: list[ModelFile]) -> None:
    runs = pushed(models, "unknown", "local")
    assert [run.device.name for run in runs] == ["unknown", "unknown", "local", "local"]
    assert reasons(runs) == ["INTERNAL", "INTERNAL", None, None]


@pytest.mark.usefixtures("agents")
def test_an_observer_that_fails_loses_no_result(models: list[ModelFile]) -> None:
    class Failing(Observer):
        def notice(self, message: str) -> None:
            raise ValueError(message)

        def finished(self, run: Run) -> None:
            raise ValueError(run)

    kept: list[Run] = []
    runs = pushed(models, "pi4", "unknown", keep=kept.append, observer=Failing())
    assert reasons(runs) == [None, "INTERNAL", "INTERNAL", "INTERNAL"]
    assert kept == runs[:1]


@pytest.mark.usefixtures("agents")
def test_inputs_that_cannot_be_read_are_wrong_usage(
    models: list[ModelFile], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="cannot read the data file"):
        pushed(models, request=Request(inputs=Inputs(file=tmp_path / "gone.npz")))


@pytest.mark.usefixtures("agents")
def test_a_phase_that_this_host_does_not_know_is_shown_as_unknown(models: list[ModelFile]) -> None:
    observer = _Phases()
    assert reasons(pushed(models, observer=observer)) == [None, None]
    assert set(observer.phases) == {"unknown"}


def test_a_benchmark_without_figures_fails(
    agents: dict[str, _Agent], models: list[ModelFile]
) -> None:
    agents["pi4"].events = [agents["pi4"].events[-1]]
    assert reasons(pushed(models)) == ["NO_RESULT"] * 2


@pytest.mark.usefixtures("agents")
def test_a_run_holds_what_was_asked(models: list[ModelFile], tmp_path: Path) -> None:
    (tmp_path / "in.npz").write_bytes(b"data")
    inputs = Inputs(tmp_path / "in.npz", {"batch": 2}, ranges=[InputRange(0, 1)])
    execution = Execution(providers=[Provider("X", "onnx", {"key": "value"})])
    run = pushed(models, request=Request(execution=execution, inputs=inputs))[0]
    assert run.request is not None
    assert run.document()["request"] == run.request
    assert run.request["plan"]["launches"] == 3
    assert run.request["execution"]["providers"] == [
        {"name": "X", "runtime": "onnx", "options": {"key": "value"}}
    ]
    asked = run.request["inputs"]
    assert asked["file"]["size_bytes"] == 4
    assert asked["ranges"] == [{"low": 0, "high": 1, "name": None}]
    assert (asked["dimensions"], asked["seed"]) == ({"batch": 2}, 0)
    assert run.model.files[0].sha256 == run.model.sha256


def test_a_delegates_file_is_found_by_the_local_agent_wherever_it_runs(
    agents: dict[str, _Agent],
    models: list[ModelFile],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lib.so").touch()
    providers = [Provider("lib.so", "tflite"), Provider("libelsewhere.so", "tflite")]
    model = ModelFile(models[0].path, "tflite", models[0].digest)
    request = Request(execution=Execution(providers=providers))
    pushed([model], "local", "pi4", request=request)
    for name, first in (("local", str(tmp_path / "lib.so")), ("pi4", "lib.so")):
        (benchmark,) = agents[name].benchmarks
        sent = [provider.name for provider in benchmark.subjects[0].providers]
        assert sent == [first, "libelsewhere.so"]
