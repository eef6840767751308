"""This machine's own files as magika (Google's file classifier) sees them, labelled by extension."""

from __future__ import annotations

import json
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import models
from datasets import Array, Labelled

_ROOTS = (Path(sysconfig.get_paths()["stdlib"]), Path("/usr/lib"), Path("/usr/share"))
# Of each kind: more would be more of the same, fewer kinds would tell less.
_MOST = 60
_FEWEST = 10
# Where what an extension stands for is a matter of taste.
_UNSURE = {"crt", "in", "dat", "data", "txt", "log", "inc", "conf", "cfg", "pl", "pm", "t"}


def files(seed: int = 0) -> Labelled:
    """Bytes of files (n, 2048) int32 and the model's classes (n,): a fifth to learn from.

    A class has 10 to 60 files, drawn at random; kinds of which there are fewer are left out.
    """
    config = _config("config.min.json")
    classes = config["target_labels_space"]
    kinds = _extensions(classes)
    found: dict[str, list[Path]] = {}
    for path in _walk():
        kind = kinds.get(path.suffix[1:].lower())
        if kind is not None:
            found.setdefault(kind, []).append(path)
    random = np.random.default_rng(seed)
    rows: list[Array] = []
    labels: list[int] = []
    for kind in sorted(found):
        seen: dict[bytes, Array] = {}
        for index in random.permutation(len(found[kind])):
            row = _features(found[kind][index], config)
            if row is not None:
                seen.setdefault(row.tobytes(), row)
            if len(seen) == _MOST:
                break
        if len(seen) >= _FEWEST:
            rows += seen.values()
            labels += [classes.index(kind)] * len(seen)
    order = random.permutation(len(rows))
    x, y = np.stack(rows)[order], np.array(labels, np.int64)[order]
    learnt = len(x) // 5
    return Labelled(x[:learnt], y[:learnt], x[learnt:], y[learnt:])


def _config(name: str) -> Any:
    return json.loads(models.fetch("magika", name).read_text(encoding="utf-8"))


def _extensions(classes: list[str]) -> dict[str, str]:
    """The only class that claims an extension, by extension."""
    claims: dict[str, list[str]] = {}
    for kind, told in _config("content_types_kb.min.json").items():
        for extension in told["extensions"]:
            claims.setdefault(extension, []).append(kind)
    return {
        extension: kinds[0]
        for extension, kinds in claims.items()
        if len(kinds) == 1 and kinds[0] in classes and extension not in _UNSURE
    }


def _walk() -> Iterator[Path]:
    for root in _ROOTS:
        for folder, folders, names in os.walk(root):
            folders.sort()
            for name in sorted(names):
                path = Path(folder, name)
                if path.suffix and not path.is_symlink():
                    yield path


def _features(path: Path, config: Any) -> Array | None:
    """As magika/magika.py does it: the first and the last bytes of what is there without white space."""
    block, beg, end = config["block_size"], config["beg_size"], config["end_size"]
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            first = file.read(min(block, size)).lstrip()
            file.seek(max(0, size - block))
            last = file.read(block).rstrip()
    except OSError:
        return None
    if size < config["min_file_size_for_dl"] or len(first) < config["min_file_size_for_dl"]:
        return None
    row = np.full(beg + end, config["padding_token"], np.int32)
    head, tail = first[:beg], last[-end:]
    row[: len(head)] = list(head)
    row[beg + end - len(tail) :] = list(tail)
    return row
