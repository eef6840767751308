"""Python files of the user's that belong to a model: copied with what they import, and imported.

They are imported as `edgeopt_code_DIGEST.NAME`, so that two models may each have a `net.py` in one
process, and pickled classes are found again in another. Among themselves they import each other by the
names they always had.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import importlib.machinery
import importlib.util
import json
import shutil
import sys
import types
from pathlib import Path
from typing import Any

from edgeopt_host.errors import EdgeoptError, ModelFileError, UsageError
from edgeopt_host.optimize._user_code import Finder

FOLDER = "code"


def fresh(target: Path, manifest: str) -> Path:
    """Makes an empty folder for a bundle, in the place of an older one.

    Raises:
        UsageError: when something else is there.
    """
    if (target / manifest).is_file():
        shutil.rmtree(target)
    try:
        target.mkdir()
    except FileExistsError:
        raise UsageError(
            f"{target} is in the way of a folder of edgeopt's: move it elsewhere"
        ) from None
    return target


def copy(file: Path, bundle: Path) -> str:
    """Copies a Python file, and those beside it that it imports, into a bundle's code folder.

    Nothing is executed. Data files beside them are not copied.

    Returns:
        The module's name there.

    Raises:
        UsageError: when it cannot be read or parsed.
    """
    if not file.is_file():
        raise UsageError(f"cannot read {file}: there is no such file")
    file = file.resolve()
    root, name = file.parent, file.stem
    # A file of a package is imported as one.
    while (root / "__init__.py").exists():
        root, name = root.parent, f"{root.name}.{name}"
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(
            f"{file} cannot be imported under its name: rename it to letters and digits"
        )
    finder = Finder(path=[str(root)])
    try:
        finder.import_hook(name)
    except (SyntaxError, UnicodeDecodeError, ValueError) as error:
        raise UsageError(
            f"{getattr(error, 'filename', None) or file} is no Python: {error}"
        ) from error
    except ImportError as error:
        raise UsageError(f"{file} cannot be imported: {error}") from error
    target = bundle / FOLDER
    for module in finder.modules.values():
        # Packages without an __init__.py have none.
        if found := getattr(module, "__file__", None):
            source = Path(found)
            copied = target / source.relative_to(root)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copied)
    return name


def load(bundle: Path, name: str) -> types.ModuleType:
    """Imports a module of a bundle's code.

    Raises:
        EdgeoptError: MODEL_INVALID with what it raised.
    """
    try:
        return importlib.import_module(f"{install(bundle)}.{name}")
    except ModuleNotFoundError as error:
        raise EdgeoptError(
            f"{name}.py imports {error.name}, which is neither beside it nor installed",
            "LIBRARY_MISSING",
        ) from error
    except Exception as error:
        raise ModelFileError(f"importing {name}.py failed with {brief(error)}") from error


def install(bundle: Path) -> str:
    """Makes a bundle's code importable, without importing any; the name of its package."""
    folder = bundle / FOLDER
    package = f"edgeopt_code_{_digest(folder)[:16]}"
    if package not in sys.modules:
        module = types.ModuleType(package)
        module.__path__ = [str(folder)]
        sys.modules[package] = module
        sys.meta_path.insert(0, _Finder(package, folder))
    return package


def manifest(path: Path, schema: str) -> dict[str, Any]:
    """The JSON file that says what a bundle holds.

    Raises:
        EdgeoptError: MODEL_INVALID.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFileError(f"{path} is no JSON: {error}") from error
    seen = found.get("schema") if isinstance(found, dict) else found
    if seen != schema:
        raise ModelFileError(f"{path} has the schema {seen!r}; this edgeopt knows {schema}")
    return dict(found)


def brief(error: BaseException) -> str:
    """A library's exception in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kind = type(error).__name__
    return f"{kind}: {lines[0][:300]}" if lines else kind


class _Finder(importlib.machinery.PathFinder):
    """Finds modules of one package, and has them import each other by their plain names."""

    def __init__(self, package: str, folder: Path) -> None:
        self._package = package
        self._names = {one.stem for one in folder.iterdir()} if folder.is_dir() else set()

    def find_spec(  # type: ignore[override]
        self, fullname: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(f"{self._package}."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
            spec.loader.importer = self.import_
        return spec

    def import_(
        self,
        name: str,
        globals_: Any = None,
        locals_: Any = None,
        fromlist: Any = (),
        level: int = 0,
    ) -> Any:
        """As __import__."""
        top = name.partition(".")[0]
        if level or top not in self._names:
            return builtins.__import__(name, globals_, locals_, fromlist, level)
        full = f"{self._package}.{name}"
        module = builtins.__import__(full, globals_, locals_, fromlist, 0)
        return module if fromlist else sys.modules[f"{self._package}.{top}"]


class _Loader(importlib.machinery.SourceFileLoader):
    importer: Any = None

    def exec_module(self, module: types.ModuleType) -> None:
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self.importer}
        super().exec_module(module)

    def set_data(self, *_: Any, **__: Any) -> None:
        """No byte code is kept: a bundle stays what it is."""


def _digest(folder: Path) -> str:
    hasher = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        hasher.update(f"{file.relative_to(folder)}\0{file.stat().st_size}\0".encode())
        hasher.update(file.read_bytes())
    return hasher.hexdigest()
