from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import model_files
from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize import formats

# Prunes a module, saves it, and forgets all of it; another process loads it.
PRUNE = """
import sys
from pathlib import Path
import torch
from edgeopt_host.optimize import formats
from edgeopt_host.optimize.model import Format, Model
folder = Path(sys.argv[1])
(folder / "own").mkdir()
source = formats.open_model(f"{folder}/net.py:build", into=folder / "own", weights=folder / "state.pt")
module = formats.torch.load(source)
module.first[0] = torch.nn.Linear(3, 2)
module.last = torch.nn.Linear(2, 2)
formats.torch.save(module, folder / "pruned.torch", source)
module.last.odd = lambda: None
try:
    formats.torch.save(module, folder / "odd.torch", source)
except Exception as error:
    print(error)
print((folder / "odd.torch").exists())
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_files.made("torch", tmp_path_factory.mktemp("torch"))


@pytest.fixture(scope="module")
def pruned(files: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PRUNE, str(files)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def seen(files: Path, pruned: list[str]) -> dict[str, Any]:
    assert pruned
    weights = ("state", "wrapped", "ambiguous", "more", "less", "shape", "tensor", "pickled", "old")
    built = {name: {"reference": "net.py:build", "weights": f"{name}.pt"} for name in weights}
    factories = {
        name: {"reference": f"net.py:{name}"}
        for name in ("Net", "needy", "number", "broken", "none")
    }
    files_: dict[str, dict[str, str]] = {
        name: {} for name in ("script.pt", "free.pt2", "fixed.pt2", "pruned.torch")
    }
    return model_files.seen(files, {**built, **factories, **files_})


@pytest.mark.parametrize("name", ["state", "old", "wrapped", "script.pt", "free.pt2", "fixed.pt2"])
def test_modules_give_what_they_gave(files: Path, seen: dict[str, Any], name: str) -> None:
    assert "error" not in seen[name], seen[name]
    (outputs,) = seen[name]["outputs"].values()
    np.testing.assert_allclose(outputs, np.load(files / "y.npy"), rtol=1e-5, atol=1e-6)


def test_a_description_counts(seen: dict[str, Any]) -> None:
    found = seen["state"]["description"]
    assert found["inputs"] == [{"name": "image", "shape": [None, 3], "dtype": "float32"}]
    assert found["outputs"] == [{"name": "output", "shape": [None, 2], "dtype": "float32"}]
    assert found["parameters"] == 3 * 4 + 4 + 4 * 2 + 2
    assert found["operators"] == {"Linear": 2, "ReLU": 1}
    for name in ("state", "script.pt", "free.pt2", "fixed.pt2"):
        assert seen[name]["description"]["macs"] == 3 * 4 + 4 * 2
    assert seen["fixed.pt2"]["description"]["inputs"][0]["shape"] == [2, 3]


def test_what_was_unwrapped_is_told(seen: dict[str, Any]) -> None:
    assert seen["wrapped"]["description"]["remarks"] == [
        "its weights were taken from 'state_dict' of a checkpoint",
        "the names of its weights began with 'module.', which was taken off",
    ]
    assert seen["state"]["description"]["remarks"] == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ambiguous", "this checkpoint holds 2, in student, teacher"),
        ("more", "they have more besides"),
        ("less", "they lack last.weight, last.bias"),
        ("shape", r"last.bias has the shape \(7,\) there and \(2,\) in the module"),
        ("tensor", "the weights are of type Tensor; a state dict was expected"),
        ("pickled", "hold more than tensors, and loading such files runs code"),
        ("needy", "needy of net.py is called without arguments, but: missing a required argument"),
        ("number", "returns int; a torch.nn.Module was expected"),
        ("broken", "failed with ValueError: no luck"),
        ("none", "net.py has no none; it has Net, build, needy, number, broken"),
    ],
)
def test_what_does_not_fit_is_one_sentence(seen: dict[str, Any], name: str, message: str) -> None:
    assert seen[name]["reason"] in {"MODEL_INVALID", "USAGE"}
    assert "\n" not in seen[name]["error"]
    assert re.search(message, seen[name]["error"]), seen[name]["error"]


def test_a_factory_may_be_a_class_with_weights_of_its_own(seen: dict[str, Any]) -> None:
    assert seen["Net"]["description"]["parameters"] == 26


def test_a_changed_module_loads_in_another_process(
    files: Path, seen: dict[str, Any], pruned: list[str]
) -> None:
    assert seen["pruned.torch"]["description"]["parameters"] == 3 * 2 + 2 + 2 * 2 + 2
    manifest = json.loads((files / "pruned.torch" / "module.json").read_text())
    assert manifest == {"schema": "edgeopt.torch/1", "factory": "net:build", "pickled": True}
    assert "the module cannot be saved whole" in pruned[-2]
    assert pruned[-1] == "False"


def test_a_bundle_has_the_files_that_are_imported(files: Path, tmp_path: Path) -> None:
    model = formats.open_model(f"{files}/net.py:build", into=tmp_path, weights=files / "state.pt")
    code = {str(one.relative_to(model.path)) for one in model.path.rglob("*") if one.is_file()}
    assert code == {
        "module.json",
        "weights.pt",
        "code/net.py",
        "code/parts/__init__.py",
        "code/parts/blocks.py",
        "code/parts/sizes.py",
    }
    again = tmp_path / "again"
    again.mkdir()
    other = formats.open_model(f"{files}/net.py:build", into=again, weights=files / "state.pt")
    assert other.digest == model.digest
    assert formats.open_model(model.path, into=tmp_path) == model


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("state.pt", "holds weights without a module: .*FILE.py:FACTORY, with --weights"),
        ("old.pt", "torch's old format for weights: .*--weights"),
        ("pickled.pt", "is a pickled object of net.Net, and loading such files runs code"),
        ("x.npy", "is no model that edgeopt knows"),
    ],
)
def test_weights_without_code_are_refused(files: Path, name: str, message: str) -> None:
    with pytest.raises(EdgeoptError, match=message) as raised:
        formats.open_model(files / name, into=files)
    assert raised.value.reason == "MODEL_INVALID"


def test_files_that_are_not_there_are_usage_errors(files: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        formats.open_model("nowhere/net.py:build", into=tmp_path)
    with pytest.raises(UsageError, match="No such file"):
        formats.open_model(tmp_path / "none.onnx", into=tmp_path)
    with pytest.raises(UsageError, match="there is no such file"):
        formats.open_model(f"{files}/net.py:build", into=tmp_path, weights=tmp_path / "none.pt")
    with pytest.raises(UsageError, match="name the function that builds the module"):
        formats.open_model(files / "net.py", into=tmp_path)
    (tmp_path / "odd.py").write_text("def (:", encoding="utf-8")
    with pytest.raises(UsageError, match=r"odd\.py is no Python"):
        formats.open_model(f"{tmp_path}/odd.py:build", into=tmp_path)
