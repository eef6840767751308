"""Small JSON files of this host's notes, which it can do without: what is damaged counts as empty."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeopt_host import _files


def read(path: Path) -> dict[str, Any]:
    """The object in a file; an empty one where there is none that can be read."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def change(path: Path, change_it: Callable[[dict[str, Any]], object]) -> None:
    """Changes the object in a file, under its folder's lock.

    Raises:
        OSError: when it cannot be written.
    """
    _files.make_private(path.parent)
    with _files.locked(path.parent):
        content = read(path)
        change_it(content)
        _files.write_private(path, json.dumps(content, indent=2) + "\n")
