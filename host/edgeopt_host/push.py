"""Pushes models to devices: upload, run, collect. Devices work in parallel, each on one model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from edgeopt.agent.v1 import benchmark_pb2, blob_pb2, device_pb2
from edgeopt_host import collect
from edgeopt_host.client import Agent, connect
from edgeopt_host.errors import Cancelled, DeviceError, EdgeoptError, UsageError
from edgeopt_host.inventory import Device
from edgeopt_host.modelfile import FORMATS, Digest, ModelFile
from edgeopt_host.observer import Observer
from edgeopt_host.plan import Execution, Inputs, Plan, Provider
from edgeopt_host.run import Device as RunDevice
from edgeopt_host.run import Energy, Failure, Model, Run, RuntimeUsed
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
        One run per device and model, in that order. What failed carries its error.

    Raises:
        UsageError: when the request fits none of the models.
        Cancelled: after Ctrl-C, when the devices have been told.
    """
    check(models, devices, request)
    lock = threading.Lock()

    def keep_one(run: Run) -> None:
        with lock:
            keep(run)

    workers = [_Worker(device, models, request, observer, keep_one) for device in devices]
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
    }
    for option, (given, format_) in tied.items():
        if given and runtimes and format_ not in runtimes.values():
            raise UsageError(f"{option} is for {format_} models, and none is among those given")
    if request.outputs is not None and len(models) * len(devices) != 1:
        raise UsageError("--outputs takes the outputs of one model on one device; give one of each")
    if request.outputs is not None and not request.outputs.absolute().parent.is_dir():
        raise UsageError(f"cannot write {request.outputs}: its folder does not exist")


class _Worker:
    """One device's share of a push, in a thread of its own."""

    def __init__(
        self,
        device: Device,
        models: Sequence[ModelFile],
        request: Request,
        observer: Observer,
        keep: Callable[[Run], None],
    ) -> None:
        self.device = device
        self.cancelled_running = False
        self._models = models
        self._request = request
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
            if all(model.fault for model in self._models):
                return [self._failed(model, model.fault) for model in self._models if model.fault]
            self._observer.connecting(self.device.name)
            with connect(self.device, on_wait=self._observer.notice) as agent:
                self._agent = agent
                facts = agent.device()
                for model in self._models:
                    if self._stop.is_set():
                        break
                    if model.fault:
                        runs.append(self._failed(model, model.fault))
                    else:
                        runs.append(self._measure(agent, facts, model))
        except Cancelled:
            return runs
        except EdgeoptError as error:
            runs += [
                self._failed(model, model.fault or error) for model in self._models[len(runs) :]
            ]
        return runs

    def _failed(self, model: ModelFile, error: EdgeoptError) -> Run:
        """What never reached the device is an error to show, not a run to keep."""
        run = self._new_run(model)
        run.error = Failure(error.reason, error.message)
        self._observer.finished(run)
        return run

    def _measure(self, agent: Agent, facts: device_pb2.Device, model: ModelFile) -> Run:
        run = self._new_run(model)
        run.device = collect.device(self.device.name, facts)
        run.energy = _energy(facts, requested=self._request.energy)
        events: list[benchmark_pb2.BenchmarkEvent] = []
        error: EdgeoptError | None = None
        try:
            _check_runtime(run.runtime.name, facts)
            benchmark = self._benchmark(model, self._upload(agent, model))
            for event in agent.run(benchmark):
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
            run.id = new_id()
            self._keep(run)
        self._observer.finished(run)
        return run

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

    def _upload(self, agent: Agent, model: ModelFile) -> blob_pb2.Digest | None:
        """Sends the model's files and the inputs; returns the inputs' digest."""
        files = [
            (model.path, model.digest),
            *((path, digest) for _, path, digest in model.companions),
        ]
        inputs = self._request.inputs.file
        inputs_digest = Digest.of(inputs) if inputs is not None else None
        if inputs is not None and inputs_digest is not None:
            files.append((inputs, inputs_digest))
        total = sum(digest.size_bytes for _, digest in files)
        done = sent = 0
        started = time.monotonic()
        for path, digest in files:

            def report(bytes_done: int, before: int = done) -> None:
                self._observer.uploading(self.device.name, model.name, before + bytes_done, total)

            sent += agent.upload(path, digest, report)
            done += digest.size_bytes
        self._observer.uploaded(self.device.name, model.name, sent, time.monotonic() - started)
        return None if inputs_digest is None else _digest(inputs_digest)

    def _benchmark(
        self, model: ModelFile, inputs: blob_pb2.Digest | None
    ) -> benchmark_pb2.Benchmark:
        request = self._request
        execution = request.execution
        runtime = _runtime(execution, model)
        subject = benchmark_pb2.Subject(
            runtime=runtime,
            threads=execution.threads or 0,
            disable_xnnpack=runtime == "tflite" and not execution.xnnpack,
            graph_optimization=(execution.graph_optimization or "") if runtime == "onnx" else "",
            inputs=request.inputs.message(),
        )
        if inputs is not None:
            subject.inputs.file.CopyFrom(inputs)
        for name, digest in [(model.name, model.digest), *((n, d) for n, _, d in model.companions)]:
            subject.files.add(name=name, digest=_digest(digest))
        for provider in _providers(execution, runtime):
            subject.providers.add(name=provider.name, options=provider.options)
        plan = request.plan.message()
        plan.profile = request.profile
        plan.outputs = request.outputs is not None
        return benchmark_pb2.Benchmark(subjects=[subject], plan=plan)

    def _show(self, model: ModelFile, event: benchmark_pb2.BenchmarkEvent) -> None:
        if event.HasField("progress"):
            phase = benchmark_pb2.Progress.Phase.Name(event.progress.phase).removeprefix("PHASE_")
            self._observer.measuring(
                self.device.name,
                model.name,
                phase.replace("_", " ").lower(),
                event.launch,
                self._request.plan.launches,
                event.progress.fraction,
            )

    def _new_run(self, model: ModelFile) -> Run:
        execution = self._request.execution
        return Run(
            id=None,
            time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            command=self._request.command,
            model=Model(model.name, model.digest.sha256, model.size_bytes, model.format),
            device=RunDevice(self.device.name),
            runtime=RuntimeUsed(_runtime(execution, model)),
            labels=dict(self._request.labels),
        )


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
