"""Histories of optimizations as `optimize run` writes them: a whole one, and one that knows nothing."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
DIFFERS = (
    "calibration examples differ from test examples: most in the mean, on average 0.31 in calibration "
    "and 0.48 in test (p 0.004)"
)
COLLAPSE = "the accuracy collapsed: it fell by 80.9 pt to 10.1 %, which is what guessing gives"
_EXAMPLES = 10_000
_BYTES = 492_310
_LAYERS = 30


def sample_history(model: str = "fer.h5", device: str = "pi4") -> dict[str, Any]:
    """Two branches from one model: int8, which collapses, and mixed precision, after which one fails."""
    original = _evaluation(_BYTES, 0.9102, 0, original=True)
    steps = [
        _step(
            "1", "original", "convert:tflite", _evaluation(488_112, 0.9102, 0.0), {"io": "float"}
        ),
        _step(
            "2",
            "1",
            "quantize:int8",
            _evaluation(131_584, 0.1013, 80.89),
            {"io": "int8", "strict": True, "layers": [], "keep_float": None},
            used={"calibration": 200},
            warnings=[
                "operators SOFTMAX, MEAN stay in float: strict=false allows it",
            ],
            notes={"fallback": ["SOFTMAX", "MEAN"], "engine": None},
        ),
        _step(
            "3",
            "1",
            "quantize:mixed",
            _evaluation(158_720, 0.9086, 0.16),
            {"budget_pt": 0.5, "bits": 8},
            used={"calibration": 200, "validation": 5000},
            notes={
                "sensitivity": sensitivity(),
                "validation": {
                    "drop_pt": 0.21,
                    "standard_error": 0.096,
                    "unit": "pt",
                    "examples": 5000,
                },
                "evaluations": 34,
            },
            deterministic=False,
        ),
        _step("4", "3", "quantize:int4", None, {"block": 32}),
        _step("5", "1", "quantize:float16", _evaluation(246_020, 0.9101, 0.01), {}, cached=True),
    ]
    steps[3] |= {
        "status": "failed",
        "error": {
            "reason": "UNSUPPORTED_OPERATOR",
            "message": "CONV_2D at conv2d_7 has no int4 kernel: keep it in float with keep_float",
        },
    }
    return {
        "schema": "edgeopt.history/1",
        "time": "2026-11-24T18:40:12+00:00",
        "command": f"edgeopt-host optimize run {model} --data faces.npz --recipe recipe.toml -o out/",
        "seed": 7,
        "model": {"name": model, "format": "keras", "sha256": _digest(model), "size_bytes": _BYTES},
        "data": {
            "source": "faces.npz",
            "digest": _digest("data"),
            "field": None,
            "inputs": {"": {"shape": [64, 64, 1], "dtype": "float32"}},
            "labels": {"kind": "classes", "classes": len(CLASSES), "names": list(CLASSES)},
            "splits": {
                split: {"examples": count, "from": part, "labels": True, "sha256": _digest(split)}
                for split, count, part in (
                    ("calibration", 200, "x_train"),
                    ("train", 28_709, "x_train"),
                    ("validation", 3_000, "x_train"),
                    ("test", _EXAMPLES, "x_test"),
                )
            },
            "duplicates": {"in_test": 12, "in_validation": 0, "repeated": 31},
            "similarity": {"test": {"text": DIFFERS, "p_value": 0.004}, "field": None},
            "warnings": [f"{DIFFERS}: ranges calibrated on such examples may not fit"],
        },
        "metric": {"name": "accuracy", "unit": "pt"},
        "original": original,
        "steps": steps,
        "devices": [
            _device(device, "Raspberry Pi 4 Model B Rev 1.4", 5.21, 0.02),
            _device("local", "x86-64 host", 1.31, 0.04),
        ],
        "warnings": [],
        "recipe": 'schema = "edgeopt.recipe/1"\nseed = 7\n\n[[step]]\ntechnique = "convert:tflite"\n'
        '\n[[step]]\ntechnique = "quantize:int8"\nio = "int8"\n',
    }


def empty_history() -> dict[str, Any]:
    """A history in which nothing was measured and whatever may be null is."""
    step = dict.fromkeys(
        ("parameters", "cached", "seconds", "error", "used", "versions", "deterministic", "notes",
         "warnings", "model", "evaluation")
    )  # fmt: skip
    history = dict.fromkeys(("time", "command", "seed", "model", "data", "metric", "original"))
    return {
        "schema": "edgeopt.history/1",
        **history,
        "steps": [{"id": "1", "from": None, "technique": "convert:onnx", "status": "done", **step}],
        "devices": None,
        "warnings": None,
    }


def sensitivity() -> list[dict[str, Any]]:
    """Of 30 layers, in the model's order: most do no harm, two do."""
    random = np.random.default_rng(3)
    drops = random.exponential(0.04, _LAYERS) - 0.02
    drops[[4, 17]] = 41.2, 2.31
    return [
        {
            "layer": f"model/block_{i // 3}/conv2d_{i}/Conv2D",
            "operator": "CONV_2D" if i % 3 else "DEPTHWISE_CONV_2D",
            "bytes": int(random.integers(400, 40_000)),
            "drop_pt": float(drops[i]),
            "output_error": float(abs(drops[i]) / 50 + 1e-7),
            "time_ratio": None if i % 5 == 0 else float(random.normal(0.6, 0.1)),
            "chosen": "float" if drops[i] > 1 else "int8",
        }
        for i in range(_LAYERS)
    ]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _step(
    id_: str,
    source: str,
    technique: str,
    evaluation: dict[str, Any] | None,
    parameters: dict[str, Any],
    **changes: Any,
) -> dict[str, Any]:
    made = evaluation and {
        "path": f"{id_}-{technique.replace(':', '-')}/model.tflite",
        "name": "model.tflite",
        "format": "tflite",
        "sha256": _digest(id_),
        "size_bytes": evaluation["size"]["bytes"],
    }
    return {
        "id": id_,
        "from": source,
        "technique": technique,
        "parameters": parameters,
        "status": "done",
        "cached": False,
        "seconds": 12.3,
        "error": None,
        "used": {},
        "versions": {"tensorflow": "2.21.0", "keras": "3.15.1"},
        "deterministic": True,
        "notes": {},
        "warnings": [],
        "model": made,
        "evaluation": evaluation,
        **changes,
    }


def _evaluation(
    size: int, accuracy: float, drop: float, *, original: bool = False
) -> dict[str, Any]:
    collapsed = accuracy < 0.5
    half = 0.0056
    return {
        "size": {
            "bytes": size,
            "gzip_bytes": int(size * 0.92),
            "compression_ratio": _BYTES / size,
            "gzip_ratio": _BYTES / size * (1 if original else 0.97),
        },
        "parameters": 118_423,
        "macs": 9_812_400,
        "dtypes": {"float32": 118_423}
        if size > _BYTES / 2
        else {"int8": 117_000, "float32": 1_423},
        "operators": {"CONV_2D": 20, "DEPTHWISE_CONV_2D": 10, "FULLY_CONNECTED": 1},
        "scores": {
            "test": {
                "value": accuracy,
                "ci95": [accuracy - half, accuracy + half],
                "examples": _EXAMPLES,
                "top_k": {"2": min(accuracy + 0.05, 1.0)},
                "report": _report(accuracy, collapsed=collapsed),
            },
            "validation": {
                "value": accuracy + 0.004,
                "ci95": [accuracy - 0.005, accuracy + 0.013],
                "examples": 3_000,
                "top_k": {},
                "report": None,
            },
            "train": {
                "value": min(accuracy + 0.06, 1.0),
                "ci95": None,
                "examples": 5_000,
                "top_k": {},
                "report": None,
            },
        },
        "drop": None
        if original
        else {
            "value": drop,
            "low": drop - 0.19,
            "high": drop + 0.21,
            "unit": "pt",
            "examples": _EXAMPLES,
        },
        "agreement": None
        if original
        else {
            "max_abs": 0.97 if collapsed else 3.1e-7 + drop / 5,
            "mean_abs": 0.2 if collapsed else 1e-8 + drop / 100,
            "relative": 0.9 if collapsed else 1e-6,
            "argmax_same": 0.11 if collapsed else 1 - drop / 20,
            "examples": _EXAMPLES,
            "per_output": {},
        },
        "warnings": [COLLAPSE] if collapsed else [],
        "robustness": [
            {
                "corruption": corruption,
                "severity": severity,
                "value": accuracy - 0.03 * severity * (not collapsed),
                "original_value": 0.9102 - 0.028 * severity,
                "drop": 3.0 * severity * (not collapsed),
                "drop_original": 2.8 * severity,
                "examples": 1000,
            }
            for corruption in ("noise", "blur", "brightness", "missing")
            for severity in (1, 2)
        ],
        "host": {
            "framework": "keras 3.15.1",
            "mean_ms": 31.4,
            "median_ms": 31.27,
            "fps": 31.8,
            "runs": 100,
            "threads": 1,
            "time": "2026-11-24T18:39:58+00:00",
            "machine": "workbench",
        }
        if original
        else None,
    }


def _report(accuracy: float, *, collapsed: bool) -> dict[str, Any]:
    random = np.random.default_rng(round(accuracy * 1e4))
    recalls = np.clip(random.normal(accuracy, 0.03, len(CLASSES)), 0, 1)
    if collapsed:
        recalls = np.eye(len(CLASSES))[3]
    report: dict[str, Any] = {
        name: {
            "precision": float(min(1.0, recall * 0.98)),
            "recall": float(recall),
            "f1-score": float(recall * 0.99),
            "support": float(_EXAMPLES // len(CLASSES)),
        }
        for name, recall in zip(CLASSES, recalls, strict=True)
    }
    means = dict.fromkeys(("precision", "recall", "f1-score"), accuracy) | {"support": 1e4}
    return report | {"accuracy": accuracy, "macro avg": means, "weighted avg": means}


def _device(name: str, board: str, reference_ms: float, noise: float) -> dict[str, Any]:
    def measured(step: str, ratio: float) -> dict[str, Any]:
        middle = reference_ms * ratio
        faster = 1 / ratio
        own = {"value": faster, "low": faster * (1 - noise), "high": faster * (1 + noise)}
        return {
            "step": step,
            "run": f"01K{name[:2]}{step}",
            "p50_latency_ms": middle,
            "p50_ci95": [middle * (1 - noise), middle * (1 + noise)],
            "fps": 1000 / middle,
            "speedup": None if step == "reference" else own,
            "model_memory_mb": 3.1 * ratio,
            "peak_memory_mb": 31.0,
            "warnings": [f"{name} was noisy"] if name == "local" else [],
            "accuracy": {"value": 0.9086, "ci95": [0.9, 0.915], "examples": 1000}
            if step == "3"
            else None,
            "error": None,
        }

    unmeasured = dict.fromkeys(measured("2", 1.0))
    why = {"reason": "RUNTIME_UNAVAILABLE", "message": "the device has no runtime that takes it"}
    return {
        "name": name,
        "board": board,
        "format": "tflite",
        "reference": "reference",
        "models": [
            measured("reference", 1.0),
            measured("1", 1.004),
            measured("2", 0.52),
            measured("3", 0.61),
            unmeasured | {"step": "5", "error": why},
        ],
    }
