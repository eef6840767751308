"""One device's share of a push, in a thread of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence

from edgeopt.agent.v1 import benchmark_pb2, device_pb2
from edgeopt_host import features, fill, reservations, resume
from edgeopt_host.client import Agent, connect
from edgeopt_host.collect import Collected, Collector
from edgeopt_host.delivery import FIND_OUT, RESUME, deliver, keep
from edgeopt_host.errors import (
    Cancelled,
    DeviceError,
    EdgeoptError,
    OutcomeUnknown,
    Unreachable,
    partner_failed,
)
from edgeopt_host.inventory import Device
from edgeopt_host.looks import Looks
from edgeopt_host.modelfile import ModelFile
from edgeopt_host.observer import Observer, tell
from edgeopt_host.request import Request, benchmark, model_names, new_run, with_order
from edgeopt_host.run import Energy, Failure, Paired, Run
from edgeopt_host.store import PendingRun, RunStore, new_id, new_request_id


class DevicePush:
    """Measures models on a device, one after the other."""

    def __init__(
        self,
        device: Device,
        models: Sequence[ModelFile],
        request: Request,
        observer: Observer,
        store: RunStore,
        owner: str,
    ) -> None:
        self.device = device
        self.cancelled_running = False
        self._models = models
        self._request = request
        self._observer = observer
        self._store = store
        self._owner = owner
        self._agent: Agent | None = None
        self._gone: Unreachable | None = None
        self._stop = threading.Event()

    def cancel(self) -> None:
        """Ends what is under way; from any thread."""
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
                runs.append(new_run(self._request, self.device, model, model.fault or failure))
                # It may be the observer that fails.
                with contextlib.suppress(Exception):
                    self._observer.finished(runs[-1])
        return runs

    def _run_all(self, runs: list[Run]) -> None:
        with contextlib.ExitStack() as stack:
            fencing_number = 0
            if not all(model.fault for model in self._models):
                self._observer.connecting(self.device.name)
                self._agent = agent = stack.enter_context(
                    connect(self.device, on_wait=self._observer.notice, stop=self._stop)
                )
                facts = agent.device()
                resume.fetch_finished(agent, self.device, self._store, self._owner, self._observer)
                fencing_number = stack.enter_context(
                    reservations.used(agent, self.device, self._observer.notice)
                )
                if not (fencing_number or self._request.wait):
                    reservations.refuse_if_held(agent, self.device)
            for models in self._together():
                if self._stop.is_set():
                    break
                fault = next((model.fault for model in models if model.fault), None)
                # The others of a comparison are well, and have no figures either.
                partners = None if fault is None else partner_failed(fault.message)
                # What never reached the device is an error to show, not a run to keep.
                made = (
                    [new_run(self._request, self.device, m, m.fault or partners) for m in models]
                    if fault
                    else self._measure(agent, facts, models, fencing_number)
                )
                for run in made:
                    runs.append(run)
                    self._observer.finished(run)
                if self._gone is not None:
                    # Whoever has been silent for that long will not take the next model either.
                    raise self._gone

    def _together(self) -> list[list[ModelFile]]:
        """The models of each benchmark."""
        if self._request.paired:
            return [list(self._models)]
        return [[model] for model in self._models]

    def _measure(
        self,
        agent: Agent,
        facts: device_pb2.Device,
        models: Sequence[ModelFile],
        fencing_number: int,
    ) -> list[Run]:
        runs = [new_run(self._request, self.device, model) for model in models]
        for run in runs:
            fill.describe(run, facts)
            run.energy = _energy(facts, requested=self._request.energy)
        try:
            features.check(benchmark(self._request, self.device, models), facts, self.device.name)
            for run, model in zip(runs, models, strict=True):
                _check_runtime(run.runtime.name, facts)
                self._upload(agent, model)
        except Cancelled:
            self.cancelled_running = True
            raise
        except EdgeoptError as error:
            self._note(error)
            return _failed(runs, error)
        except Exception as error:  # noqa: BLE001 - the other models' runs must not go with it
            return _failed(runs, _internal(error))
        _name(runs)
        request = with_order(self._request, runs)
        pending = PendingRun(
            new_request_id(str(runs[0].id)),
            runs,
            self.device.name,
            self.device.identity,
            self._owner,
            outputs=self._request.outputs,
        )
        try:
            self._store.begin(pending)
            asked = benchmark(request, self.device, models)
            self._run_pending(agent, pending, asked, fencing_number)
        except Cancelled:
            raise
        except EdgeoptError as error:
            return _failed(runs, error)
        except Exception as error:  # noqa: BLE001 - as above
            return _failed(runs, _internal(error))
        return runs

    def _run_pending(
        self,
        agent: Agent,
        pending: PendingRun,
        asked: benchmark_pb2.Benchmark,
        fencing_number: int,
    ) -> None:
        """Has the device measure what was written down; the runs are then stored, or still owed."""
        name = self._create(agent, pending, asked, fencing_number)
        collector = Collector(len(pending.runs))
        looks = Looks(self._request.judge, pending.runs)
        called = model_names(pending.runs)
        try:
            for event in agent.watch(name):
                collector.add(event)
                if event.HasField("look"):
                    answer = looks.answer(event.look.launch, collector.collected())
                    agent.answer_look(name, event.look.launch, answer)
                launches = self._request.plan.launches
                tell(self._observer, self.device.name, called, launches, event)
        except Cancelled:
            self.cancelled_running = True
            self._give_up(agent, pending, name)
            raise
        except DeviceError as error:
            if error.reason != "RESULT_LOST":
                raise self._owed(error, RESUME) from error
            fill.fill(pending.runs, collector.collected())
            for run in pending.runs:
                run.error = _failure(error)
            keep(self._store, pending, self._observer.notice)
        except Exception:
            self._give_up(agent, pending, name)
            raise
        else:
            self._deliver(agent, pending, name, collector.collected())

    def _deliver(
        self, agent: Agent, pending: PendingRun, name: str, collected: Sequence[Collected]
    ) -> None:
        try:
            deliver(agent, self._store, pending, name, collected, self._observer.notice)
        except Cancelled:
            self.cancelled_running = True
            self._give_up(agent, pending, name)
            raise
        except Unreachable as error:
            raise self._owed(error, RESUME) from error

    def _create(
        self,
        agent: Agent,
        pending: PendingRun,
        asked: benchmark_pb2.Benchmark,
        fencing_number: int,
    ) -> str:
        try:
            name = agent.create(
                asked,
                pending.request_id,
                fencing_number=fencing_number,
                wait_for_lease=self._request.wait,
            )
        except Cancelled:
            # The device may have it all the same: whoever comes next tells it.
            self._give_up(agent, pending, None)
            raise
        except (OutcomeUnknown, Unreachable) as error:
            raise self._owed(error, FIND_OUT) from error
        except DeviceError as error:
            self._store.drop(pending.request_id)
            raise reservations.explained(agent, self.device, error) from error
        # Without the name it is found by its request id.
        with contextlib.suppress(EdgeoptError):
            self._store.created(pending.request_id, name)
        return name

    def _owed(self, error: DeviceError, what_to_do: str) -> DeviceError:
        """The error of a run that stays pending."""
        self._note(error)
        if error.message.endswith("?"):
            return type(error)(
                f"{error.message} {what_to_do[0].upper()}{what_to_do[1:]}", error.reason
            )
        return type(error)(f"{error.message}; {what_to_do}", error.reason)

    def _note(self, error: EdgeoptError) -> None:
        if isinstance(error, Unreachable):
            self._gone = error

    def _give_up(self, agent: Agent, pending: PendingRun, name: str | None) -> None:
        """Tells the device that nobody wants this, or writes down that it is to be told."""
        try:
            if name is not None and agent.forget(name):
                self._store.drop(pending.request_id)
            else:
                self._store.cancelled(pending.request_id)
        except EdgeoptError as error:
            self._observer.notice(f"a cancelled run is still pending: {error.message}")

    def _upload(self, agent: Agent, model: ModelFile) -> None:
        """Sends the model's files and the inputs."""
        files = [
            (model.path, model.digest),
            *((path, digest) for _, path, digest in model.companions),
        ]
        inputs, inputs_digest = self._request.inputs.file, self._request.inputs_digest
        if inputs is not None and inputs_digest is not None:
            files.append((inputs, inputs_digest))
        if self._request.data is not None:
            files.append((self._request.data.examples_file, self._request.data.examples_digest))
        total = sum(digest.size_bytes for _, digest in files)
        done = sent = 0
        started = time.monotonic()
        for path, digest in files:

            def report(bytes_done: int, before: int = done) -> None:
                self._observer.uploading(self.device.name, model.name, before + bytes_done, total)

            sent += agent.upload(path, digest, report)
            done += digest.size_bytes
        self._observer.uploaded(self.device.name, model.name, sent, time.monotonic() - started)


def _failed(runs: list[Run], error: EdgeoptError) -> list[Run]:
    """The runs, of which nothing will be stored just now."""
    for run in runs:
        run.id, run.error = None, _failure(error)
    return runs


def _name(runs: Sequence[Run]) -> None:
    """Gives runs their ids; those of one benchmark know of each other."""
    for run in runs:
        run.id = new_id()
    if len(runs) > 1:
        ids = [str(run.id) for run in runs]
        for index, run in enumerate(runs):
            run.paired = Paired(ids[0], index, ids)


def _internal(error: Exception) -> EdgeoptError:
    return EdgeoptError(
        f"internal error, a bug in edgeopt: {type(error).__name__}: {error}", "INTERNAL"
    )


def _failure(error: EdgeoptError) -> Failure:
    return Failure(error.reason, error.message)


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


def _energy(facts: device_pb2.Device, *, requested: bool) -> Energy:
    if not requested:
        return Energy()
    if "energy" not in facts.features:
        return Energy("unavailable", "the agent is too old; update edgeopt on the device")
    quantity = device_pb2.SensorChannel
    wanted = {quantity.QUANTITY_POWER_MW, quantity.QUANTITY_ENERGY_MJ}
    if any(wanted & {c.quantity for c in sensor.channels} for sensor in facts.sensors):
        return Energy("unavailable", "the benchmark ended before its energy was measured")
    reason = "the device has no power sensor (see edgeopt-host device info)"
    return Energy("unavailable", reason)
