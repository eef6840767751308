"""Where what is fetched or made for tests is kept: $EDGEOPT_CACHE, by default ~/.cache/edgeopt."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


def folder(name: str) -> Path:
    """The part of the cache that `name` has; it need not exist."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeopt"
    return Path(os.environ.get("EDGEOPT_CACHE") or default) / name


@contextlib.contextmanager
def atomic(target: Path) -> Iterator[Path]:
    """A path to write to, a file or a folder, which becomes `target` when all went well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as beside:
        partial = Path(beside) / target.name
        yield partial
        # A folder that another process made meanwhile is as good.
        if not target.is_dir():
            partial.replace(target)
