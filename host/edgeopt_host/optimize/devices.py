"""What models cost on devices: those of one format in turns, each against the first float conversion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.inventory import Device, Inventory
from edgeopt_host.observer import Observer
from edgeopt_host.optimize.data.prepared import Prepared
from edgeopt_host.optimize.model import Model
from edgeopt_host.plan import Inputs, InputShape, Plan
from edgeopt_host.run import Run
from edgeopt_host.stats import paired

# Of one benchmark (protocol: Benchmark.subjects).
_MOST_MODELS = 16
_BUDGET_S = 30.0
_ANSWER_S = 5.0
_MB = 2**20


@dataclass(frozen=True)
class Candidate:
    """A model to be measured.

    Attributes:
        step: the id of the step that made it, or "original".
        model: of a format that devices run.
        inputs: shapes of inputs whose axes may have any size, as one example has them.
    """

    step: str
    model: Model
    inputs: tuple[InputShape, ...] = ()

    @classmethod
    def of(cls, step: str, model: Model, inputs: Sequence[Mapping[str, Any]]) -> Candidate:
        """A model with its inputs, as `_step.load_test` tells of them."""
        shapes = tuple(
            InputShape(one["name"], tuple(one["example"]))
            for one in inputs
            if one["dynamic"] and one["example"] is not None
        )
        return cls(step, model, shapes)


def measure(
    candidates: Sequence[Candidate],
    reference: Candidate,
    *,
    devices: Sequence[str],
    tags: Sequence[str],
    data: Path | None,
    observer: Observer,
    labels: dict[str, str],
) -> list[dict[str, Any]]:
    """Measures models of one format against one of them, on each device.

    A model that fails is left out, and the others are measured without it.

    Args:
        candidates: all of one format, the reference among them.
        reference: the first float conversion, or the original.
        devices: names from the inventory.
        tags: likewise.
        data: labelled examples (.npz) for the accuracy on the device.
        observer: told what happens.
        labels: kept with each run.

    Returns:
        For each device {"name", "board", "models": […]}, as docs/reference/history-json.md has it.
    """
    told: dict[str, dict[str, Any]] = {}
    others = [one for one in candidates if one is not reference]
    room = _MOST_MODELS - 1
    for first in range(0, max(len(others), 1), room):
        chunk = [reference, *others[first : first + room]]
        for name, found in _measure(chunk, devices, tags, data, observer, labels).items():
            device = told.setdefault(name, {**found, "models": []})
            # The reference is measured with every chunk, and told once.
            device["models"] += found["models"][bool(device["models"]) :]
    return list(told.values())


def _measure(
    chunk: Sequence[Candidate],
    devices: Sequence[str],
    tags: Sequence[str],
    data: Path | None,
    observer: Observer,
    labels: dict[str, str],
) -> dict[str, dict[str, Any]]:
    from edgeopt_host.bench import Bench
    from edgeopt_host.compare import judge
    from edgeopt_host.stats.looks import Schedule

    # Of each device, the rows by step.
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    boards: dict[str, str | None] = {}
    pending = [(tuple(chunk), list(devices), list(tags))]
    while pending:
        left, names, wanted = pending.pop(0)
        measured = Bench().compare(
            [one.model.path for one in left],
            devices=names,
            tags=wanted,
            plan=Schedule.relative(2 * _BUDGET_S / max(len(left), 2), 0.05).plan(Plan()),
            judge=judge(_BUDGET_S),
            inputs=Inputs(shapes=left[0].inputs),
            data=data,
            labels=labels,
            observer=observer,
        )
        again: dict[tuple[Candidate, ...], list[str]] = {}
        for runs in measured:
            device = runs[0].device
            known = rows.setdefault(device.name, {})
            boards.setdefault(device.name, device.board)
            bad = {
                one.step: _failure(one.step, run)
                for one, run in zip(left, runs, strict=True)
                if run.error and run.error.reason != "PARTNER_FAILED"
            }
            if bad and len(bad) < len(left) and left[0].step not in bad:
                known |= bad
                rest = tuple(one for one in left if one.step not in bad)
                again.setdefault(rest, []).append(device.name)
            else:
                known |= {
                    one.step: _row(one.step, run, runs[0])
                    for one, run in zip(left, runs, strict=True)
                }
        # Devices on which the same models failed go on together.
        pending += [(rest, alike, []) for rest, alike in again.items()]
    return {
        name: {
            "name": name,
            "board": boards[name],
            "models": [known[one.step] for one in chunk],
        }
        for name, known in rows.items()
    }


def targets(devices: Sequence[str], tags: Sequence[str]) -> list[Device]:
    """The devices that are meant.

    Raises:
        UsageError: when the inventory has none of a name or tag.
    """
    return Inventory.load().select(list(devices), list(tags)) if devices or tags else []


def architectures(devices: Sequence[Device]) -> set[str]:
    """Of their processors, as the kernel names them: "x86_64", "aarch64".

    Raises:
        DeviceError: when one does not answer.
    """
    from edgeopt_host.client import connect

    found = set()
    for device in devices:
        with connect(device, _ANSWER_S) as agent:
            found.add(agent.device().cpu.architecture)
    return found


def labelled(data: Prepared, folder: Path) -> Path | None:
    """Test examples as `push --data` takes them; None when their labels are no classes."""
    test = data.splits.get("test")
    if test is None or test.labels is None or data.document()["labels"]["kind"] != "classes":
        return None
    file = folder / "test.npz"
    if not file.exists():
        arrays = {
            "x_test" + (f".{name}" if name else ""): array for name, array in test.inputs.items()
        }
        np.savez(file, y_test=np.asarray(test.labels), **arrays)  # type: ignore[arg-type] # numpy's stub takes no mapping of arrays
    return file


def _row(step: str, run: Run, reference: Run) -> dict[str, Any]:
    if run.error:
        return _failure(step, run)
    p50 = run.latency_ms.p50
    return {
        "step": step,
        "run": run.id,
        "p50_latency_ms": p50,
        "p50_ci95": run.latency_ms.p50_ci95,
        "fps": run.throughput_per_s,
        "speedup": None if run is reference else _speedup(run, reference),
        "model_memory_mb": _mb(run.memory.model_rss_bytes),
        "peak_memory_mb": _mb(run.memory.peak_rss_bytes),
        "accuracy": run.accuracy,
        "warnings": [warning.message for warning in run.warnings],
        "error": None,
    }


def _speedup(run: Run, reference: Run) -> dict[str, Any] | None:
    try:
        ratio = paired.ratio(run.launches, reference.launches, "p50")
    except ValueError:
        return None
    bounded = ratio.bounded and ratio.low > 0
    return {
        "value": 1 / ratio.value,
        "low": 1 / ratio.high if bounded else None,
        "high": 1 / ratio.low if bounded else None,
    }


def _failure(step: str, run: Run) -> dict[str, Any]:
    if run.error is None:
        raise EdgeoptError("a run that did not fail has no reason to")
    row: dict[str, Any] = dict.fromkeys(
        (
            "p50_latency_ms",
            "p50_ci95",
            "fps",
            "speedup",
            "model_memory_mb",
            "peak_memory_mb",
            "accuracy",
        )
    )
    return {
        **row,
        "step": step,
        "run": run.id,
        "warnings": [],
        "error": {"reason": run.error.reason, "message": run.error.message},
    }


def _mb(size_bytes: int | None) -> float | None:
    return None if size_bytes is None else size_bytes / _MB
