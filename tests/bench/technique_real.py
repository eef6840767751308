"""Models that others trained, what `bench.techniques` does to them, and what is promised of that."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import cache
import datasets
import models
import ocr
from bench import technique_files
from bench.technique_nets import Branch, Group
from bench.technique_run import ORIGINAL, Row
from datasets import Array, Labelled
from edgeopt_host.optimize import _child
from edgeopt_host.plan import InputRange, Inputs, InputShape

OCR, FILES, FER, PITCH = "rapidocr recognizer", "magika", "fer", "basic-pitch"
# Counts up when what the data files hold changes.
_RECIPES = 2
_FOLDS = 2
_RENDERINGS = 6
_VALIDATION = 500
_FER_SIDE = 64
_AUDIO = 43_844
_AUDIO_HZ = 22_050


def groups() -> tuple[Group, ...]:
    recognizer = functools.partial(
        models.fetch, "rapidocr-onnxruntime", "ch_PP-OCRv4_rec_infer.onnx"
    )
    return (
        Group(
            "onnx",
            OCR,
            lambda _: str(recognizer()),
            lambda: _made("words", lambda: _words(recognizer())),
            (
                # As ONNX Runtime does it when it is told nothing.
                Branch(
                    "dynamic-all",
                    "quantize:dynamic,operators=all,per_channel=no,reduce_range=no",
                ),
                Branch("mixed", "quantize:mixed"),
            ),
            inputs=Inputs(shapes=[InputShape("x", (1, 3, 48, 192))]),
            metric=f"{ocr.__file__}:exact",
            # One of 30, which a tenth of 300 are, would be 3.3 pt.
            validation=_VALIDATION,
            baseline=ORIGINAL,
        ),
        Group(
            "onnx",
            FILES,
            lambda _: str(models.fetch("magika", "model.onnx")),
            lambda: _made("files", technique_files.files),
            (Branch("dynamic", "quantize:dynamic,operators=all"),),
            # Bytes, and 256 where there is none.
            inputs=Inputs(
                shapes=[InputShape("bytes", (1, 2048))], ranges=[InputRange(0, 256, "bytes")]
            ),
            baseline=ORIGINAL,
        ),
        *(_fer(fold) for fold in range(_FOLDS)),
        Group(
            "tflite",
            PITCH,
            lambda _: str(models.fetch_folder("basic-pitch", "icassp_2022/nmp")),
            lambda: _made("audio", _audio),
            (Branch("float", "convert:tflite"),),
        ),
    )


def promises(rows: Sequence[Row]) -> list[tuple[str, bool, str]]:
    """What is promised, whether it is kept, and what was seen; of nets that were tried."""
    told = []
    tried = {row.net for row in rows}
    checks: dict[str, Callable[[Sequence[Row]], tuple[bool, str]]] = {
        f"{OCR}: int8 of everything collapses, 98 → 0 %": _collapse,
        f"{OCR}: mixed within 0.5 pt, smaller, not slower": _mixed,
        f"{FILES}: dynamic smaller at equal accuracy": _files,
        f"{FER}: int8 agrees with its makers' quantized on 92 of 100 faces": _agrees,
        f"{PITCH}: within 1e-4 of its makers' TFLite": _same,
    }
    for name, check in checks.items():
        if any(net.startswith(name.partition(":")[0]) for net in tried):
            try:
                kept, seen = check(rows)
            except _NothingError as error:
                kept, seen = False, str(error)
            told.append((name, kept, seen))
    return told


class _NothingError(Exception):
    """There is no such model, or it was not measured."""


def _row(rows: Sequence[Row], net: str, branch: str) -> Row:
    row = next((row for row in rows if (row.net, row.branch) == (net, branch)), None)
    if row is None:
        raise _NothingError(f"{net}, {branch} was not made")
    if row.error or row.accuracy is None:
        raise _NothingError(f"{branch}: {row.error or 'no accuracy'}")
    return row


def _collapse(rows: Sequence[Row]) -> tuple[bool, str]:
    original, row = _row(rows, OCR, ORIGINAL), _row(rows, OCR, "dynamic-all")
    assert original.accuracy is not None
    assert row.accuracy is not None
    seen = (
        f"{original.accuracy:.1%} → {row.accuracy:.1%}; warned: {'; '.join(row.warnings) or 'no'}"
    )
    return original.accuracy > 0.95 and row.accuracy < 0.05 and bool(row.warnings), seen


def _mixed(rows: Sequence[Row]) -> tuple[bool, str]:
    row = _row(rows, OCR, "mixed")
    if row.drop_pt is None or row.smaller is None or row.latency_ratio is None:
        raise _NothingError("mixed: no drop or no latency")
    kept = row.drop_pt[0] <= 0.5 and row.smaller > 1 and row.latency_ratio[1] <= 1
    return kept, f"{row.drop_pt[0]:.2f} pt, ÷ {row.smaller:.2f}, {_times(row)}"


def _files(rows: Sequence[Row]) -> tuple[bool, str]:
    row = _row(rows, FILES, "dynamic")
    if row.drop_pt is None or row.smaller is None:
        raise _NothingError("dynamic: no drop")
    value, low, high = row.drop_pt
    seen = f"÷ {row.smaller:.2f}, {value:.2f} pt ({low:.2f} to {high:.2f}), {_times(row)}"
    return row.smaller > 1 and low <= 0 <= high, seen


def _agrees(rows: Sequence[Row]) -> tuple[bool, str]:
    agreed = 0
    for fold in range(_FOLDS):
        row = _row(rows, f"{FER}, fold {fold + 1}", "int8")
        assert row.accuracy is not None
        agreed += round(row.accuracy * len(datasets.faces()) / _FOLDS)
    return agreed >= 92, f"{agreed} of {len(datasets.faces())}"


def _same(rows: Sequence[Row]) -> tuple[bool, str]:
    row = next(row for row in rows if (row.net, row.branch) == (PITCH, "float"))
    if row.path is None:
        raise _NothingError(f"float: {row.error}")
    arguments = {
        "model": str(row.path),
        "yardstick": str(models.fetch("basic-pitch", "nmp.tflite")),
        "data": str(_made("audio", _audio)),
    }
    largest = float(_child.call(f"{__name__}:difference", arguments))
    return largest <= 1e-4, f"largest difference {largest:.1e}"


def _times(row: Row) -> str:
    if row.latency_ratio is None:
        return "latency not measured"
    value, low, high = row.latency_ratio
    return f"{value:.2f} of the latency ({low:.2f} to {high:.2f})"


def difference(model: str, yardstick: str, data: str) -> float:
    """The largest difference of outputs, each against the one of the other model that is nearest."""
    with np.load(data) as arrays:
        x = {"": arrays["x_test"]}
    ours, theirs = (list(_outputs(Path(path), x).values()) for path in (model, yardstick))
    assert len(ours) == len(theirs)
    # Names differ, and outputs of one shape may stand in another order.
    return max(
        min(float(np.abs(mine - other).max()) for other in theirs if other.shape == mine.shape)
        for mine in ours
    )


def _outputs(path: Path, inputs: dict[str, Array]) -> dict[str, Array]:
    from edgeopt_host.optimize import formats
    from edgeopt_host.optimize.data import Examples

    return formats.predict(formats.open_model(path, into=path.parent), Examples(inputs))


def _fer(fold: int) -> Group:
    return Group(
        "tflite",
        f"{FER}, fold {fold + 1}",
        lambda _: str(models.fetch("fer", "emotion_model.hdf5")),
        lambda: _made(f"faces-{fold}", lambda: _faces(fold)),
        (Branch("float", "convert:tflite"), Branch("int8", "quantize:int8,io=int8")),
    )


def _faces(fold: int) -> Labelled:
    """Faces as fer feeds them, labelled by its makers' quantized model; calibrated on the other half."""
    from PIL import Image

    side = (_FER_SIDE, _FER_SIDE)
    resized = [
        np.asarray(Image.fromarray(face.astype(np.float32)).resize(side, Image.Resampling.BILINEAR))
        for face in datasets.faces()
    ]
    x = (np.stack(resized)[..., None].clip(0, 1) - 0.5) * 2
    y = _classes(models.fetch("fer", "emotion_model_quantized.tflite"), x)
    test = np.arange(len(x)) % _FOLDS == fold
    return Labelled(x[~test], y[~test], x[test], y[test])


def _classes(model: Path, x: Array) -> Array:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(model))
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for one in x:
        interpreter.set_tensor(given["index"], one[None])
        interpreter.invoke()
        found.append(int(interpreter.get_tensor(made["index"]).argmax()))
    return np.array(found, np.int64)


def _words(recognizer: Path) -> Labelled:
    """Words to judge by, and enough others, rendered several times, to choose layers by."""
    first = ocr.data(recognizer)
    x, y = [first["x_train"]], [first["y_train"]]
    judged = {row.tobytes() for row in first["y_test"]}
    for seed in range(1, _RENDERINGS):
        more = ocr.data(recognizer, seed=seed)
        for images, labels in (
            (more["x_train"], more["y_train"]),
            (more["x_test"], more["y_test"]),
        ):
            other = [row.tobytes() not in judged for row in labels]
            x.append(images[other])
            y.append(labels[other])
    return Labelled(np.concatenate(x), np.concatenate(y), first["x_test"], first["y_test"])


def _audio() -> dict[str, Any]:
    """Chords of three decaying notes with overtones and noise (n, 43844, 1), at 22,050 Hz."""
    random = np.random.default_rng(0)
    seconds = np.arange(_AUDIO) / _AUDIO_HZ
    pieces = []
    for _ in range(40):
        sound = random.normal(0, 0.005, _AUDIO)
        for note in random.choice(np.arange(36, 84), 3, replace=False):
            hertz = 440 * 2 ** ((note - 69) / 12)
            since = np.clip(seconds - random.uniform(0, 1), 0, None)
            tone = sum(np.sin(2 * np.pi * hertz * k * since) / k**2 for k in (1, 2, 3))
            sound += 0.2 * tone * np.exp(-2 * since)
        pieces.append(sound[:, None].astype(np.float32))
    return {"x_test": np.stack(pieces)}


def _made(name: str, make: Callable[[], Labelled | dict[str, Any]]) -> Path:
    target = cache.folder("datasets") / f"real-{_RECIPES}" / f"{name}.npz"
    if not target.exists():
        made = make()
        datasets.save(target, made if isinstance(made, dict) else made._asdict())
    return target
