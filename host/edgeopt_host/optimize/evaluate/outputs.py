"""What a model gives for examples, kept in files: an original's outputs are needed after every step."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgeopt_host.optimize import cache, formats
from edgeopt_host.optimize.data.examples import Examples
from edgeopt_host.optimize.formats.runner import Runner
from edgeopt_host.optimize.model import Model
from edgeopt_host.optimize.tensors import Array

_NAMES = "names"


class Outputs:
    """One model's outputs.

    Args:
        model: opened when outputs are first needed that are not kept.
        folder: of the files; made when it is not there. Those of many models and data may share it.
        data: what examples are from, as a digest.
        fresh: whether files that are there already are not read, but written anew.
    """

    def __init__(self, model: Model, folder: Path, data: str, *, fresh: bool = False) -> None:
        self.model = model
        self._folder = folder
        self._data = data
        self._fresh = fresh
        self._written: set[Path] = set()
        self._versions = cache.runtime_versions()
        self._runner: Runner | None = None

    def of(self, name: str, examples: Callable[[], Examples]) -> dict[str, Array]:
        """Real-valued outputs, by the model's own names; the first axis is the example.

        Args:
            name: which examples of the data, and what was done to them.
            examples: them.

        Raises:
            EdgeoptError: DATA_INVALID when the model does not take them.
        """
        file = self._file(name)
        kept = _load(file) if not self._fresh or file in self._written else None
        if kept is None:
            kept = formats.predict(self._opened(), examples())
            _save(file, kept)
            self._written.add(file)
        return kept

    def _opened(self) -> Runner:
        if self._runner is None:
            self._runner = formats.open_runner(self.model, threads=os.cpu_count() or 1)
        return self._runner

    def _file(self, name: str) -> Path:
        key = cache.key(
            model=[self.model.format.value, self.model.digest],
            data=self._data,
            name=name,
            versions=self._versions,
        )
        return self._folder / f"{key}.npz"


def _load(path: Path) -> dict[str, Array] | None:
    """None when there is no such file, or it is damaged."""
    try:
        # numpy leaves a damaged file open that it opened itself.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = archive[_NAMES].tolist()
            return {name: archive[str(number)] for number, name in enumerate(names)}
    except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile):
        return None


def _save(path: Path, outputs: dict[str, Array]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # By number: a name may be anything.
    arrays = {str(number): array for number, array in enumerate(outputs.values())}
    descriptor, partial = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, **{_NAMES: np.asarray(list(outputs), np.str_)}, **arrays)  # type: ignore[arg-type]
        Path(partial).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(partial).unlink()
        raise
