"""Runs recipes as users do, and measures what they made next to each other."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.technique_nets import Branch, Group
from edgeopt_host.bench import Bench
from edgeopt_host.optimize.run import optimize
from edgeopt_host.plan import Execution, Plan
from edgeopt_host.stats.paired import ratio

# Launches are turns: the interval of a ratio comes from their spread.
PLAN = Plan(launches=6, warmup_s=0.3, duration_s=0.6)
ORIGINAL = "original"


@dataclass
class Row:
    """One model of the table; None is what could not be told.

    Attributes:
        framework, net, branch, seed: which.
        size_bytes: of its files.
        smaller: the baseline's bytes over its own.
        accuracy: on the test examples, 0 to 1, by the group's metric.
        drop_pt: [original's accuracy minus its own, and its paired 95 % interval].
        p50_ms: on this machine, one thread, in turns with all of its group.
        latency_ratio: [its latency over the baseline's, and its 95 % interval].
        seconds: the step's wall time, without evaluation.
        digest: SHA-256.
        repeats: whether the same recipe gave the same bytes again; None also where it need not.
        warnings: sentences of its step.
        error: why there is no model.
        path: where it is, while the benchmark runs.
    """

    framework: str
    net: str
    branch: str
    seed: int
    size_bytes: int | None = None
    smaller: float | None = None
    accuracy: float | None = None
    drop_pt: list[float] | None = None
    p50_ms: float | None = None
    latency_ratio: list[float] | None = None
    seconds: float | None = None
    digest: str | None = None
    repeats: bool | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    path: Path | None = None

    def document(self) -> dict[str, Any]:
        told = dataclasses.asdict(self)
        return {key: value for key, value in told.items() if key != "path"}


@contextmanager
def home() -> Iterator[Path]:
    """A home of its own, whose cache and store are empty."""
    before = os.environ.get("EDGEOPT_HOME")
    with tempfile.TemporaryDirectory(prefix="edgeopt-techniques-") as folder:
        os.environ["EDGEOPT_HOME"] = f"{folder}/home"
        try:
            yield Path(folder)
        finally:
            if before is None:
                del os.environ["EDGEOPT_HOME"]
            else:
                os.environ["EDGEOPT_HOME"] = before


def rows(group: Group, seed: int, folder: Path, *, latency: bool = True) -> list[Row]:
    """What its branches made, one after the other, and how fast that is, in turns."""
    history = _optimize(group, seed, folder)
    original = Row(group.framework, group.net, ORIGINAL, seed)
    _fill(original, history["model"], history["original"])
    if original.size_bytes is not None and group.baseline == ORIGINAL:
        original.path = Path(group.model(seed))
    steps = {step["id"]: step for step in history["steps"]}
    made = [original]
    for branch in group.branches:
        row = Row(group.framework, group.net, branch.name, seed)
        step = steps[branch.name]
        row.seconds = step["seconds"]
        row.notes, row.warnings = step.get("notes") or {}, step["warnings"]
        if step["error"]:
            row.error = f"{step['error']['reason']}: {step['error']['message']}"
        if step["model"]:
            _fill(row, step["model"], step["evaluation"])
            row.path = folder / step["model"]["path"]
        made.append(row)
    (baseline,) = (row for row in made if row.branch == group.baseline)
    for row in made:
        if row.size_bytes and baseline.size_bytes:
            row.smaller = baseline.size_bytes / row.size_bytes
    if latency:
        _measure(group, made, baseline)
    return made


def repeat(group: Group, seed: int, made: list[Row]) -> None:
    """The same recipe again, with nothing cached: are the bytes the same?"""
    with home() as folder:
        history = _optimize(group, seed, folder / "again")
    assert not any(step["cached"] for step in history["steps"])
    again = {step["id"]: step for step in history["steps"]}
    for row in made:
        if row.digest is None or row.branch == ORIGINAL:
            continue
        step = again[row.branch]
        row.repeats = step["model"] is not None and step["model"]["sha256"] == row.digest
        if not row.repeats and not step["deterministic"]:
            row.repeats = None
            row.warnings.append("other bytes the second time, as its technique says")


def _optimize(group: Group, seed: int, folder: Path) -> Mapping[str, Any]:
    history: Mapping[str, Any] = optimize(
        group.model(seed),
        steps="; ".join(_step(branch) for branch in group.branches),
        weights=str(group.weights(seed)) if group.weights else None,
        data=str(group.data()),
        metric=group.metric,
        validation=group.validation,
        robustness=False,
        seed=seed,
        out=folder,
    )
    return history


def _step(branch: Branch) -> str:
    return f"{branch.step},id={branch.name},from={branch.after}"


def _fill(row: Row, model: Mapping[str, Any], evaluation: Mapping[str, Any] | None) -> None:
    row.size_bytes, row.digest = model["size_bytes"], model["sha256"]
    if evaluation is None:
        return
    test = evaluation["scores"].get("test")
    row.accuracy = test["value"] if test else None
    if drop := evaluation.get("drop"):
        row.drop_pt = [drop["value"], drop["low"], drop["high"]]


def _measure(group: Group, made: list[Row], baseline: Row) -> None:
    """All in one benchmark of this machine, in turns."""
    found = [row for row in made if row.path is not None]
    if not found:
        return
    ((*runs,),) = Bench().compare(
        [row.path for row in found if row.path],
        devices=["local"],
        plan=PLAN,
        execution=Execution(threads=1),
        inputs=group.inputs,
    )
    by_row = list(zip(found, runs, strict=True))
    for row, run in by_row:
        if run.error is not None:
            row.warnings.append(f"latency: {run.error.message}")
        else:
            row.p50_ms = run.latency_ms.p50
    reference = next((run for row, run in by_row if row is baseline and run.error is None), None)
    if reference is not None:
        for row, run in by_row:
            if run.error is None and row is not baseline:
                told = ratio(run.launches, reference.launches, "p50")
                row.latency_ratio = [told.value, told.low, told.high]


def write(target: Path, document: Mapping[str, Any]) -> None:
    target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
