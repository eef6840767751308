"""Model files: which format, which companions, which digest. The content decides, not the name."""

from __future__ import annotations

import hashlib
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgeopt_host.errors import ModelFileError, UsageError

# What edgeopt recognizes, each executed by the runtime of its name.
FORMATS = ("tflite", "onnx", "ptl")

_READ_BYTES = 1024 * 1024
# What zipfile raises for archives that are damaged, or of a kind that it does not know.
_DAMAGED_ZIP = (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, struct.error)
_SUFFIXES = {".tflite": "tflite", ".onnx": "onnx", ".ptl": "ptl", ".pt": "ptl", ".jit": "ptl"}


@dataclass(frozen=True)
class Digest:
    """Names content by its SHA-256 (64 hexadecimal digits) and size."""

    sha256: str
    size_bytes: int

    @classmethod
    def of(cls, path: Path) -> Digest:
        """Reads the whole file."""
        hasher = hashlib.sha256()
        size = 0
        with path.open("rb") as file:
            while data := file.read(_READ_BYTES):
                hasher.update(data)
                size += len(data)
        return cls(hasher.hexdigest(), size)


@dataclass(frozen=True)
class ModelFile:
    """A model on this host.

    `companions` are the files its main file refers to (ONNX external data), by relative name.
    `fault` says why it is no model that edgeopt can push; its format is then None.
    """

    path: Path
    format: str | None
    digest: Digest
    companions: tuple[tuple[str, Path, Digest], ...] = ()
    note: str | None = None
    fault: ModelFileError | None = None

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return self.digest.size_bytes + sum(digest.size_bytes for _, _, digest in self.companions)

    @classmethod
    def open(cls, path: Path, runtime: str | None = None) -> ModelFile:
        """Recognizes a model; a plug-in's runtime takes any file and recognizes it by itself.

        A file that is no model is returned with its `fault`, so that others can go on.

        Raises:
            UsageError: when the file cannot be read.
        """
        fault = None
        found: str | None = None
        companions: tuple[tuple[str, Path, Digest], ...] = ()
        try:
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise UsageError(f"cannot read the model {path}: it is no regular file")
            with path.open("rb") as file:
                head = file.read(8)
            digest = Digest.of(path)
            try:
                found, companions = (
                    _recognize(path, head) if runtime in {None, *FORMATS} else (runtime, ())
                )
            except ModelFileError as error:
                fault = error
        except OSError as error:
            raise UsageError(f"cannot read the model {path}: {error.strerror}") from error
        expected = _SUFFIXES.get(path.suffix.lower())
        note = None
        if expected is not None and expected != found and found in FORMATS:
            note = (
                f"{path.name} is {found} by its content, whatever its name says, and runs as such"
            )
        return cls(path, found, digest, companions, note, fault)


def _recognize(path: Path, head: bytes) -> tuple[str, tuple[tuple[str, Path, Digest], ...]]:
    if not head:
        raise ModelFileError(
            f"{path} is empty; a TFLite, ONNX or PyTorch mobile model was expected"
        )
    # The file identifier of schema_v3 of the TFLite flatbuffer.
    if head[4:8] == b"TFL3":
        return "tflite", ()
    if head[:4] == b"PK\x03\x04":
        _check_pytorch(path)
        return "ptl", ()
    return "onnx", _onnx_companions(path)


def _check_pytorch(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {PurePosixPath(name).name for name in archive.namelist()}
    except _DAMAGED_ZIP as error:
        raise ModelFileError(f"{path} is a damaged or truncated PyTorch file: {error}") from error
    if "bytecode.pkl" in names or {"constants.pkl", "data.pkl"} <= names:
        return
    if "data.pkl" in names:
        raise ModelFileError(
            f"{path} holds weights without code; save the module with torch.jit.script(…) and "
            "_save_for_lite_interpreter, then push the .ptl"
        )
    raise ModelFileError(f"{path} is a zip archive, but no PyTorch mobile or TorchScript file")


def _onnx_companions(path: Path) -> tuple[tuple[str, Path, Digest], ...]:
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import _get_all_tensors, uses_external_data

    try:
        # Whatever its name: by default, "m.json" would have to be JSON.
        model = onnx.load(str(path), format="protobuf", load_external_data=False)
    except DecodeError as error:
        raise _no_onnx(path) from error
    if not model.ir_version or not model.graph.node:
        raise _no_onnx(path)
    locations = {
        entry.value
        for tensor in _get_all_tensors(model)
        if uses_external_data(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return tuple(_companion(path, location) for location in sorted(locations))


def _no_onnx(path: Path) -> ModelFileError:
    if path.suffix.lower() == ".onnx":
        return ModelFileError(
            f"{path} is a damaged or truncated ONNX file: export or copy it again"
        )
    return ModelFileError(
        f"{path} is not a model that edgeopt knows: it starts like none of TFLite, ONNX or PyTorch "
        "mobile (.ptl)"
    )


def _companion(path: Path, location: str) -> tuple[str, Path, Digest]:
    relative = PurePosixPath(location)
    if relative.is_absolute() or ".." in relative.parts or "\0" in location:
        raise ModelFileError(
            f"{path} refers to external data at {location!r}, outside its own folder; save it with the "
            "data beside the model"
        )
    file = path.parent / relative
    try:
        return str(relative), file, Digest.of(file)
    except OSError as error:
        raise ModelFileError(
            f"{path} refers to external data in {location!r}, which cannot be read: {error.strerror}"
        ) from error
