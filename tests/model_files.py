"""Model files for the tests of formats, each made by the framework that users make it with.

What frameworks do is done in processes of their own.
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

CLASSES = """
import keras
from shapes import WIDTH

class Doubling(keras.layers.Layer):
    def call(self, x):
        return x * WIDTH
"""
NETWORK = """
import torch
from parts.blocks import block

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = block(4), torch.nn.Linear(4, 2)
    def forward(self, image, scale=None):
        return self.last(self.first(image))

def build():
    return Net()

def needy(width):
    return Net()

def number():
    return 3

def broken():
    raise ValueError("no luck")
"""
BLOCKS = """
import torch
from . import sizes

def block(width):
    return torch.nn.Sequential(torch.nn.Linear(sizes.INPUTS, width), torch.nn.ReLU())
"""


def code(folder: Path) -> None:
    """Python files of users."""
    (folder / "shapes.py").write_text("WIDTH = 2.0\n", encoding="utf-8")
    (folder / "layers.py").write_text(CLASSES, encoding="utf-8")
    (folder / "net.py").write_text(NETWORK, encoding="utf-8")
    parts = folder / "parts"
    parts.mkdir()
    (parts / "__init__.py").write_text("", encoding="utf-8")
    (parts / "sizes.py").write_text("INPUTS = 3\n", encoding="utf-8")
    (parts / "blocks.py").write_text(BLOCKS, encoding="utf-8")
    (folder / "unused.py").write_text("import missing\n", encoding="utf-8")


def _network(library: Any, layers: list[Any] | None = None) -> Any:
    image = library.Input((6, 6, 1), name="image")
    x = library.layers.Conv2D(4, 3, groups=1, activation="relu")(image)
    for layer in layers or []:
        x = layer(x)
    x = library.layers.Flatten()(x)
    return library.Model(image, library.layers.Dense(3, name="class")(x))


def make_keras(folder: Path) -> None:
    import keras
    import tf_keras

    sys.path.insert(0, str(folder))
    doubling = import_module("layers").Doubling()

    x = np.random.default_rng(0).random((5, 6, 6, 1), np.float32)
    np.save(folder / "x.npy", x)
    for name, library in (("3", keras), ("2", tf_keras)):
        library.utils.set_random_seed(1)
        network = _network(library)
        np.save(folder / f"y{name}.npy", network.predict(x, verbose=0))
        network.save(folder / f"whole{name}.keras")
        network.save(folder / f"whole{name}.h5")
        network.save_weights(folder / f"alone{name}.weights.h5")
    network.save(folder / "saved2", save_format="tf")
    _network(keras).export(folder / "saved3")
    pair = keras.Input((2,), name="left"), keras.Input((3,), name="right")
    joined = keras.layers.Concatenate()(list(pair))
    keras.Model(list(pair), {"sum": keras.layers.Dense(1)(joined), "all": joined}).save(
        folder / "two.keras"
    )
    own = _network(keras, [doubling])
    own.save(folder / "own.keras")
    np.save(folder / "own.npy", own.predict(x, verbose=0))
    for name, library in (("3", keras), ("2", tf_keras)):
        pickled = _network(library, [library.layers.Lambda(lambda value: value + 1)])
        pickled.save(folder / f"pickled{name}.keras")
        pickled.save(folder / f"pickled{name}.h5")
    pickled.save(folder / "pickled_saved2", save_format="tf")


def make_torch(folder: Path) -> None:
    import torch

    sys.path.insert(0, str(folder))
    module = import_module("net").build().eval()
    example = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    np.save(folder / "x.npy", example.numpy())
    np.save(folder / "y.npy", module(example).detach().numpy())
    state = module.state_dict()
    torch.save(state, folder / "state.pt")
    torch.save(state, folder / "old.pt", _use_new_zipfile_serialization=False)
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}},
        folder / "wrapped.pt",
    )
    torch.save({"student": state, "teacher": state}, folder / "ambiguous.pt")
    torch.save({**state, "more": torch.zeros(1)}, folder / "more.pt")
    torch.save({k: v for k, v in state.items() if "last" not in k}, folder / "less.pt")
    torch.save({**state, "last.bias": torch.zeros(7)}, folder / "shape.pt")
    torch.save(torch.zeros(2), folder / "tensor.pt")
    torch.save(module, folder / "pickled.pt")
    torch.jit.script(torch.nn.Sequential(module.first, module.last)).save(folder / "script.pt")
    batch = torch.export.Dim("batch")
    program = torch.export.export(module, (example,), dynamic_shapes={"image": {0: batch}})
    torch.export.save(program, folder / "free.pt2")
    torch.export.save(torch.export.export(module, (example[:2],)), folder / "fixed.pt2")


def made(kind: str, folder: Path) -> Path:
    """All files of one framework, made in a process of its own."""
    code(folder)
    _python("make", kind, str(folder))
    return folder


def seen(folder: Path, models: dict[str, dict[str, str]]) -> dict[str, Any]:
    """What a fresh process says of models: {"format", "description", "outputs"} or {"error", "reason"}.

    Args:
        folder: of the files, with examples in x.npy.
        models: by any name, arguments of `formats.open_model`, by file name.
    """
    found: dict[str, Any] = json.loads(_python("see", json.dumps(models), str(folder)))
    return found


def _python(*arguments: str) -> str:
    settings = {
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "CUDA_VISIBLE_DEVICES": "",
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **settings},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1] if done.stdout.strip() else ""


def _see(folder: Path, models: dict[str, dict[str, str]]) -> dict[str, Any]:
    found = {}
    for name, arguments in models.items():
        into = folder / "into" / name.replace("/", "_")
        into.mkdir(parents=True, exist_ok=True)
        reference = str(folder / arguments.pop("reference", name))
        files = {key: folder / value for key, value in arguments.items()}
        try:
            model = formats.open_model(reference, into=into, **files)
            examples = Examples({"": np.load(folder / "x.npy")})
            found[name] = {
                "format": model.format.value,
                "description": formats.describe(model, examples).document(),
                "outputs": {
                    key: value.tolist()
                    for key, value in formats.predict(model, examples, batch=2).items()
                },
            }
        except EdgeoptError as error:
            found[name] = {"error": error.message, "reason": error.reason}
    return found


if __name__ == "__main__":
    task, what, where = sys.argv[1:]
    if task == "make":
        {"keras": make_keras, "torch": make_torch}[what](Path(where))
    else:
        sys.stdout.write("\n" + json.dumps(_see(Path(where), json.loads(what))) + "\n")
