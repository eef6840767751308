"""TFLite techniques for tests, in a process of their own: TensorFlow warns, and warnings are errors.

python tests/tflite_jobs.py FOLDER make          digits.npz, and networks trained on them
python tests/tflite_jobs.py FOLDER run FILE      the jobs of a JSON file; prints what came of each
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize import formats
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.metric import Metric
from edgeopt_host.optimize.model import Format, Model

_PARTS = {
    "calibration": (0, 100),
    "validation": (100, 500),
    "train": (500, 1400),
    "test": (1400, 1797),
}


def made(folder: Path) -> Path:
    _call(folder, "make")
    return folder


def run(folder: Path, name: str, jobs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What came of jobs: {"module:function" "technique", "source", "parameters", "data"} each."""
    file = folder / f"{name}.json"
    file.write_text(json.dumps(jobs), encoding="utf-8")
    return dict(json.loads(_call(folder, "run", str(file)).splitlines()[-1]))


def _call(folder: Path, *arguments: str) -> str:
    quiet = {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, str(folder), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **quiet},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def _make(folder: Path) -> None:
    import keras
    import tensorflow as tf
    import tf_keras
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(1).permutation(len(labels))
    x = (images[order] / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    y = labels[order].astype(np.int64)
    np.savez(folder / "digits.npz", x=x, y=y)
    first, last = _PARTS["train"]
    for library, name in ((keras, "three.keras"), (tf_keras, "two.h5")):
        library.utils.set_random_seed(1)
        layers = library.layers
        network = library.Sequential(
            [
                layers.Input((8, 8, 1)),
                layers.Conv2D(32, 3, padding="same", use_bias=False),
                layers.BatchNormalization(),
                layers.ReLU(),
                layers.DepthwiseConv2D(3, padding="same", activation="relu"),
                layers.Conv2D(64, 3, activation="relu"),
                layers.Flatten(),
                layers.Dense(48, activation="relu"),
                layers.Dense(10, activation="softmax"),
            ]
        )
        network.compile("adam", "sparse_categorical_crossentropy")
        network.fit(x[first:last], y[first:last], batch_size=32, epochs=20, verbose=0)
        network.save(folder / name)
    network.export(str(folder / "two.saved_model"))

    weights = tf.constant(np.random.default_rng(2).normal(size=(64, 10)).astype(np.float32))

    class Odd(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 1], tf.float32, name="image")])  # type: ignore[untyped-decorator]
        def determinant(self, image: Any) -> Any:
            return {"norm": tf.linalg.det(tf.reshape(image, [1, 8, 8]))}

        @tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 1], tf.float32, name="image")])  # type: ignore[untyped-decorator]
        def sine(self, image: Any) -> Any:
            return {"wave": tf.sin(tf.reshape(image, [1, 64]) @ weights)}

    odd = Odd()
    for name in ("determinant", "sine"):
        served = {"serving_default": getattr(odd, name)}
        tf.saved_model.save(odd, str(folder / f"{name}.saved_model"), signatures=served)


def _run(folder: Path, jobs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {name: _one(folder, name, job) for name, job in jobs.items()}


def _one(folder: Path, name: str, job: dict[str, Any]) -> dict[str, Any]:
    from edgeopt_host.optimize import technique

    module, _, function = job["technique"].partition(":")
    called = getattr(import_module(f"edgeopt_host.optimize.techniques.tflite_{module}"), function)
    described = technique.of(called)
    assert described
    source = _model(folder / job["source"])
    stored = np.load(folder / "digits.npz")
    labels = stored["y"]
    parts = {
        split: Examples({"": stored["x"][a:b]}, labels[a:b], split)
        for split, (a, b) in _PARTS.items()
    }
    if job.get("data") == "uint8":
        parts["calibration"] = Examples(
            {"": (parts["calibration"].inputs[""] * 16).astype(np.uint8)}
        )
    if job.get("data") == "narrow":
        parts["calibration"] = Examples({"": parts["calibration"].inputs[""][:, :4]})
    offered = {**parts, "metric": Metric.of(None, labels), "seed": 1, "progress": lambda *_: None}
    given = {extra: offered[extra] for extra in described.extras}
    target = folder / f"{name}.tflite"
    lists = {
        k: tuple(v) if isinstance(v, list) else v for k, v in job.get("parameters", {}).items()
    }
    try:
        notes = called(source, target, **lists, **given)
    except EdgeoptError as error:
        return {"reason": error.reason, "message": error.message, "left": target.exists()}
    model = _model(target)
    outputs = next(iter(formats.predict(model, parts["test"]).values()))
    told = formats.describe(model)
    return {
        "notes": notes,
        "digest": model.digest,
        "size": model.size_bytes,
        "accuracy": float((outputs.argmax(axis=1) == parts["test"].labels).mean()),
        "input": told.inputs[0].dtype,
        "output": told.outputs[0].dtype,
        "operators": told.operators,
        "dtypes": told.dtypes,
        "versions": _versions(target),
    }


def _versions(path: Path) -> dict[str, int]:
    from ai_edge_litert.tools import flatbuffer_utils as flat

    model = flat.read_model(str(path))
    codes = enumerate(model.operatorCodes)
    return {str(flat.opcode_to_name(model, index)): code.version for index, code in codes}


def _model(path: Path) -> Model:
    kinds = {".keras": Format.KERAS, ".h5": Format.KERAS, ".saved_model": Format.SAVED_MODEL}
    return Model.of(path, kinds.get(path.suffix, Format.TFLITE))


if __name__ == "__main__":
    where = Path(sys.argv[1])
    if sys.argv[2] == "make":
        _make(where)
    else:
        answer = _run(where, json.loads(Path(sys.argv[3]).read_text(encoding="utf-8")))
        sys.stdout.write("\n" + json.dumps(answer))
