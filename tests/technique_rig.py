"""For test_technique_contract.py, in children: small networks of every format, and what is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import digits
from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize import _step, formats, registry
from edgeopt_host.optimize.data import prepare
from edgeopt_host.optimize.model import Format, Model

_NET = """
import torch
from torch import nn


def build():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 64), nn.ReLU(),
        nn.Linear(64, 10),
    )
"""


def prepared(folder: str) -> str:
    """Digits, ready to be used."""
    parent = Path(folder)
    parent.mkdir(parents=True, exist_ok=True)
    made = prepare(str(digits.npz(parent / "digits.npz")), parent / "data", calibration=64)
    return str(made.folder)


def keras_sources(folder: str) -> dict[str, Any]:
    """One network, trained a little, as .keras and as SavedModel."""
    import keras

    x, y = digits.images()
    keras.utils.set_random_seed(0)
    net = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    net.compile("adam", "sparse_categorical_crossentropy")
    net.fit(x[: digits.TRAINED], y[: digits.TRAINED], epochs=4, verbose=0)
    root = Path(folder)
    net.save(root / "net.keras")
    net.export(root / "net.saved_model", verbose=False)
    return {
        name: formats.open_model(root / f"net.{name}", into=root).document()
        for name in ("keras", "saved_model")
    }


def torch_sources(folder: str) -> dict[str, Any]:
    """One network as a bundle, as TorchScript and as ExportedProgram; rows of a picture are channels."""
    import torch

    root = Path(folder)
    (root / "net.py").write_text(_NET, encoding="utf-8")
    scope: dict[str, Any] = {}
    exec(_NET, scope)  # noqa: S102 - the text above
    net = scope["build"]().eval()
    torch.save(net.state_dict(), root / "net.pt")
    torch.jit.save(torch.jit.script(net), str(root / "net.jit.pt"))
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.export.export(net, (torch.zeros(2, 8, 8, 1),), dynamic_shapes=({0: batch},))
    torch.export.save(program, str(root / "net.pt2"))
    given: dict[str, str] = {
        "torch": f"{root / 'net.py'}:build",
        "torchscript": str(root / "net.jit.pt"),
        "exported_program": str(root / "net.pt2"),
    }
    weights = root / "net.pt"
    return {
        name: formats.open_model(
            reference, into=root, weights=weights if name == "torch" else None
        ).document()
        for name, reference in given.items()
    }


def apply_all(
    jobs: Sequence[Mapping[str, Any]], data: str, folder: str
) -> dict[str, dict[str, Any]]:
    """Applies techniques one after the other.

    Args:
        jobs: each with "case", "technique" (its function), "source" and "parameters".
        data: of `prepared`.
        folder: for what they make.

    Returns:
        By case, the answer of the step, or its "error".
    """
    made: dict[str, dict[str, Any]] = {}
    by_function = {one.function: one for one in registry.techniques()}
    for job in jobs:
        technique = by_function[job["technique"]]
        defaults = {one.name: one.default for one in technique.parameters}
        source = Model.from_document(job["source"])
        target = Path(folder) / f"{job['case']}{technique.gives.suffix}"
        try:
            answer = _step.apply(
                job["technique"],
                job["source"],
                str(target),
                defaults | job["parameters"],
                data,
                None,
                0,
                lambda _share, _text="": None,
            )
            answer["inputs"] = _step.load_test(answer["model"], data, 0)
        except EdgeoptError as error:
            answer = {"error": f"{error.reason}: {error.message}"}
        answer["source_after"] = Model.of(source.path, Format(source.format)).digest
        made[job["case"]] = answer
    return made
