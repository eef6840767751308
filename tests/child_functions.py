"""What test_child.py runs in children."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from edgeopt_host.errors import EdgeoptError, UsageError


def chatty(value: Any, progress: Callable[[float, str], None]) -> Any:
    print("to stdout")  # noqa: T201 - as libraries do
    os.write(1, b"from below Python\n")
    progress(0.5, "half")
    return value


def died(what: str) -> NoReturn:
    if what == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "exit":
        os._exit(3)
    raise {
        "memory": MemoryError(),
        "bad_alloc": RuntimeError("std::bad_alloc"),
        "full": OSError(errno.ENOSPC, "No space left on device"),
        "missing": ModuleNotFoundError("No module", name="nowhere_to_be_found"),
        "library": ValueError("\nfirst line\nsecond line"),
        "own": EdgeoptError("as it was raised", "DATA_INVALID"),
    }[what]


def misused() -> NoReturn:
    raise UsageError("used wrongly")


def sleep(file: str) -> None:
    Path(file).write_text(str(os.getpid()))
    time.sleep(600)
