"""What a push asks for, as devices take it and as its runs show it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.agent.v1 import benchmark_pb2, blob_pb2
from edgeopt_host.errors import EdgeoptError
from edgeopt_host.inventory import Device
from edgeopt_host.looks import Judge
from edgeopt_host.modelfile import Digest, ModelFile
from edgeopt_host.plan import EnergyPlan, Execution, Inputs, Plan, Provider, document
from edgeopt_host.run import Device as RunDevice
from edgeopt_host.run import Failure, File, Model, Run, RuntimeUsed, Shape

if TYPE_CHECKING:
    from edgeopt_host.data import LabelledData


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
    # For a device that somebody else has reserved.
    wait: bool = False
    # All models in one benchmark, in turns; otherwise one after the other.
    paired: bool = False
    # Asked after each launch whether to go on.
    judge: Judge | None = None
    # Labelled examples: the device evaluates the models on them.
    data: LabelledData | None = None
    # Of the inputs' file; `push` fills it in.
    inputs_digest: Digest | None = None


def with_order(request: Request, runs: Sequence[Run]) -> Request:
    """The request with a seed for the order of turns, which its runs note: of their own, or as given.

    Were it the same in each benchmark, what follows from an order would not average out over them.

    Args:
        request: of the benchmark.
        runs: its runs, one per subject, with their ids.
    """
    if request.plan.order_seed or len(runs) == 1:
        return request
    plan = replace(request.plan, order_seed=zlib.crc32(str(runs[0].id).encode()))
    for run in runs:
        run.request = {**(run.request or {}), "plan": document(plan)}
    return replace(request, plan=plan)


def benchmark(
    request: Request, device: Device, models: Sequence[ModelFile]
) -> benchmark_pb2.Benchmark:
    """What to measure and how, in the protocol's words; several models are measured in turns."""
    plan = request.plan.message()
    plan.profile = request.profile
    plan.outputs = request.outputs is not None
    # Launches that come to nothing are repeated where somebody counts on them.
    plan.looks |= request.judge is not None or request.plan.start is not None
    plan.ClearField("energy")
    if request.energy:
        plan.energy.CopyFrom((request.plan.energy or EnergyPlan()).message())
    if request.data is not None:
        plan.evaluation_data.CopyFrom(_digest(request.data.examples_digest))
    subjects = [_subject(request, device, model) for model in models]
    return benchmark_pb2.Benchmark(subjects=subjects, plan=plan)


def _subject(request: Request, device: Device, model: ModelFile) -> benchmark_pb2.Subject:
    execution = request.execution
    runtime = runtime_of(execution, model)
    subject = benchmark_pb2.Subject(
        runtime=runtime,
        threads=execution.threads or 0,
        disable_xnnpack=runtime == "tflite" and not execution.xnnpack,
        graph_optimization=(execution.graph_optimization or "") if runtime == "onnx" else "",
        quantized_engine=(execution.quantized_engine or "") if runtime == "ptl" else "",
        inputs=request.inputs.message(),
    )
    if request.inputs_digest is not None:
        subject.inputs.file.CopyFrom(_digest(request.inputs_digest))
    for name, digest in _files(model):
        subject.files.add(name=name, digest=_digest(digest))
    for provider in providers_for(execution, runtime):
        subject.providers.add(name=_on_device(provider, device), options=provider.options)
    return subject


def new_run(
    request: Request, device: Device, model: ModelFile, error: EdgeoptError | None = None
) -> Run:
    """A run that begins now, of which nothing is known yet."""
    return Run(
        id=None,
        time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=request.command,
        model=Model(
            model.name,
            model.digest.sha256,
            model.size_bytes,
            model.format,
            [File(name, digest.sha256, digest.size_bytes) for name, digest in _files(model)],
        ),
        device=RunDevice(device.name),
        runtime=RuntimeUsed(runtime_of(request.execution, model)),
        labels=dict(request.labels),
        shape=Shape(request.plan.batch, request.plan.streams, request.plan.rate_hz),
        error=None if error is None else Failure(error.reason, error.message),
        request=_asked(request),
    )


def model_names(runs: Sequence[Run]) -> str:
    """What a benchmark is called where it is shown: "a.tflite", "a.tflite and b.tflite"."""
    names = [run.model.name for run in runs]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def providers_for(execution: Execution, runtime: str) -> list[Provider]:
    """Those that mean something to this runtime: a delegate is a library, a provider a name."""
    return [p for p in execution.providers if p.runtime == runtime]


def runtime_of(execution: Execution, model: ModelFile) -> str:
    """The runtime that was asked for, else the one of the model's format."""
    return execution.runtime or model.format or ""


def _asked(request: Request) -> dict[str, Any]:
    """What every run of this push is asked for, as its document shows it."""
    inputs = document(request.inputs)
    inputs["file"] = document(request.inputs_digest)
    inputs["seed"] = request.inputs.message().seed
    return {
        "plan": document(request.plan),
        "execution": document(request.execution),
        "inputs": inputs,
        "profile": request.profile,
        "energy": request.energy,
        "data": None
        if request.data is None
        else {"path": str(request.data.path.absolute()), "sha256": request.data.digest.sha256},
        "outputs": request.outputs is not None,
    }


def _on_device(provider: Provider, device: Device) -> str:
    """A provider's name there: the local agent does not run in the user's folder."""
    path = Path(provider.name)
    if device.name == "local" and provider.runtime == "tflite" and path.is_file():
        return str(path.absolute())
    return provider.name


def _files(model: ModelFile) -> list[tuple[str, Digest]]:
    """Names and digests, the main file first."""
    # The main file's name is told to nobody but the worker; protobuf takes no undecodable bytes.
    name = model.name.encode("utf-8", "replace").decode()
    return [(name, model.digest), *((name, digest) for name, _, digest in model.companions)]


def _digest(digest: Digest) -> blob_pb2.Digest:
    return blob_pb2.Digest(sha256=digest.sha256, size_bytes=digest.size_bytes)
