"""Progress on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from edgeopt_host._text import plain
from edgeopt_host.cli._output import note
from edgeopt_host.observer import Observer
from edgeopt_host.run import Run

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_RATED_BYTES = 2**20
# With more launches than this, a log gets one line for each.
_FEW_LAUNCHES = 5


class ProgressObserver(Observer):
    """Also keeps the runs that have ended, for a push that is interrupted."""

    def __init__(self) -> None:
        self.runs: list[Run] = []

    def finished(self, run: Run) -> None:
        self.runs.append(run)


@contextlib.contextmanager
def observer() -> Iterator[ProgressObserver]:
    """The one that suits standard error."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    with drawing() as progress:
        yield bars(progress)


@contextlib.contextmanager
def drawing() -> Iterator[Progress]:
    """Bars on standard error; each has the fields `device`, or whatever is at work, and `model`."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.fields[device]}", markup=False),
        TextColumn("{task.fields[model]}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
    )
    # Drawing costs CPU time, which the device `local` shares with what it measures.
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, refresh_per_second=2) as progress:
        yield progress


def bars(progress: Progress) -> ProgressObserver:
    """Draws devices among what else is drawn there."""
    return _Bars(progress)


class _Lines(ProgressObserver):
    """A line for each thing that begins: no more than a log can bear."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[tuple[object, ...]] = set()
        self._lock = threading.Lock()

    def notice(self, message: str) -> None:
        note(message)

    def connecting(self, device: str) -> None:
        self._once(device, "connecting")

    def uploaded(self, device: str, model: str, sent_bytes: int, seconds: float) -> None:
        self._once(device, f"{model}: {uploaded(sent_bytes, seconds)}")

    def waiting(
        self, device: str, model: str, ahead: int, holder: str, holder_remaining_s: float
    ) -> None:
        # Its time left alone is no news.
        key = (device, model, ahead, holder)
        text = waiting(device, ahead, holder, holder_remaining_s)
        self._once(device, f"{model}: {text}", key)

    def measuring(
        self, device: str, model: str, phase: str, launch: int, launches: int, fraction: float
    ) -> None:
        if launches > _FEW_LAUNCHES:
            self._once(device, f"{model}: launch {launch + 1} of at most {launches}")
        elif fraction == 0:
            self._once(device, f"{model}: {launch_name(launch, launches)}{phase}")

    def cooling(self, device: str, model: str, condition: str, temperature_c: float) -> None:  # noqa: ARG002 - changes every second
        self._once(device, f"{model}: waits for: {condition}")

    def finished(self, run: Run) -> None:
        super().finished(run)
        end = run.error.message if run.error else "done"
        self._once(run.device.name, f"{run.model.name}: {end}")

    def _once(self, device: str, text: str, key: tuple[object, ...] | None = None) -> None:
        key = key or (device, text)
        with self._lock:
            if key not in self._said:
                self._said.add(key)
                note(f"{device}: {text}")


class _Bars(ProgressObserver):
    """One bar per device: the upload first, then the launches as parts of a whole."""

    # How a launch's part is shared between its phases.
    _SHARES: ClassVar[dict[str, tuple[float, float]]] = {
        "loading": (0.0, 0.0),
        "warming up": (0.05, 0.3),
        "measuring": (0.35, 0.65),
    }

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def notice(self, message: str) -> None:
        self._print(message)

    def connecting(self, device: str) -> None:
        # A device that is measured again begins anew.
        if (task := self._tasks.pop(device, None)) is not None:
            self._progress.remove_task(task)
        self._update(device, "", "connecting", None)

    def uploading(self, device: str, model: str, done_bytes: int, total_bytes: int) -> None:
        share = done_bytes / total_bytes if total_bytes else 1.0
        text = f"uploading {done_bytes / 2**20:.1f} of {total_bytes / 2**20:.1f} MB"
        self._update(device, model, text, share)

    def uploaded(self, device: str, model: str, sent_bytes: int, seconds: float) -> None:
        if sent_bytes:
            self._print(f"{device}: {model}: {uploaded(sent_bytes, seconds)}")

    def waiting(
        self, device: str, model: str, ahead: int, holder: str, holder_remaining_s: float
    ) -> None:
        self._update(device, model, waiting(device, ahead, holder, holder_remaining_s), None)

    def measuring(
        self, device: str, model: str, phase: str, launch: int, launches: int, fraction: float
    ) -> None:
        start, width = self._SHARES.get(phase, (1.0, 0.0))
        done = (launch + start + width * fraction) / launches if launches else fraction
        self._update(device, model, f"{launch_name(launch, launches)}{phase}", min(1.0, done))

    def cooling(self, device: str, model: str, condition: str, temperature_c: float) -> None:
        now = f" (now {temperature_c:.0f} °C)" if temperature_c else ""
        self._update(device, model, f"waits for: {condition}{now}", None)

    def finished(self, run: Run) -> None:
        super().finished(run)
        self._update(run.device.name, run.model.name, "failed" if run.error else "done", 1.0)

    def _print(self, message: str) -> None:
        self._progress.console.print(plain(message), markup=False, highlight=False)

    def _update(self, device: str, model: str, text: str, share: float | None) -> None:
        text, model = plain(text), plain(model)
        if device not in self._tasks:
            self._tasks[device] = self._progress.add_task("", total=1.0, device=device, model=model)
        self._progress.update(
            self._tasks[device],
            description=text,
            model=model,
            total=None if share is None else 1.0,
            completed=share or 0.0,
        )


def uploaded(sent_bytes: int, seconds: float) -> str:
    """`uploaded 12.3 MB at 85.0 MB/s`, MB being 2^20 bytes."""
    from edgeopt_host.report import _units

    if not sent_bytes:
        return "already on the device, nothing sent"
    speed = sent_bytes / max(seconds, 1e-6)
    # Of what took no time to send, the rate says nothing.
    rate = f" at {_units.size(round(speed))}/s" if sent_bytes >= _RATED_BYTES else ""
    return f"uploaded {_units.size(sent_bytes)}{rate}"


def waiting(device: str, ahead: int, holder: str, holder_remaining_s: float) -> str:
    """`waiting: 2 before this one`, `waiting: alice@laptop holds pi4 for 12 min more`."""
    from edgeopt_host import _clock

    if not (ahead or holder):
        return "waiting for its turn"
    parts = [f"{ahead} before this one"] if ahead else []
    if holder:
        left = f" for {_clock.span(holder_remaining_s)} more" if holder_remaining_s > 0 else ""
        parts.append(f"{holder} holds {device}{left}")
    return f"waiting: {', '.join(parts)}"


def launch_name(launch: int, launches: int) -> str:
    return f"launch {launch + 1} of {launches}, " if launch < launches else ""
