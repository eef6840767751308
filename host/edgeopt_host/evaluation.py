"""Accuracy from what a device said of labelled examples."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_host.client import Agent
from edgeopt_host.errors import EdgeoptError
from edgeopt_host.run import (
    Run,
    Warning,  # noqa: A004 - the document's name for it
)


def fetch(agent: Agent, run: Run, predictions: benchmark_pb2.Predictions | None) -> None:
    """Compares a model's outputs with the labels, where the run asked for it.

    Raises:
        Unreachable: when the device went away before the outputs had come.
        Cancelled: after `cancel`, meanwhile.
    """
    asked = (run.request or {}).get("data")
    if predictions is None or not asked:
        return
    if predictions.unavailable_reason:
        _warn(run, predictions.unavailable_reason)
        return
    from edgeopt_host import data

    with tempfile.TemporaryDirectory(prefix="edgeopt-") as folder:
        file = Path(folder) / "predictions.npz"
        agent.download(predictions.file, file)
        try:
            labelled = data.LabelledData.open(Path(asked["path"]))
            if labelled.digest.sha256 != asked["sha256"]:
                _warn(run, f"{asked['path']} has changed since the run was begun")
                return
            data.fill(run, file, labelled)
        except EdgeoptError as error:
            _warn(run, error.message)


def _warn(run: Run, why: str) -> None:
    run.warnings.append(Warning("NO_ACCURACY", f"no accuracy: {why}"))
