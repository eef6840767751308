"""Pushes models to devices: upload, run, collect. Devices work in parallel, each on one model."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeopt.agent.v1 import benchmark_pb2, blob_pb2, device_pb2
from edgeopt_host import _enums, collect
from edgeopt_host.client import Agent, connect
from edgeopt_host.errors import Cancelled, DeviceError, EdgeoptError, Unreachable, UsageError
from edgeopt_host.inventory import Device
from edgeopt_host.modelfile import FORMATS, Digest, ModelFile
from edgeopt_host.observer import Observer
from edgeopt_host.plan import Execution, Inputs, Plan, Provider, document
from edgeopt_host.run import Device as RunDevice
from edgeopt_host.run import Energy, Failure, File, Model, Run, RuntimeUsed
from edgeopt_host.store import new_id


@dataclass(frozen=True)
class Request:
    """Everything about a push besides which models go to which devices."""

    plan: Plan = field(default_factory=Plan)
    execution: Execution = field(default_factory=Execution)
    inputs: Inputs = field(default_factory=Inputs)
    profile: bool = False
    energy: bool = False
    outputs: Path | None = None
    labels: dict[str, str] = field(default_factory=dict)
    command: str = ""


def push(
    models: Sequence[ModelFile],
    devices: Sequence[Device],
    request: Request,
    observer: Observer,
    keep: Callable[[Run], None],
) -> list[Run]:
    """Measures every model on every device.

    Args:
        models: to be measured, in this order on each device.
        devices: from the inventory.
        request: how.
        observer: told what happens, from several threads.
        keep: given each run as soon as it has ended, from one thread at a time.

    Returns:
        One run per device and model, in that order. What failed carries its error; one that could
        not be kept has its figures and no id.

    Raises:
        UsageError: when the request fits none of the models, or its inputs cannot be read.
        Cancelled: after Ctrl-C, when the devices have been told.
    """
    check(models, devices, request)
    inputs = _digest_of_inputs(request.inputs)
    lock = threading.Lock()

    def keep_one(run: Run) -> None:
        with lock:
            keep(run)

    workers = [_Worker(device, models, request, inputs, observer, keep_one) for device in devices]
    with ThreadPoolExecutor(len(workers)) as pool:
        futures: list[Future[list[Run]]] = [pool.submit(worker.run) for worker in workers]
        try:
            wait(futures)
        except KeyboardInterrupt:
            for worker in workers:
                worker.cancel()
            wait(futures)
            raise Cancelled(_cancelled_message(workers)) from None
    return [run for future in futures for run in future.result()]


def check(models: Sequence[ModelFile], devices: Sequence[Device], request: Request) -> None:
    """Raises UsageError when options and models do not go together."""
    execution = request.execution
    runtimes = {model: _runtime(execution, model) for model in models if not model.fault}
    for model, runtime in runtimes.items():
        if runtime in FORMATS and runtime != model.format:
            raise UsageError(
                f"{model.name} holds a {model.format} model, which --runtime {runtime} cannot execute"
            )
    tied = {
        "--provider": (bool(_providers(execution, "onnx")), "onnx"),
        "--graph-opt": (bool(execution.graph_optimization), "onnx"),
        "--delegate": (bool(_providers(execution, "tflite")), "tflite"),
        "--no-xnnpack": (not execution.xnnpack, "tflite"),
        "--quantized-engine": (bool(execution.quantized_engine), "ptl"),
    }
    for option, (given, format_) in tied.items():
        if given and runtimes and format_ not in runtimes.values():
            raise UsageError(f"{option} is for {format_} models, and none is among those given")
    if request.outputs is not None and len(models) * len(devices) != 1:
        raise UsageError("--outputs takes the outputs of one model on one device; give one of each")
    if request.outputs is not None:
        if not request.outputs.absolute().parent.is_dir():
            raise UsageError(f"cannot write {request.outputs}: its folder does not exist")
        if request.outputs.is_dir():
            raise UsageError(f"cannot write {request.outputs}: it is a folder; name a file in it")
    try:
        request.plan.message()
        request.inputs.message()
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"a setting of the plan or the inputs is no such number: {error}"
        ) from error


def _digest_of_inputs(inputs: Inputs) -> Digest | None:
    if inputs.file is None:
        return None
    try:
        return Digest.of(inputs.file)
    except OSError as error:
        raise UsageError(f"cannot read the data file {inputs.file}: {error.strerror}") from error


class _Worker:
    """One device's share of a push, in a thread of its own."""

    def __init__(
        self,
        device: Device,
        models: Sequence[ModelFile],
        request: Request,
        inputs: Digest | None,
        observer: Observer,
        keep: Callable[[Run], None],
    ) -> None:
        self.device = device
        self.cancelled_running = False
        self._models = models
        self._request = request
        self._inputs = inputs
        self._observer = observer
        self._keep = keep
        self._agent: Agent | None = None
        self._stop = threading.Event()

    def cancel(self) -> None:
        self._stop.set()
        if self._agent is not None:
            self._agent.cancel()

    def run(self) -> list[Run]:
        """The device's runs, one per model; an error that ends all of them stands in each."""
        runs: list[Run] = []
        try:
            self._run_all(runs)
        except Cancelled:
            return runs
        except Exception as error:  # noqa: BLE001 - the other devices' runs must not go with it
            failure = error if isinstance(error, EdgeoptError) else _internal(error)
            for model in self._models[len(runs) :]:
                runs.append(self._new_run(model, model.fault or failure))
                # It may be the observer that fails.
                with contextlib.suppress(Exception):
                    self._observer.finished(runs[-1])
        return runs

    def _run_all(self, runs: list[Run]) -> None:
        with contextlib.ExitStack() as stack:
            if not all(model.fault for model in self._models):
                self._observer.connecting(self.device.name)
                self._agent = agent = stack.enter_context(
                    connect(self.device, on_wait=self._observer.notice, stop=self._stop)
                )
                facts = agent.device()
            for model in self._models:
                if self._stop.is_set():
                    break
                # What never reached the device is an error to show, not a run to keep.
                runs.append(
                    self._new_run(model, model.fault)
                    if model.fault
                    else self._measure(agent, facts, model)
                )
                self._observer.finished(runs[-1])
                if runs[-1].error and runs[-1].error.reason == Unreachable.reason:
                    # Whoever has been silent for that long will not take the next model either.
                    raise Unreachable(runs[-1].error.message)

    def _measure(self, agent: Agent, facts: device_pb2.Device, model: ModelFile) -> Run:
        run = self._new_run(model)
        try:
            self._fill(run, agent, facts, model)
        except Cancelled:
            raise
        except Exception as error:  # noqa: BLE001 - the other models' runs must not go with it
            failure = _internal(error)
            run.error = Failure(failure.reason, failure.message)
        return run

    def _fill(self, run: Run, agent: Agent, facts: device_pb2.Device, model: ModelFile) -> None:
        run.device = collect.device(self.device.name, facts)
        run.energy = _energy(facts, requested=self._request.energy)
        events: list[benchmark_pb2.BenchmarkEvent] = []
        error: EdgeoptError | None = None
        try:
            _check_runtime(run.runtime.name, facts)
            self._upload(agent, model)
            for event in agent.run(self._benchmark(model)):
                events.append(event)
                self._show(model, event)
        except Cancelled:
            self.cancelled_running = True
            raise
        except EdgeoptError as raised:
            error = raised
        collected = collect.collect(events)
        collect.fill(run, collected, facts)
        try:
            self._save_outputs(agent, collected.outputs)
        except EdgeoptError as raised:
            error = error or raised
        if error is not None:
            run.error = Failure(error.reason, error.message)
        if events:
            self._store(run)

    def _store(self, run: Run) -> None:
        """Keeps a run; one that cannot be kept still has its figures to be shown."""
        run.id = new_id()
        try:
            self._keep(run)
        except EdgeoptError as error:
            run.id = None
            if run.error is None:
                run.error = Failure(error.reason, error.message)
            else:
                self._observer.notice(f"the failed run is not stored: {error.message}")
        except BaseException:
            run.id = None
            raise

    def _save_outputs(self, agent: Agent, outputs: blob_pb2.Digest | None) -> None:
        if self._request.outputs is None or outputs is None:
            return
        try:
            agent.download(outputs, self._request.outputs)
        except OSError as error:
            raise EdgeoptError(
                f"cannot write the outputs to {self._request.outputs}: {error.strerror}",
                "OUTPUTS_NOT_WRITTEN",
            ) from error

    def _upload(self, agent: Agent, model: ModelFile) -> None:
        """Sends the model's files and the inputs."""
        files = [
            (model.path, model.digest),
            *((path, digest) for _, path, digest in model.companions),
        ]
        inputs = self._request.inputs.file
        if inputs is not None and self._inputs is not None:
            files.append((inputs, self._inputs))
        total = sum(digest.size_bytes for _, digest in files)
        done = sent = 0
        started = time.monotonic()
        for path, digest in files:

            def report(bytes_done: int, before: int = done) -> None:
                self._observer.uploading(self.device.name, model.name, before + bytes_done, total)

            sent += agent.upload(path, digest, report)
            done += digest.size_bytes
        self._observer.uploaded(self.device.name, model.name, sent, time.monotonic() - started)

    def _benchmark(self, model: ModelFile) -> benchmark_pb2.Benchmark:
        request = self._request
        execution = request.execution
        runtime = _runtime(execution, model)
        subject = benchmark_pb2.Subject(
            runtime=runtime,
            threads=execution.threads or 0,
            disable_xnnpack=runtime == "tflite" and not execution.xnnpack,
            graph_optimization=(execution.graph_optimization or "") if runtime == "onnx" else "",
            quantized_engine=(execution.quantized_engine or "") if runtime == "ptl" else "",
            inputs=request.inputs.message(),
        )
        if self._inputs is not None:
            subject.inputs.file.CopyFrom(_digest(self._inputs))
        for name, digest in _files(model):
            subject.files.add(name=name, digest=_digest(digest))
        for provider in _providers(execution, runtime):
            subject.providers.add(name=self._on_device(provider), options=provider.options)
        plan = request.plan.message()
        plan.profile = request.profile
        plan.outputs = request.outputs is not None
        return benchmark_pb2.Benchmark(subjects=[subject], plan=plan)

    def _on_device(self, provider: Provider) -> str:
        """A provider's name there: the local agent does not run in the user's folder."""
        path = Path(provider.name)
        if self.device.name == "local" and provider.runtime == "tflite" and path.is_file():
            return str(path.absolute())
        return provider.name

    def _show(self, model: ModelFile, event: benchmark_pb2.BenchmarkEvent) -> None:
        if event.HasField("progress"):
            phase = _enums.name(benchmark_pb2.Progress.Phase, event.progress.phase, "PHASE_")
            self._observer.measuring(
                self.device.name,
                model.name,
                phase.replace("_", " "),
                event.launch,
                self._request.plan.launches,
                event.progress.fraction,
            )

    def _asked(self) -> dict[str, Any]:
        """What every run of this push is asked for, as its document shows it."""
        request = self._request
        inputs = document(request.inputs)
        inputs["file"] = document(self._inputs)
        inputs["seed"] = request.inputs.message().seed
        return {
            "plan": document(request.plan),
            "execution": document(request.execution),
            "inputs": inputs,
            "profile": request.profile,
            "energy": request.energy,
            "outputs": request.outputs is not None,
        }

    def _new_run(self, model: ModelFile, error: EdgeoptError | None = None) -> Run:
        execution = self._request.execution
        return Run(
            id=None,
            time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            command=self._request.command,
            model=Model(
                model.name,
                model.digest.sha256,
                model.size_bytes,
                model.format,
                [File(name, digest.sha256, digest.size_bytes) for name, digest in _files(model)],
            ),
            device=RunDevice(self.device.name),
            runtime=RuntimeUsed(_runtime(execution, model)),
            labels=dict(self._request.labels),
            error=None if error is None else Failure(error.reason, error.message),
            request=self._asked(),
        )


def _internal(error: Exception) -> EdgeoptError:
    return EdgeoptError(
        f"internal error, a bug in edgeopt: {type(error).__name__}: {error}", "INTERNAL"
    )


def _files(model: ModelFile) -> list[tuple[str, Digest]]:
    """Names and digests, the main file first."""
    # The main file's name is told to nobody but the worker; protobuf takes no undecodable bytes.
    name = model.name.encode("utf-8", "replace").decode()
    return [(name, model.digest), *((name, digest) for name, _, digest in model.companions)]


def _providers(execution: Execution, runtime: str) -> list[Provider]:
    """Those that mean something to this runtime: a delegate is a library, a provider a name."""
    return [p for p in execution.providers if p.runtime == runtime]


def _runtime(execution: Execution, model: ModelFile) -> str:
    return execution.runtime or model.format or ""


def _check_runtime(name: str, facts: device_pb2.Device) -> None:
    """Refuses before anything is sent what the device has said it cannot execute."""
    runtimes = {runtime.name: runtime.unavailable_reason for runtime in facts.runtimes}
    if name not in runtimes:
        raise DeviceError(
            f"the device knows no runtime called {name!r}; --runtime takes {', '.join(runtimes)}",
            "RUNTIME_UNAVAILABLE",
        )
    if reason := runtimes[name]:
        raise DeviceError(f"{name} does not work on the device: {reason}", "RUNTIME_UNAVAILABLE")


def _portable(name: str) -> str:
    """A file's name as protobuf takes it, which knows no undecodable bytes."""
    return name.encode("utf-8", "replace").decode()


def _digest(digest: Digest) -> blob_pb2.Digest:
    return blob_pb2.Digest(sha256=digest.sha256, size_bytes=digest.size_bytes)


def _energy(facts: device_pb2.Device, *, requested: bool) -> Energy:
    if not requested:
        return Energy()
    quantity = device_pb2.SensorChannel
    wanted = {quantity.QUANTITY_POWER_MW, quantity.QUANTITY_ENERGY_MJ}
    found = [s.name for s in facts.sensors if wanted & {c.quantity for c in s.channels}]
    if found:
        reason = (
            f"{', '.join(found)} can be sampled, but this release does not compute energy from it"
        )
    else:
        reason = "the device has no power sensor (see edgeopt-host device info)"
    return Energy("unavailable", reason)


def _cancelled_message(workers: Iterable[_Worker]) -> str:
    names = [worker.device.name for worker in workers if worker.cancelled_running]
    return f"cancelled on {', '.join(names)}" if names else "cancelled before anything ran"
