"""Keras models: .keras and .h5 of Keras 3, and of Keras 2, which tf_keras loads.

One with classes of its own is kept in a folder with the code that defines them:

    keras.json    {"schema": "edgeopt.keras/1", "model": "model.keras", "code": "layers"}
    code/         that Python file and those beside it that it imports
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
import types
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeopt_host.errors import EdgeoptError, ModelFileError, UsageError
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.formats import _code, _tensorflow
from edgeopt_host.optimize.formats.description import Description, Weights, ordered
from edgeopt_host.optimize.formats.runner import Runner
from edgeopt_host.optimize.model import Format, Model

KERAS_3 = 3
MANIFEST = "keras.json"
_SCHEMA = "edgeopt.keras/1"
_WHOLE = "save the whole model with model.save('NAME.keras')"
# How the two say that a class is not there.
_UNKNOWN = re.compile(
    r"Could not locate (?:class|function) '(?P<three>[^']+)'"
    r"|Unknown (?:layer|object|\w+ function)?:? ?'?(?P<two>[\w>.]+)'?"
)


def bundle(path: Path, code: Path, into: Path) -> Model:
    """Makes the folder of a model with classes of its own; nothing of it is executed.

    Raises:
        UsageError: when the code cannot be read, or something else is where the folder is to be.
    """
    if path.is_dir():
        raise UsageError(f"{path} has code of its own; --code is for the .keras or .h5 file")
    target = _code.fresh(into / f"{path.stem}{Format.KERAS.suffix}", MANIFEST)
    name = _code.copy(code, target)
    stored = "model.keras" if zipfile.is_zipfile(path) else "model.h5"
    shutil.copyfile(path, target / stored)
    _write(target, stored, name)
    return Model.of(target, Format.KERAS)


def load(model: Model) -> tuple[types.ModuleType, Any]:
    """The library that could load a model, `keras` or `tf_keras`, and the model; not compiled.

    The library that the file says it was saved with is tried first. A SavedModel of Keras 2 is loaded,
    too. Safe mode stays on: layers of pickled Python functions are refused.

    Raises:
        EdgeoptError: MODEL_INVALID, naming a class that is missing.
    """
    path, classes = _parts(model)
    metadata = path / "keras_metadata.pb"
    if model.format is Format.SAVED_MODEL and not metadata.exists():
        raise EdgeoptError(
            f"{model.name} is a SavedModel without Keras's layers, which can be run and converted, not "
            "changed: give the model as .keras or .h5",
            "MODEL_UNSUPPORTED",
        )
    first, second = ("keras", "tf_keras") if generation(path) == KERAS_3 else ("tf_keras", "keras")
    # tf_keras refuses them in .keras files only.
    if metadata.exists() and b'"function_type": "lambda"' in metadata.read_bytes():
        raise _lambda(model.path)
    try:
        return _loaded(first, path, classes)
    except EdgeoptError:
        raise
    except Exception as error:
        with contextlib.suppress(Exception):
            return _loaded(second, path, classes)
        raise _explain(model, error) from error


def _loaded(name: str, path: Path, classes: dict[str, Any]) -> tuple[types.ModuleType, Any]:
    library = _import(name)
    with _named(path) as named:
        return library, library.models.load_model(named, custom_objects=classes, compile=False)


def save(network: Any, target: Path, like: Model) -> None:
    """Writes a model made of `like`, with the code of that, if it has any.

    Args:
        network: of the library that loaded `like`.
        target: the .keras file, or the folder to make when there is code.
        like: the model it was made of.
    """
    if not like.path.is_dir() or like.format is not Format.KERAS:
        network.save(target)
        return
    target.mkdir()
    try:
        shutil.copytree(like.path / _code.FOLDER, target / _code.FOLDER)
        network.save(target / "model.keras")
        _write(target, "model.keras", _code.manifest(like.path / MANIFEST, _SCHEMA)["code"])
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def generation(path: Path) -> int:
    """2 or 3, of the Keras that saved a file or SavedModel, by what it says."""
    if path.is_dir():
        return 2 if (path / "keras_metadata.pb").exists() else 3
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            version = ""
            if "metadata.json" in archive.namelist():
                version = str(json.loads(archive.read("metadata.json")).get("keras_version", ""))
            config = json.loads(archive.read("config.json"))
            old = version.startswith("2.") or str(config.get("module")).startswith("tf_keras")
        return 2 if old else 3
    import h5py

    with h5py.File(path) as file:
        return 3 if _text(file.attrs.get("keras_version", "")).startswith("3") else 2


def check_h5(path: Path) -> None:
    """Raises MODEL_INVALID for HDF5 files without a whole model."""
    import h5py

    try:
        with h5py.File(path) as file:
            if "model_config" in file.attrs:
                _check_config(_text(file.attrs["model_config"]), path)
                return
            weights = "layer_names" in file.attrs or {"layers", "vars", "model_weights"} & set(file)
    except OSError as error:
        raise ModelFileError(
            f"{path} is a damaged or truncated HDF5 file: {_code.brief(error)}"
        ) from error
    if weights:
        raise ModelFileError(
            f"{path} holds weights without a model: load them into it and {_WHOLE}"
        )
    raise ModelFileError(f"{path} is an HDF5 file without a Keras model")


def check_archive(archive: zipfile.ZipFile, path: Path) -> None:
    """Raises MODEL_INVALID for a .keras file that lacks a part."""
    if "model.weights.h5" not in archive.namelist():
        raise ModelFileError(f"{path} lacks model.weights.h5: {_WHOLE} again")
    _check_config(archive.read("config.json"), path)


def _check_config(text: str | bytes, path: Path) -> None:
    try:
        config = json.loads(text)
    except ValueError as error:
        raise ModelFileError(
            f"{path} is damaged: the description of its layers is no JSON"
        ) from error
    if any(_is_pickled(one) for one in _objects(config)):
        raise _lambda(path)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _objects(one)


def _is_pickled(value: dict[str, Any]) -> bool:
    return value.get("class_name") == "__lambda__" or value.get("function_type") == "lambda"


def _lambda(path: Path) -> ModelFileError:
    return ModelFileError(
        f"{path} has a Lambda layer with a pickled Python function, which edgeopt never executes: put layers "
        "or a class of your own, given with --code, in its place"
    )


def runner(model: Model, threads: int) -> Runner:
    _tensorflow.use_threads(threads)
    _, network = load(model)
    return _tensorflow.Running(_tensorflow.of_keras(network, model.name), model.name)


def describe(model: Model, example: Examples | None) -> Description:
    library, network = load(model)
    called = _tensorflow.of_keras(network, model.name)
    seen: dict[int, tuple[str, tuple[int, ...]]] = {}
    for one in network.weights:
        seen[id(one)] = (_dtype(one), tuple(one.shape))
    weights = Weights.of(seen.values())
    return Description(
        inputs=called.signature.inputs,
        outputs=called.signature.outputs,
        parameters=weights.parameters,
        macs=_tensorflow.macs(called, example),
        weight_bytes=weights.stored_bytes,
        dtypes=weights.dtypes,
        operators=ordered(Counter(_layers(network))),
        framework=f"{library.__name__} {library.__version__}",
    )


def _import(name: str) -> types.ModuleType:
    from importlib import import_module

    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise EdgeoptError(
            f"Keras models need the package {error.name}: pip install 'edgeopt[tensorflow]'",
            "LIBRARY_MISSING",
        ) from error


def _parts(model: Model) -> tuple[Path, dict[str, Any]]:
    """The model's own file, and the classes and functions that its code defines, by name."""
    if not (model.path / MANIFEST).exists():
        return model.path, {}
    found = _code.manifest(model.path / MANIFEST, _SCHEMA)
    code = _code.load(model.path, found["code"])
    package = code.__name__.partition(".")[0]
    own = {
        name: value
        for name, value in vars(code).items()
        if str(getattr(value, "__module__", "")).startswith(package)
    }
    return model.path / str(found["model"]), own


@contextmanager
def _named(path: Path) -> Iterator[str]:
    """The file under a name by which Keras takes it for what it is."""
    suffixes = {".keras"} if path.is_file() and zipfile.is_zipfile(path) else {".h5", ".hdf5"}
    if path.is_dir() or path.suffix in suffixes:
        yield str(path)
        return
    with tempfile.TemporaryDirectory(prefix="edgeopt-keras-") as folder:
        named = Path(folder) / f"model{min(suffixes)}"
        named.symlink_to(path.resolve())
        yield str(named)


def _explain(model: Model, error: Exception) -> EdgeoptError:
    text = str(error)
    if found := _UNKNOWN.search(text):
        name = (found["three"] or found["two"]).rpartition(">")[2]
        return ModelFileError(
            f"{model.name} has the class {name}, which is not of Keras: give the Python file that defines it "
            "with --code"
        )
    return ModelFileError(f"Keras cannot load {model.name}: {_code.brief(error)}")


def _layers(network: Any) -> Iterator[str]:
    for one in network.layers:
        if getattr(one, "layers", None):
            yield from _layers(one)
        else:
            yield type(one).__name__


def _dtype(variable: Any) -> str:
    dtype = variable.dtype
    return str(getattr(dtype, "name", dtype))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _write(target: Path, stored: str, code: str) -> None:
    document = {"schema": _SCHEMA, "model": stored, "code": code}
    (target / MANIFEST).write_text(json.dumps(document) + "\n", encoding="utf-8")
