"""How large a model is as it is stored, and as it travels compressed."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeopt_host.optimize.model import Model

# What MB means here, as in the figures of a push.
MB = 2**20
_READ_BYTES = 2**20
_LEVEL = 9
# zlib's way to ask for a gzip header, which has no time in it.
_GZIP = 31


@dataclass(frozen=True)
class Size:
    """Of all files of a model, in bytes.

    Attributes:
        bytes: as stored.
        gzip_bytes: gzip of level 9. It shows what pruning and clustering save in transfer, and nothing
            of a file that is compressed already, such as a .keras.
    """

    bytes: int
    gzip_bytes: int

    @property
    def megabytes(self) -> float:
        return self.bytes / MB

    @classmethod
    def of(cls, model: Model) -> Size:
        """Reads and compresses all of it."""
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        packed = 0
        for path in files(model):
            with path.open("rb") as file:
                while piece := file.read(_READ_BYTES):
                    packed += len(packer.compress(piece))
        return cls(model.size_bytes, packed + len(packer.flush()))

    def document(self, original: Size) -> dict[str, Any]:
        """With how many times smaller it is than the original: 4.0 for a quarter of it."""
        return {
            "bytes": self.bytes,
            "gzip_bytes": self.gzip_bytes,
            "compression_ratio": original.bytes / self.bytes,
            "gzip_ratio": original.gzip_bytes / self.gzip_bytes,
        }


def files(model: Model) -> Sequence[Path]:
    """All files of a model, in a fixed order."""
    if model.path.is_dir():
        return sorted(one for one in model.path.rglob("*") if one.is_file())
    return [model.path, *model.companions]
