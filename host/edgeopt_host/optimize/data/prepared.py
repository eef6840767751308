"""Data made ready once: each split in files that are mapped, never read whole."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize.data import labels as labels_
from edgeopt_host.optimize.data import sources, splits
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.data.parts import Part, check, chunks
from edgeopt_host.optimize.data.similarity import similarity
from edgeopt_host.optimize.data.splits import Split
from edgeopt_host.optimize.tensors import Array

CALIBRATION, VALIDATION = 200, 0.1
_SCHEMA = "edgeopt.data/1"
_DOCUMENT, _LABELS, _ROWS = "data.json", "labels.npy", "rows.npy"
_MOST_FIELD = 5000


@dataclass(frozen=True)
class Prepared:
    """Examples by split, in a folder that nothing changes.

    Attributes:
        folder: of the files.
        splits: by name: "calibration", "train", "validation", "test", "field"; those that have any.
        digest: of the content of all of them, and of how they were divided.
    """

    folder: Path
    splits: dict[str, Examples] = field(repr=False)
    digest: str
    _document: dict[str, Any] = field(repr=False)

    def document(self) -> dict[str, Any]:
        """What the history says of them; docs/reference/data.md lists the keys."""
        return copy.deepcopy(self._document)

    def rows(self, split: str) -> Array:
        """Which rows of the source's array a split has (n,); `document` tells of which array."""
        return np.asarray(np.load(self.folder / split / _ROWS))


def prepare(
    source: str,
    into: Path | str,
    *,
    calibration: int = CALIBRATION,
    validation: float = VALIDATION,
    seed: int = 0,
    field: str | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Prepared:
    """Reads data, checks them, and writes their splits, which share no example.

    Runs the user's code when the source is a function. The same source, numbers and seed give the same
    files.

    Args:
        source: FILE.npz, a folder of images ("photos/?size=224x224"), "module:function" or
            "FILE.py:function".
        into: a folder that is not there yet. It appears when all of it is written.
        calibration: how many examples; at most half of what x_train has.
        validation: how many, or their share of x_train when below 1; at most a quarter.
        seed: of what is drawn.
        field: a source of examples from where devices are, which calibration is compared with.
        progress: called with the share done and a few words.

    Raises:
        UsageError: when there is no such source, or `into` exists.
        EdgeoptError: DATA_INVALID, in one sentence that names the array or the file.
        OSError: when the files cannot be written.
    """
    into = Path(into)
    tell = progress or (lambda _share, _text: None)
    if into.exists():
        raise UsageError(f"{into} exists already; prepared data go into a folder of their own")
    into.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=into.parent, prefix=f".{into.name[:64]}."))
    try:
        scratch = part / "scratch"
        document = _write(
            source,
            part,
            scratch,
            asked={"calibration": calibration, "validation": validation, "seed": seed},
            field=field,
            tell=tell,
        )
        shutil.rmtree(scratch)
        _save(part / _DOCUMENT, json.dumps(document, indent=1).encode())
        part.chmod(0o755)
        part.rename(into)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return open_prepared(into)


def prepare_in_child(**arguments: Any) -> dict[str, Any]:
    """As `prepare`, of and to JSON: its arguments, and the document."""
    return prepare(**arguments).document()


def open_prepared(folder: Path) -> Prepared:
    """What `prepare` wrote.

    Raises:
        EdgeoptError: DATA_INVALID when it is not that.
    """
    try:
        document = _document(folder)
        opened = {
            split: Examples(
                {
                    name: np.load(folder / split / f"{number}.npy", mmap_mode="r")
                    for number, name in enumerate(document["inputs"])
                },
                np.load(folder / split / _LABELS, mmap_mode="r") if told["labels"] else None,
                split,
            )
            for split, told in document["splits"].items()
        }
        return Prepared(folder, opened, document["digest"], document)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise EdgeoptError(f"{folder} holds no prepared data: {error}", "DATA_INVALID") from error


def _document(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / _DOCUMENT).read_text(encoding="utf-8"))
    if document["schema"] != _SCHEMA:
        raise ValueError(f"its schema is {document['schema']!r}")
    return document


def _write(
    source: str,
    folder: Path,
    scratch: Path,
    *,
    asked: Mapping[str, Any],
    field: str | None,
    tell: Callable[[float, str], None],
) -> dict[str, Any]:
    tell(0.0, f"reading {source}")
    scratch.mkdir()
    loaded = sources.load(
        source, scratch, tell=lambda share: tell(0.6 * share, f"reading {source}")
    )
    parts, kind = check(loaded.arrays, loaded.where)
    tell(0.6, "dividing")
    division = splits.divide(parts, where=loaded.where, **asked)
    written = {}
    for name, split in division.splits.items():
        tell(0.7, f"writing {name}")
        written[name] = _write_split(folder / name, parts[split.part], split)
    if field is not None:
        tell(0.8, f"reading {field}")
        written["field"] = _write_field(folder, scratch, field, parts, asked["seed"])
    inputs = next(iter(parts.values())).inputs
    document: dict[str, Any] = {
        "schema": _SCHEMA,
        "source": source,
        "field": field,
        "asked": dict(asked),
        "digest": "",
        "inputs": {
            name: {"shape": list(array.shape[1:]), "dtype": array.dtype.newbyteorder("=").name}
            for name, array in inputs.items()
        },
        "labels": None if kind is None else {**kind.document(), "names": loaded.classes},
        "splits": written,
        "duplicates": {
            "in_test": division.in_test,
            "in_validation": division.in_validation,
            "repeated": division.repeated,
        },
        "similarity": None,
        "warnings": [*loaded.warnings, *_label_warnings(parts), *division.warnings],
    }
    if division.in_test or division.in_validation:
        document["warnings"].append(
            f"{division.in_test + division.in_validation} examples to train with are also in test or "
            "validation and were left out: a model that was trained on them looks better than it is"
        )
    document["digest"] = _digest(document)
    _save(folder / _DOCUMENT, json.dumps(document).encode())
    if "calibration" in written:
        tell(0.9, "comparing calibration with test")
        _compare(open_prepared(folder), document, asked["seed"])
    return document


def _compare(prepared: Prepared, document: dict[str, Any], seed: int) -> None:
    names = (document["labels"] or {}).get("names") or ()
    found = similarity(
        prepared.splits["calibration"],
        prepared.splits["test"],
        prepared.splits.get("field"),
        seed=seed,
        names=names,
    )
    document["warnings"] += found.pop("warnings")
    document["similarity"] = found


def _write_split(folder: Path, part: Part, split: Split) -> dict[str, Any]:
    folder.mkdir()
    digest = hashlib.sha256()
    for number, (name, array) in enumerate(part.inputs.items()):
        digest.update(name.encode() + b"\0")
        _write_array(folder / f"{number}.npy", array, split.rows, digest)
    if part.labels is not None:
        digest.update(b"\0labels\0")
        _write_array(folder / _LABELS, part.labels, split.rows, digest)
    _write_array(folder / _ROWS, split.rows, np.arange(len(split.rows)), hashlib.sha256())
    return {
        "examples": len(split.rows),
        "from": f"x_{split.part}",
        "labels": part.labels is not None,
        "sha256": digest.hexdigest(),
    }


def _write_array(path: Path, array: Array, rows: Array, digest: hashlib._Hash) -> None:
    """Rows of an array, in pieces."""
    dtype = array.dtype.newbyteorder("=")
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (len(rows), *array.shape[1:]),
    }
    digest.update(repr(sorted(header.items())).encode())
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in chunks(array, rows):
            digest.update(chunk.data)
            file.write(chunk.data)
        file.flush()
        os.fsync(file.fileno())


def _write_field(
    folder: Path, scratch: Path, source: str, parts: Mapping[str, Part], seed: int
) -> dict[str, Any]:
    own = scratch / "field"
    own.mkdir()
    loaded = sources.load(source, own, labelled=False)
    found, _ = check(loaded.arrays, loaded.where)
    part = found.get("test") or next(iter(found.values()))
    like = next(iter(parts.values()))
    for name, array in like.inputs.items():
        given = part.inputs.get(name)
        told = f"{part.of(name)} of the field data {loaded.where}"
        if given is None or len(part.inputs) != len(like.inputs):
            raise EdgeoptError(
                f"the field data {loaded.where} have other inputs than the data: "
                f"{', '.join(map(part.of, part.inputs))}; {', '.join(map(like.of, like.inputs))}",
                "DATA_INVALID",
            )
        seen, expected = (
            f"{one.dtype.newbyteorder('=')} {list(one.shape[1:])}" for one in (given, array)
        )
        if seen != expected:
            raise EdgeoptError(
                f"{told} holds examples of {seen}; those of the data are {expected}", "DATA_INVALID"
            )
    ordered = Part(part.name, {name: part.inputs[name] for name in like.inputs}, part.labels)
    rows = np.arange(len(part))
    if len(rows) > _MOST_FIELD:
        drawn = np.random.default_rng(seed).choice(len(rows), _MOST_FIELD, replace=False)
        rows = np.sort(drawn)
    return _write_split(folder / "field", ordered, Split(part.name, rows))


def _label_warnings(parts: Mapping[str, Part]) -> list[str]:
    told = []
    for name, part in parts.items():
        if part.labels is None:
            if any(one.labels is not None for one in parts.values()):
                told.append(f"x_{name} has no labels (y_{name})")
        elif labels_.like_classes(part.labels) and not labels_.one_hot(part.labels):
            told.append(
                f"y_{name} holds whole numbers as {part.labels.dtype} and is taken for values; classes "
                "are stored as integers"
            )
    return told


def _digest(document: Mapping[str, Any]) -> str:
    """Of all that is used of the data; not of where they were."""
    parts = [document[part] for part in ("asked", "inputs", "labels", "splits")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _save(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
