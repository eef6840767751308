"""Pushes models to devices: upload, run, collect. Devices work in parallel, each on one model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from edgeopt_host._workers import run_all
from edgeopt_host.device_push import DevicePush
from edgeopt_host.errors import UsageError
from edgeopt_host.inventory import Device
from edgeopt_host.modelfile import FORMATS, Digest, ModelFile
from edgeopt_host.observer import Observer
from edgeopt_host.owner import Owner
from edgeopt_host.plan import Inputs
from edgeopt_host.request import Request, providers_for, runtime_of
from edgeopt_host.run import Run
from edgeopt_host.store import RunStore

__all__ = ["Request", "check", "push"]


def push(
    models: Sequence[ModelFile],
    devices: Sequence[Device],
    request: Request,
    observer: Observer,
    store: RunStore,
) -> list[Run]:
    """Measures every model on every device.

    Args:
        models: to be measured, in this order on each device.
        devices: from the inventory.
        request: how.
        observer: told what happens, from several threads.
        store: keeps each run as soon as it has ended.

    Returns:
        One run per device and model, in that order. What failed carries its error; one that could
        not be kept, or that its device still owes, has no id.

    Raises:
        UsageError: when the request fits none of the models, or its inputs cannot be read.
        Cancelled: after Ctrl-C, when the devices have been told.
        StoreError: when nothing can be written where results are kept.
    """
    check(models, devices, request)
    request = dataclasses.replace(request, inputs_digest=_digest_of_inputs(request.inputs))
    with Owner() as owner:
        workers = [
            DevicePush(device, models, request, observer, store, owner.token) for device in devices
        ]
        results = run_all(workers, lambda: _cancelled_message(workers))
    return [run for runs in results for run in runs]


def check(models: Sequence[ModelFile], devices: Sequence[Device], request: Request) -> None:
    """Raises UsageError when options and models do not go together."""
    execution = request.execution
    runtimes = {model: runtime_of(execution, model) for model in models if not model.fault}
    for model, runtime in runtimes.items():
        if runtime in FORMATS and runtime != model.format:
            raise UsageError(
                f"{model.name} holds a {model.format} model, which --runtime {runtime} cannot execute"
            )
    tied = {
        "--provider": (bool(providers_for(execution, "onnx")), "onnx"),
        "--graph-opt": (bool(execution.graph_optimization), "onnx"),
        "--delegate": (bool(providers_for(execution, "tflite")), "tflite"),
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


def _cancelled_message(workers: Iterable[DevicePush]) -> str:
    names = [worker.device.name for worker in workers if worker.cancelled_running]
    return f"cancelled on {', '.join(names)}" if names else "cancelled before anything ran"
