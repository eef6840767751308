"""Where data come from: an .npz, a folder of images, a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgeopt_host import npz
from edgeopt_host.errors import EdgeoptError, UsageError
from edgeopt_host.optimize import _user_code
from edgeopt_host.optimize.data import images
from edgeopt_host.optimize.data.dataset import flatten, is_name
from edgeopt_host.optimize.tensors import Array

_KINDS = (
    "data are an .npz file, a folder of images, or a function: module:function or FILE.py:function"
)


@dataclass(frozen=True)
class Loaded:
    """What a source gave, unchecked.

    Attributes:
        where: what to call it in messages.
        arrays: by `x_test`, `x_test.NAME`, `y_test`, …; large ones are mapped from files.
        classes: names of the classes, where they have any.
        warnings: sentences.
    """

    where: str
    arrays: dict[str, Array]
    classes: list[str] | None = None
    warnings: list[str] = field(default_factory=list)


def load(
    source: str,
    scratch: Path,
    *,
    labelled: bool = True,
    tell: Callable[[float], None] = lambda _: None,
) -> Loaded:
    """Reads a source.

    Args:
        source: FILE.npz, FOLDER or FOLDER?OPTIONS, module:function or FILE.py:function.
        scratch: an existing folder, for arrays that are mapped.
        labelled: whether a folder of images must have classes.
        tell: called with the share done.

    Raises:
        UsageError: when there is no such file, folder, option, module or function.
        EdgeoptError: DATA_INVALID when it gives no data.
    """
    try:
        path, query = Path(source), ""
        if not path.exists() and "?" in source:
            before, _, query = source.partition("?")
            path = Path(before)
        if path.is_dir():
            folder = images.read(
                path, images.Options.parse(query), scratch, labelled=labelled, tell=tell
            )
            return Loaded(str(path), folder.arrays, folder.classes or None, folder.warnings)
        if path.exists():
            if query:
                raise UsageError(f"options after ? are of image folders, and {path} is none")
            if path.suffix == ".py":
                raise UsageError(f"{path} is a program; name its function, too: {path}:load")
            return _archive(path, scratch)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        if isinstance(error, OSError) and error.filename is None:
            raise  # of what is written, such as a full disk
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot read the data {source!r}: {why}") from error
    if not _user_code.is_function(source):
        raise UsageError(f"there is no {source!r}; {_KINDS}")
    what = f"the function {source}"
    function = _user_code.function(source, "give the data", "DATA_INVALID")
    return Loaded(source, flatten(_user_code.call(function, what, "DATA_INVALID"), what))


def _archive(path: Path, scratch: Path) -> Loaded:
    npz.check(path)
    files = npz.unpack(path, is_name, scratch)
    unread = sorted(set(npz.shapes(path)) - set(files))
    arrays = {name: np.load(file, mmap_mode="r") for name, file in files.items()}
    if not arrays and unread:
        raise EdgeoptError(
            f"{path} has no examples: they are x_train and x_test (x_test.NAME for several inputs), "
            f"labels y_train and y_test; it has {', '.join(unread[:8])}",
            "DATA_INVALID",
        )
    warnings = [f"{path.name} has arrays that were not used: {', '.join(unread)}"] if unread else []
    return Loaded(str(path), arrays, warnings=warnings)
