"""Formats told apart by content, with neither TensorFlow nor torch."""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path, PurePosixPath

from edgeopt_host.errors import EdgeoptError, ModelFileError, UsageError
from edgeopt_host.modelfile import ModelFile
from edgeopt_host.optimize.formats import keras, torch
from edgeopt_host.optimize.model import Format

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
# Of a program of ExecuTorch, after its flatbuffer's four bytes: "ET" and a version.
_PTE = b"ET"
_PICKLE = b"\x80"
# What a pickled state dict may refer to besides kinds of storage.
_PLAIN = {
    "collections OrderedDict",
    "torch Size",
    "torch.serialization _get_layout",
    "numpy dtype",
    "numpy ndarray",
}
_MAX_PICKLE_BYTES = 2**26
_BY_FACTORY = (
    "give the Python file that builds the module, as FILE.py:FACTORY, with --weights {path}"
)


def recognize(path: Path) -> tuple[Format, tuple[Path, ...]]:
    """Its format, and the files beside it that belong to it.

    Raises:
        UsageError: when it cannot be read.
        EdgeoptError: MODEL_INVALID when it is no model, or not a whole one.
    """
    if path.is_dir():
        return _folder(path), ()
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(_HDF5):
        keras.check_h5(path)
        return Format.KERAS, ()
    if head.startswith(_ZIP):
        return _archive(path), ()
    if head[4:6] == _PTE and head[6:8].isdigit():
        return Format.PTE, ()
    if head.startswith(_PICKLE):
        raise ModelFileError(
            f"{path} is a pickle, such as torch's old format for weights: {_BY_FACTORY.format(path=path)}"
        )
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < path.stat().st_size:
        raise ModelFileError(
            f"{path} is a safetensors file, which holds weights alone: save them with torch.save and "
            + _BY_FACTORY.format(path="WEIGHTS.pt")
        )
    if path.suffix == ".py":
        raise UsageError(
            f"{path} is Python: name the function that builds the module, {path}:build"
        )
    opened = ModelFile.open(path)
    if opened.fault is not None:
        if opened.fault.message.startswith(f"{path} is not a model"):
            raise ModelFileError(
                f"{path} is no model that edgeopt knows: it starts like none of Keras (.keras, .h5), "
                "PyTorch, ONNX or TFLite"
            )
        raise opened.fault
    return Format(str(opened.format)), tuple(file for _, file, _ in opened.companions)


def _folder(path: Path) -> Format:
    names = {one.name for one in path.iterdir()}
    if {"saved_model.pb", "saved_model.pbtxt"} & names:
        return Format.SAVED_MODEL
    if torch.MANIFEST in names:
        torch.check(path)
        return Format.TORCH
    if keras.MANIFEST in names:
        return Format.KERAS
    if "checkpoint" in names or any(name.endswith(".index") for name in names):
        raise ModelFileError(
            f"{path} holds a TensorFlow checkpoint, which is weights alone: load it into its model and "
            "save that with model.export(…) or model.save(…)"
        )
    raise ModelFileError(
        f"{path} is a folder without saved_model.pb, so no SavedModel, and no other model is a folder"
    )


def _archive(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.namelist()
            top = set(entries)
            if "config.json" in top and {"metadata.json", "model.weights.h5"} & top:
                keras.check_archive(archive, path)
                return Format.KERAS
            # torch puts everything into one folder, of any name.
            files = {name.partition("/")[2]: name for name in entries}
            if "bytecode.pkl" in files:
                return Format.PTL
            if "constants.pkl" in files and "data.pkl" in files:
                return Format.TORCHSCRIPT
            if "archive_format" in files or "serialized_exported_program.json" in top:
                _check_exported(entries, path)
                return Format.EXPORTED_PROGRAM
            if "data.pkl" in files:
                with archive.open(files["data.pkl"]) as file:
                    raise _no_program(path, file.read(_MAX_PICKLE_BYTES))
            if any(PurePosixPath(name).suffix == ".npy" for name in entries):
                raise ModelFileError(
                    f"{path} holds arrays (.npz), no model; data are given with --data"
                )
    except EdgeoptError:
        raise
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as error:
        raise ModelFileError(f"{path} is a damaged or truncated zip archive: {error}") from error
    raise ModelFileError(f"{path} is a zip archive, but neither a Keras nor a PyTorch model")


def _check_exported(entries: list[str], path: Path) -> None:
    if not any(
        "/models/" in name or name == "serialized_exported_program.json" for name in entries
    ):
        raise ModelFileError(
            f"{path} is a .pt2 archive without an exported program, such as AOTInductor's; save it with "
            "torch.export.save(program, …)"
        )


def _no_program(path: Path, pickled: bytes) -> ModelFileError:
    """Of a file of torch.save: weights, or a module whose class is elsewhere."""
    try:
        named = {
            str(argument)
            for code, argument, _ in pickletools.genops(pickled)
            if code.name == "GLOBAL"
        }
    except (ValueError, EOFError):
        named = set()
    classes = sorted(
        name.replace(" ", ".")
        for name in named
        if name not in _PLAIN
        and not name.startswith(("torch._utils ", "torch._tensor ", "__builtin__ ", "builtins "))
        and not (name.startswith("torch ") and name.endswith("Storage"))
        and not name.startswith(("torch.storage ", "numpy."))
    )
    modules = [name for name in classes if not name.startswith("torch.optim")]
    if modules:
        return ModelFileError(
            f"{path} is a pickled object of {modules[0]}, and loading such files runs code: save its "
            "weights alone with torch.save(module.state_dict(), …) and "
            + _BY_FACTORY.format(path="WEIGHTS.pt")
        )
    return ModelFileError(f"{path} holds weights without a module: {_BY_FACTORY.format(path=path)}")
