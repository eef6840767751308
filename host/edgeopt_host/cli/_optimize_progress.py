"""How a recipe goes, on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgeopt_host._text import plain
from edgeopt_host.cli import _progress
from edgeopt_host.cli._output import note
from edgeopt_host.optimize.watcher import Watcher

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@contextlib.contextmanager
def watcher() -> Iterator[Watcher]:
    """The one that suits standard error."""
    if not sys.stderr.isatty():
        lines = _Lines()
        with _progress.observer() as devices:
            lines.devices = devices
            yield lines
        return
    with _progress.drawing() as progress:
        yield _Bars(progress)


class _Lines(Watcher):
    """A line for each thing that begins or ends."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[tuple[str, str]] = set()

    def notice(self, message: str) -> None:
        note(message)

    def progress(self, what: str, share: float, text: str) -> None:  # noqa: ARG002 - of the protocol
        if text and (what, text) not in self._said:
            self._said.add((what, text))
            note(f"{what}: {text}")

    def done(self, what: str, text: str) -> None:
        note(f"{what}: {text}")


class _Bars(Watcher):
    """A bar for each step and evaluation that goes on, and for each device."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.devices = _progress.bars(progress)
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def notice(self, message: str) -> None:
        self._progress.console.print(plain(message), markup=False, highlight=False)

    def progress(self, what: str, share: float, text: str) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task("", total=1.0, device=plain(what), model="")
        self._progress.update(self._tasks[what], completed=share, description=plain(text))

    def done(self, what: str, text: str) -> None:
        if (task := self._tasks.pop(what, None)) is not None:
            self._progress.remove_task(task)
        self.notice(f"{what}: {text}")
