"""What runs keep: models and data by their digests, and steps by the digest of what made them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from edgeopt_host import _files, paths
from edgeopt_host.errors import EdgeoptError
from edgeopt_host.optimize import _user_code
from edgeopt_host.optimize.model import Model
from edgeopt_host.optimize.technique import Technique

_NOTE = "step.json"
_MOST_PREDICTIONS_BYTES = 2**31
_LEFT_S = 86_400.0
_HERE = Path(__file__).parent
_RUNTIMES = ("ai-edge-litert", "keras", "numpy", "onnxruntime", "tensorflow", "tf-keras", "torch")


@dataclass(frozen=True)
class Kept:
    """A step that was made before, or just now.

    Attributes:
        model: what it made.
        document: what its child told: "used", "notes", "seconds", "versions".
    """

    model: Model
    document: dict[str, Any]


class Cache:
    """The folders; entries appear in them whole or not at all."""

    def __init__(self) -> None:
        self._steps = paths.cache_dir() / "optimize" / "steps"
        self._evaluations = paths.cache_dir() / "optimize" / "evaluations"
        self.predictions = paths.cache_dir() / "optimize" / "predictions"
        # These are what recipes name by digest: nothing else has them once the user's own are gone.
        self._models = paths.data_dir() / "optimize" / "models"
        self._data = paths.data_dir() / "optimize" / "data"
        for folder in (self._steps, self._evaluations, self.predictions, self._models, self._data):
            _files.make_private(folder)
            _sweep(folder)
        _shrink(self.predictions, _MOST_PREDICTIONS_BYTES)

    def step(self, key: str) -> Kept | None:
        """What was made under this key; a damaged entry is none."""
        folder = self._steps / key
        try:
            document = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
            model = Model.from_document(document.pop("model"), folder)
            if Model.of(model.path, model.format, model.companions).digest == model.digest:
                return Kept(model, document)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError):
            pass
        shutil.rmtree(folder, ignore_errors=True)
        return None

    def add_step(
        self,
        key: str,
        make: Callable[[Path], tuple[Model, dict[str, Any]]],
        *,
        replace: bool = False,
    ) -> Kept:
        """Keeps what `make` leaves in the folder that it is given."""
        with _new_folder(self._steps, key) as folder:
            model, document = make(folder)
            note = {**document, "model": model.document(folder)}
            (folder / _NOTE).write_text(json.dumps(note, indent=1), encoding="utf-8")
            if replace:
                shutil.rmtree(self._steps / key, ignore_errors=True)
        kept = self.step(key)
        if kept is None:
            raise EdgeoptError(f"{self._steps / key} was changed by somebody else: run it again")
        return kept

    def evaluation(self, key: str) -> dict[str, Any] | None:
        """What an evaluation told."""
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads((self._evaluations / f"{key}.json").read_text(encoding="utf-8")))
        return None

    def add_evaluation(self, key: str, document: Mapping[str, Any]) -> None:
        """Keeps it."""
        _files.write_whole(self._evaluations / f"{key}.json", json.dumps(document))

    def model(self, digest: str) -> Model | None:
        """A run's original, kept under its digest."""
        folder = self._models / digest
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            note = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
            model = Model.from_document(note, folder)
            if Model.of(model.path, model.format, model.companions).digest == digest:
                return model
        return None

    def add_model(self, model: Model) -> Model:
        """Copies a model, so that nothing the user does to their file changes it."""
        if (kept := self.model(model.digest)) is not None:
            return kept
        with _new_folder(self._models, model.digest) as folder:
            target = folder / model.path.name
            if model.path.is_dir():
                shutil.copytree(model.path, target)
            else:
                shutil.copyfile(model.path, target)
            moved = []
            for companion in model.companions:
                inside = folder / companion.relative_to(model.path.parent)
                inside.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(companion, inside)
                moved.append(inside)
            copied = Model.of(target, model.format, tuple(moved))
            if copied.digest != model.digest:
                raise EdgeoptError(f"{model.path} changed while it was read: run it again")
            (folder / _NOTE).write_text(json.dumps(copied.document(folder)), encoding="utf-8")
            # One that is damaged.
            shutil.rmtree(self._models / model.digest, ignore_errors=True)
        kept = self.model(model.digest)
        if kept is None:
            raise EdgeoptError(f"cannot keep a model in {self._models}: may it be written?")
        return kept

    def data(self, digest: str) -> Path | None:
        """The folder of prepared data of this digest."""
        folder = self._data / digest
        return folder if folder.is_dir() else None

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder that is gone at the end; one of a run that is killed is removed later."""
        with tempfile.TemporaryDirectory(dir=self._steps, prefix=".run-") as folder:
            yield Path(folder)

    @contextlib.contextmanager
    def new_data(self) -> Iterator[Path]:
        """A folder to prepare data in, which is gone at the end."""
        with tempfile.TemporaryDirectory(dir=self._data, prefix=".new-") as folder:
            yield Path(folder) / "data"

    def add_data(self, folder: Path, digest: str) -> Path:
        """Keeps prepared data."""
        with contextlib.suppress(OSError):
            folder.rename(self._data / digest)
        kept = self.data(digest)
        if kept is None:
            raise EdgeoptError(
                f"cannot keep data in {self._data}: is there room, and may it be written?"
            )
        return kept


def key(**parts: Any) -> str:
    """The digest of everything that decides a result."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def versions(technique: Technique) -> dict[str, str]:
    """Of the libraries that decide what a technique makes."""
    found = {}
    for name in sorted(technique.libraries):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def metric_key(spec: str | None) -> list[str | None]:
    """What decides what a metric says: its name, and the file of the user's function."""
    return [spec, _user_code.digest(spec) if spec else None]


def runtime_versions() -> dict[str, str]:
    """Of what models are run with, and of the code that judges them."""
    found = {"edgeopt": _own_code()}
    for name in _RUNTIMES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def code_of(technique: Technique) -> list[str]:
    """Digests of the code that makes a technique's models: any change may change them."""
    file = import_module(technique.function.partition(":")[0]).__file__ or ""
    return [_own_code(), hashlib.sha256(Path(file).read_bytes()).hexdigest()]


@lru_cache
def _own_code() -> str:
    digest = hashlib.sha256()
    for file in sorted(_HERE.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _sweep(folder: Path) -> None:
    """Removes what killed runs left half made, when nobody can be making it any more."""
    for left in folder.glob(".*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _LEFT_S:
                shutil.rmtree(left, ignore_errors=True)


def _shrink(folder: Path, most_bytes: int) -> None:
    """Removes the files that were written first, until the others are few enough."""
    files = sorted(
        (
            (one.stat().st_mtime, one.stat().st_size, one)
            for one in folder.rglob("*")
            if one.is_file()
        ),
        reverse=True,
    )
    kept = 0
    for _, size, file in files:
        kept += size
        if kept > most_bytes:
            file.unlink(missing_ok=True)


@contextlib.contextmanager
def _new_folder(parent: Path, name: str) -> Iterator[Path]:
    """A folder that gets its name when all went well; another's of the same name stays."""
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=".new-"))
    try:
        yield folder
        with contextlib.suppress(OSError):
            folder.rename(parent / name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
