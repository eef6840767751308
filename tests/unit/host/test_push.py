"""What a push makes of errors that come in between. The device is a list of events, the store real."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from edgeopt.agent.v1 import agent_pb2, benchmark_pb2, device_pb2
from edgeopt_host import device_push as module
from edgeopt_host.data import LabelledData
from edgeopt_host.errors import (
    Cancelled,
    DeviceError,
    OutcomeUnknown,
    StoreError,
    Unreachable,
    UsageError,
)
from edgeopt_host.inventory import Device
from edgeopt_host.looks import Answer
from edgeopt_host.modelfile import Digest, ModelFile
from edgeopt_host.observer import Observer
from edgeopt_host.plan import Execution, InputRange, Inputs, Plan, Provider, StartCondition
from edgeopt_host.push import Request, push
from edgeopt_host.run import Run
from edgeopt_host.store import PendingRun, RunStore

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
        self.asked: list[benchmark_pb2.Benchmark] = []
        self.events = events()
        self.acknowledged: list[str] = []
        self.forgotten: list[str] = []
        self.listens = True
        self.features: list[str] = []

    def status(self) -> agent_pb2.GetStatusResponse:
        return agent_pb2.GetStatusResponse()

    def device(self) -> device_pb2.Device:
        return device_pb2.Device(
            runtimes=[device_pb2.RuntimeFacts(name=name) for name in ("onnx", "tflite")],
            features=self.features,
        )

    def upload(self, *_: object) -> int:
        return 0

    def create(self, asked: benchmark_pb2.Benchmark, request_id: str, **_: object) -> str:
        self.asked.append(asked)
        return f"benchmarks/{request_id}"

    def watch(self, _: str) -> Iterator[Event]:
        yield from self.events

    def acknowledge(self, name: str) -> bool:
        self.acknowledged.append(name)
        return True

    def forget(self, name: str) -> bool:
        self.forgotten.append(name)
        return self.listens

    def benchmarks(self) -> list[benchmark_pb2.Benchmark]:
        return []


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


class _Store(RunStore):
    """Fails where it is told to."""

    def finish(self, pending: PendingRun) -> None:
        self.fail(pending.run)
        super().finish(pending)


def pushed(
    models: list[ModelFile],
    *devices: str,
    request: Request | None = None,
    fail: Callable[[Run], None] = lambda _: None,
    observer: Observer | None = None,
) -> list[Run]:
    bench = [Device(name, "") for name in devices or ("pi4",)]
    with _Store.open() as store:
        store.fail = fail  # type: ignore[attr-defined]
        return push(models, bench, request or Request(), observer or Observer(), store)


def stored() -> list[str | None]:
    with RunStore.open() as store:
        return sorted(run.id or "" for run in store.list())


def owed() -> list[str | None]:
    with RunStore.open() as store:
        return [pending.run.id for pending in store.pending()]


def reasons(runs: list[Run]) -> list[str | None]:
    return [run.error.reason if run.error else None for run in runs]


def failing(error: Exception, times: int = 1) -> Callable[..., None]:
    left = [error] * times

    def fails(*_: object, **__: object) -> None:
        if left:
            raise left.pop()

    return fails


def test_a_run_that_cannot_be_stored_keeps_its_figures(
    agents: dict[str, _Agent], models: list[ModelFile]
) -> None:
    runs = pushed(models, fail=failing(StoreError("the disk is full")))
    assert reasons(runs) == ["STORE", None]
    assert [run.latency_ms.p50 for run in runs] == [1, 1]
    assert [run.id is None for run in runs] == [True, False]
    # The device keeps what is not stored.
    assert (len(owed()), stored()) == (1, [runs[1].id])
    assert len(agents["pi4"].acknowledged) == 1


def test_a_run_is_stored_before_the_device_may_forget_it(
    agents: dict[str, _Agent], models: list[ModelFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    for name in ("create", "acknowledge"):
        real = getattr(agents["pi4"], name)

        def spying(*given: Any, real: Any = real, **more: Any) -> Any:
            seen.append((len(owed()), len(stored())))
            return real(*given, **more)

        monkeypatch.setattr(agents["pi4"], name, spying)
    runs = pushed(models[:1])
    assert seen == [(1, 0), (0, 1)]
    assert stored() == [runs[0].id]
    assert agents["pi4"].acknowledged[0].startswith(f"benchmarks/{runs[0].id}-")


@pytest.mark.parametrize(
    ("call", "error", "shown", "left"),
    [
        ("create", Unreachable("silent"), "UNREACHABLE", 1),
        ("create", DeviceError("full", "QUEUE_FULL"), "QUEUE_FULL", 0),
        ("create", DeviceError("full", "STORAGE_FULL"), "STORAGE_FULL", 0),
        ("create", OutcomeUnknown("full", "STORAGE_FULL"), "STORAGE_FULL", 1),
        ("watch", Unreachable("silent"), "UNREACHABLE", 1),
        ("watch", DeviceError("the agent failed", "INTERNAL"), "INTERNAL", 1),
    ],
)
def test_what_a_device_may_still_have_stays_pending(
    agents: dict[str, _Agent],
    models: list[ModelFile],
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    error: DeviceError,
    shown: str,
    left: int,
) -> None:
    monkeypatch.setattr(agents["pi4"], call, failing(error))
    run = pushed(models[:1])[0]
    assert run.error is not None
    assert (run.id, run.error.reason) == (None, shown)
    assert ("`edgeopt-host runs resume`" in run.error.message) == bool(left)
    assert (len(owed()), stored()) == (left, [])


def test_a_silent_device_owes_the_model_it_had_and_no_other(
    agents: dict[str, _Agent], models: list[ModelFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents["pi4"], "watch", failing(Unreachable("silent")))
    first, second = pushed(models)
    assert reasons([first, second]) == ["UNREACHABLE"] * 2
    assert second.error is not None
    assert second.error.message == "silent"
    assert len(owed()) == 1


def test_a_result_that_the_device_has_lost_is_a_failed_run(
    agents: dict[str, _Agent], models: list[ModelFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = DeviceError("it is not there", "RESULT_LOST")
    monkeypatch.setattr(agents["pi4"], "watch", failing(lost))
    run = pushed(models[:1])[0]
    assert (reasons([run]), stored(), owed()) == (["RESULT_LOST"], [run.id], [])


@pytest.mark.parametrize("listens", [True, False])
def test_what_is_cancelled_is_forgotten_once_the_device_knows(
    agents: dict[str, _Agent],
    models: list[ModelFile],
    monkeypatch: pytest.MonkeyPatch,
    listens: bool,
) -> None:
    agents["pi4"].listens = listens
    monkeypatch.setattr(agents["pi4"], "watch", failing(Cancelled("by the user")))
    assert pushed(models) == []
    assert len(agents["pi4"].forgotten) == 1
    with RunStore.open() as store:
        assert [pending.cancelled for pending in store.pending()] == [True] * (not listens)


def test_a_device_is_not_asked_for_what_could_not_be_written_down(
    agents: dict[str, _Agent], models: list[ModelFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Store, "begin", failing(StoreError("the disk is full"), 2))
    assert reasons(pushed(models)) == ["STORE"] * 2
    assert agents["pi4"].asked == []


def test_a_failed_run_that_cannot_be_stored_keeps_its_error(
    agents: dict[str, _Agent], models: list[ModelFile]
) -> None:
    failure = benchmark_pb2.Failure(reason="WORKER_CRASHED", message="SIGSEGV")
    failed = benchmark_pb2.Benchmark(state="STATE_FAILED", failure=failure)
    agents["pi4"].events = [Event(benchmark=failed)]
    observer = _Phases()
    runs = pushed(models, fail=failing(StoreError("the disk is full"), 2), observer=observer)
    assert reasons(runs) == ["WORKER_CRASHED"] * 2
    assert observer.notices == ["the failed run is not stored: the disk is full"] * 2


@pytest.mark.usefixtures("agents")
def test_a_bug_while_storing_keeps_the_figures_too(models: list[ModelFile]) -> None:
    runs = pushed(models, fail=failing(ZeroDivisionError("oops")))
    assert reasons(runs) == ["INTERNAL", None]
    assert (runs[0].id, runs[0].latency_ms.p50) == (None, 1)


def test_a_bug_in_one_model_hides_no_other_result(
    agents: dict[str, _Agent], models: list[ModelFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents["pi4"], "watch", failing(ZeroDivisionError("oops"), 2))
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

    runs = pushed(models, "pi4", "unknown", observer=Failing())
    assert reasons(runs) == [None, "INTERNAL", "INTERNAL", "INTERNAL"]
    assert stored() == [runs[0].id]


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
        (benchmark,) = agents[name].asked
        sent = [provider.name for provider in benchmark.subjects[0].providers]
        assert sent == [first, "libelsewhere.so"]


FEATURES: dict[str, dict[str, Any]] = {
    "comparisons": {"paired": True},
    "load_shapes": {"plan": Plan(batch=2)},
    "sustained": {"plan": Plan().sustained(60)},
    "start_condition": {"plan": Plan(start=StartCondition())},
    "looks": {"judge": lambda _: Answer.CONTINUE},
    "energy": {"energy": True},
    "evaluation": {},
}


def asking_for(feature: str, folder: Path) -> Request:
    request = Request(**FEATURES[feature])
    if feature != "evaluation":
        return request
    np.savez(folder / "data.npz", x_test=np.zeros((2, 4), np.float32), y_test=np.arange(2))
    return replace(request, data=LabelledData.open(folder / "data.npz"))


@pytest.mark.parametrize("feature", FEATURES)
def test_what_an_old_agent_would_ignore_is_refused_before_anything_is_sent(
    agents: dict[str, _Agent],
    models: list[ModelFile],
    tmp_path: Path,
    feature: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = agents["pi4"]
    sent: list[object] = []

    def upload(*file: object) -> int:
        sent.append(file)
        return 0

    monkeypatch.setattr(agent, "upload", upload)
    request = asking_for(feature, tmp_path)
    # Waiting for a condition asks for looks as well.
    agent.features = [name for name in FEATURES if name != feature]
    runs = pushed(models, request=request)
    assert reasons(runs) == ["AGENT_TOO_OLD"] * 2
    for run in runs:
        assert run.error is not None
        assert f"lacks {feature} and" in run.error.message
        assert "update edgeopt on the device" in run.error.message
    assert (sent, agent.asked) == ([], [])
    agent.features = []
    assert reasons(pushed(models, request=request)) == ["AGENT_TOO_OLD"] * 2
    agent.features = list(FEATURES)
    pushed(models, request=request)
    assert agent.asked


@pytest.mark.parametrize("plan", [Plan(), Plan().quick(), Plan(batch=1, streams=1)])
def test_a_plain_push_needs_no_feature(
    agents: dict[str, _Agent], models: list[ModelFile], plan: Plan
) -> None:
    agents["pi4"].features = []
    assert reasons(pushed(models, request=Request(plan=plan))) == [None, None]


@pytest.mark.parametrize("plan", [Plan(streams=2), Plan().paced(5)])
def test_other_shapes_of_load_need_it_too(
    agents: dict[str, _Agent], models: list[ModelFile], plan: Plan
) -> None:
    agents["pi4"].features = ["looks"]
    assert reasons(pushed(models, request=Request(plan=plan))) == ["AGENT_TOO_OLD"] * 2


def test_energy_that_an_old_agent_cannot_measure_says_why(
    agents: dict[str, _Agent], models: list[ModelFile]
) -> None:
    agents["pi4"].features = []
    (run, _) = pushed(models, request=Request(energy=True))
    assert run.energy.status == "unavailable"
    assert run.energy.reason == "the agent is too old; update edgeopt on the device"


def test_labels_do_not_leave_the_host(
    agents: dict[str, _Agent],
    models: list[ModelFile],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = agents["pi4"]
    agent.features = list(FEATURES)
    sent: dict[Digest, list[str]] = {}

    def upload(path: Path, digest: Digest, _: object) -> int:
        if path.suffix == ".npz":
            assert Digest.of(path) == digest
            with np.load(path) as archive:
                sent[digest] = archive.files
        return 0

    monkeypatch.setattr(agent, "upload", upload)
    request = asking_for("evaluation", tmp_path)
    (run, _) = pushed(models, request=request)
    assert list(sent.values()) == [["x_test"]]
    (digest,) = sent
    assert agent.asked[0].plan.evaluation_data.sha256 == digest.sha256
    # The run tells the user's file.
    assert run.request is not None
    assert run.request["data"]["sha256"] == Digest.of(tmp_path / "data.npz").sha256


def test_results_of_an_agent_of_the_first_release_are_figures(
    agents: dict[str, _Agent], models: list[ModelFile]
) -> None:
    """Blocks without durations, CPU time and rounds; launches without streams."""
    agents["pi4"].features = []
    (run, _) = pushed(models)
    assert run.error is None
    assert run.latency_ms.p50 == 1.0
    assert run.throughput_per_s is not None
    (launch,) = run.launches
    assert launch.timed_ns == 10**8
