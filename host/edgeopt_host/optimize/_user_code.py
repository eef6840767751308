"""Functions of the user's that recipes name: "module:function" or "FILE.py:function"."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import sys
from collections.abc import Callable
from importlib import import_module, metadata
from importlib.machinery import ModuleSpec, PathFinder
from modulefinder import ModuleFinder
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

from edgeopt_host.errors import EdgeoptError, UsageError

_Result = TypeVar("_Result")
_FORMS = "a function is module:function or FILE.py:function"
_PACKAGE = 5  # what ModuleFinder calls _PKG_DIRECTORY
_INSTALLED = {"site-packages", "dist-packages"}


def is_function(spec: str) -> bool:
    """Whether it has the form of one."""
    where, _, name = spec.rpartition(":")
    return bool(where) and name.isidentifier()


def function(spec: str, what: str, reason: str) -> Callable[..., Any]:
    """Imports a function.

    Its module finds what is beside it; "module" is looked for in the working directory, too.

    Args:
        spec: "module:function" or "FILE.py:function".
        what: what it is to do, such as "be the metric".
        reason: of the error when its module cannot be imported.

    Raises:
        UsageError: when there is no such file, module or function.
        EdgeoptError: of this reason, with what the module raised.
    """
    if not is_function(spec):
        raise UsageError(f"there is no {spec!r}, which was to {what}; {_FORMS}")
    where, _, name = spec.rpartition(":")
    module = _file(Path(where), reason) if where.endswith(".py") else _module(where, reason)
    found: Any = getattr(module, name, None)
    if not callable(found):
        seen = "has no function" if found is None else "has something else named"
        raise UsageError(f"{where} {seen} {name!r}, which was to {what}")
    return cast("Callable[..., Any]", found)


def call(run: Callable[[], _Result], what: str, reason: str) -> _Result:
    """Runs what is the user's, and tells its mistakes; MemoryError is none.

    Raises:
        EdgeoptError: of this reason, beginning with `what`.
    """
    try:
        return run()
    except (EdgeoptError, MemoryError):
        raise
    except ModuleNotFoundError as error:
        raise EdgeoptError(
            f"{what} needs the Python package {error.name}, which is not installed", reason
        ) from error
    except (Exception, SystemExit) as error:  # users' code raises what it likes
        text = next((line for line in str(error).splitlines() if line.strip()), "")[:200]
        why = f"{type(error).__name__}: {text}" if text else type(error).__name__
        raise EdgeoptError(f"{what} failed with {why}", reason) from error


def digest(spec: str) -> str | None:
    """Of the code that decides what a function does, without importing any.

    It covers the function's file and what that imports from beside it or from the working directory;
    of an installed package, the file and the package's version. Data files are not covered.

    Returns:
        SHA-256 as hex digits; None for what is no function, or has no file.
    """
    where = spec.rpartition(":")[0]
    if not is_function(spec):
        return None
    version = ""
    if where.endswith(".py"):
        file = Path(where).resolve()
        if not file.is_file():
            return None
        files = {file.stem: file} | _imported(file.parent, file)
    else:
        origin = _origin(where)
        if origin is None:
            return None
        files = {where: origin}
        if _installed(origin):
            version = _version(where)
        else:
            above = where.count(".") + (origin.name == "__init__.py")
            files |= _imported(origin.parents[above], where)
    hasher = hashlib.sha256(version.encode())
    for name, one in sorted(files.items()):
        hasher.update(f"\0{name}\0".encode())
        with contextlib.suppress(OSError):  # gone meanwhile: importing it tells
            hasher.update(one.read_bytes())
    return hasher.hexdigest()


def _file(path: Path, reason: str) -> ModuleType:
    # Under its own name pickled functions are found again by processes that it starts.
    taken = getattr(sys.modules.get(path.stem), "__file__", None)
    free = path.stem not in sys.modules or taken == str(path.absolute())
    name = path.stem if free else f"_edgeopt_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f"there is no file {path}; {_FORMS}")
    execute = spec.loader.exec_module
    module = importlib.util.module_from_spec(spec)
    _search(path.resolve().parent)
    sys.modules[name] = module
    try:
        call(lambda: execute(module), str(path), reason)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _module(name: str, reason: str) -> ModuleType:
    _search(Path.cwd())
    if _spec(name) is None:
        raise UsageError(f"there is no Python module {name!r}; {_FORMS}")
    return call(lambda: import_module(name), f"the module {name}", reason)


def _search(folder: Path) -> None:
    """Has modules looked for in a folder first, as when Python runs a file of it."""
    with contextlib.suppress(ValueError):
        sys.path.remove(str(folder))
    sys.path.insert(0, str(folder))


def _origin(name: str) -> Path | None:
    """A module's file."""
    spec = _spec(name)
    return Path(spec.origin) if spec and spec.has_location and spec.origin else None


def _spec(name: str) -> ModuleSpec | None:
    """As importlib.util.find_spec, which imports the packages that a module is in."""
    importlib.invalidate_caches()
    path: list[str] | None = [str(Path.cwd()), *sys.path]
    found: ModuleSpec | None = None
    for depth, part in enumerate(name.split(".")):
        found = PathFinder.find_spec(part, path) if path and part else None
        if found is None and part and depth == 0:
            # Built into Python, or installed to be edited.
            with contextlib.suppress(ImportError, ValueError):
                found = importlib.util.find_spec(part)
        if found is None:
            return None
        inside = found.submodule_search_locations
        path = None if inside is None else list(inside)
    return found


def _imported(folder: Path, start: Path | str) -> dict[str, Path]:
    """Files of modules that a file or module imports from a folder or the working directory."""
    finder = Finder(path=[str(folder), str(Path.cwd())])
    # What cannot be parsed is told when it is imported.
    with contextlib.suppress(ImportError, SyntaxError, ValueError):
        if isinstance(start, Path):
            finder.run_script(str(start))
        else:
            finder.import_hook(start)
    return {
        name: Path(module.__file__)  # type: ignore[attr-defined] # ModuleFinder's own Module has it
        for name, module in finder.modules.items()
        if getattr(module, "__file__", None)
    }


class Finder(ModuleFinder):
    """Knows packages without an __init__.py, too, on which ModuleFinder fails."""

    def find_module(self, name: str, path: Any, parent: Any = None) -> Any:
        spec = PathFinder.find_spec(name, path or self.path)
        if spec and spec.origin is None and spec.submodule_search_locations:
            return None, next(iter(spec.submodule_search_locations)), ("", "", _PACKAGE)
        return super().find_module(name, path, parent)

    def load_package(self, fqname: str, pathname: str) -> Any:
        if (Path(pathname) / "__init__.py").exists():
            return super().load_package(fqname, pathname)
        package = self.add_module(fqname)
        package.__path__ = [pathname]  # type: ignore[attr-defined] # as ModuleFinder does
        return package


def _installed(file: Path) -> bool:
    standard = Path(contextlib.__file__).parent
    return bool(_INSTALLED & set(file.parts)) or standard in file.parents


def _version(module: str) -> str:
    """Of the distributions that a module belongs to; empty for the standard library's."""
    names = _distributions().get(module.partition(".")[0], [])
    return " ".join(f"{name} {metadata.version(name)}" for name in sorted(set(names)))


@functools.cache
def _distributions() -> dict[str, list[str]]:
    return {name: list(found) for name, found in metadata.packages_distributions().items()}
