"""Tells of each step as it goes: one line per step, with how long it took."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

# From here on a step's time is worth telling.
_WORTH_TELLING_S = 1.0


class Steps:
    """Counts the steps of a plan, whose number is known from the start."""

    def __init__(self, total: int, write: Callable[[str], None]) -> None:
        self._total = total
        self._write = write
        self._number = 0

    @contextlib.contextmanager
    def step(self, text: str, *, asks: bool = False) -> Iterator[None]:
        """One step, from entry to exit; `asks` when others may write to the terminal meanwhile."""
        self._number += 1
        started = time.monotonic()
        self._write(f"[{self._number}/{self._total}] {text} …" + ("\n" if asks else ""))
        try:
            yield
        except BaseException:
            if not asks:
                self._write(" failed\n")
            raise
        seconds = time.monotonic() - started
        if not asks:
            self._write(f" {seconds:.0f} s\n" if seconds >= _WORTH_TELLING_S else " done\n")
