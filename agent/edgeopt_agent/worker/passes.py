"""Passes of their own, because what they do would disturb what is timed."""

from __future__ import annotations

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent.errors import Unavailable
from edgeopt_agent.worker.energy import energy
from edgeopt_agent.worker.evaluate import evaluate
from edgeopt_agent.worker.task import Event, Task, inference

_PROFILE_INFERENCES = 20


def profile(task: Task) -> None:
    """Tells the time per operator; profiling slows what it profiles."""
    task.progress(benchmark_pb2.Progress.PHASE_PROFILING)
    told = benchmark_pb2.Profile(inferences=_PROFILE_INFERENCES)
    opened = task.open(task.load_runtime(), profile_dir=task.scratch)
    try:
        for operator in opened.session.profile(_PROFILE_INFERENCES):
            told.operators.add(
                name=operator.name,
                type=operator.type,
                duration_ns=operator.duration_ns,
                calls=operator.calls,
                provider=operator.provider,
            )
    except Unavailable as reason:
        told.unavailable_reason = str(reason)
    task.emit(Event(profile=told))


def outputs(task: Task) -> None:
    """Writes the outputs of a first inference into `outputs.npz`.

    A stateful model says something else after a thousand inferences.
    """
    import numpy as np

    opened = task.open(task.load_runtime())
    with inference():
        opened.session.infer()
    tensors, left_out = opened.session.outputs()
    with (task.scratch / "outputs.npz").open("wb") as file:
        np.savez(file, **tensors)  # type: ignore[arg-type] # an array may be called allow_pickle
    # The agent names the file by its digest.
    task.emit(Event(outputs=benchmark_pb2.Outputs(left_out=left_out)))


BY_NAME = {"energy": energy, "evaluate": evaluate, "outputs": outputs, "profile": profile}
