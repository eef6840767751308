"""Models as steps take and give them: a file or a folder, its format, and its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from edgeopt_host.modelfile import Digest


class Format(str, Enum):
    """How a model is stored; `formats/` has one module for each.

    KERAS is .keras or .h5, of Keras 3 or of Keras 2. TORCH is a folder that edgeopt makes of a Python
    file, the files it imports and a state dict, or of a pickled module (formats/torch.py).
    """

    KERAS = "keras"
    SAVED_MODEL = "saved_model"
    TORCH = "torch"
    TORCHSCRIPT = "torchscript"
    EXPORTED_PROGRAM = "exported_program"
    ONNX = "onnx"
    TFLITE = "tflite"
    PTL = "ptl"
    PTE = "pte"

    @property
    def runtime(self) -> str | None:
        """The runtime that executes it on a device; None when no device can."""
        return self.value if self in {Format.ONNX, Format.TFLITE, Format.PTL} else None

    @property
    def suffix(self) -> str:
        """What the name of such a file or folder ends with."""
        return {
            Format.SAVED_MODEL: ".saved_model",
            Format.TORCHSCRIPT: ".torchscript.pt",
            Format.EXPORTED_PROGRAM: ".pt2",
        }.get(self, f".{self.value}")


@dataclass(frozen=True)
class Model:
    """A model on this host, which nothing changes.

    Attributes:
        path: its file, or the folder that holds its files. Files beside an ONNX file that it refers to
            belong to it.
        format: told by content (`formats.open_model`).
        digest: of all its content: the file's, or of the list of a folder's files and their digests.
        size_bytes: of all its files.
        companions: files beside it that belong to it (ONNX external data).
    """

    path: Path
    format: Format
    digest: str
    size_bytes: int
    companions: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        return self.path.name

    @classmethod
    def of(cls, path: Path, format_: Format, companions: tuple[Path, ...] = ()) -> Model:
        """Reads all of a model's files; `companions` are those beside its main file."""
        files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
        files += companions
        if files == [path]:
            whole = Digest.of(path)
            return cls(path, format_, whole.sha256, whole.size_bytes)
        root = path if path.is_dir() else path.parent
        digests = [(str(file.relative_to(root)), Digest.of(file)) for file in files]
        listing = "".join(f"{one.sha256} {name}\n" for name, one in digests)
        size = sum(one.size_bytes for _, one in digests)
        return cls(path, format_, hashlib.sha256(listing.encode()).hexdigest(), size, companions)

    def document(self, base: Path | None = None) -> dict[str, Any]:
        """JSON of it, with paths relative to `base`, or absolute."""

        def told(path: Path) -> str:
            return str(path.absolute() if base is None else path.relative_to(base))

        return {
            "path": told(self.path),
            "format": self.format.value,
            "digest": self.digest,
            "size_bytes": self.size_bytes,
            "companions": [told(one) for one in self.companions],
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any], base: Path | None = None) -> Model:
        """What `document` told of, with the same `base`."""
        root = base or Path()
        return cls(
            root / document["path"],
            Format(document["format"]),
            document["digest"],
            document["size_bytes"],
            tuple(root / one for one in document["companions"]),
        )
