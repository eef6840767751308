"""Who wants to know what a push is doing."""

from __future__ import annotations

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_host import _enums
from edgeopt_host.run import Run

_NS = 1e9
_OF_LAUNCHES = {"loading", "warming up", "measuring"}


class Observer:
    """Hears of a push's progress and does nothing; the command line draws it.

    Methods are called from one thread per device.
    """

    def notice(self, message: str) -> None:
        """Something the user should know, that is no result."""

    def connecting(self, device: str) -> None:
        """A device is asked for its facts, which takes seconds the first time."""

    def uploading(self, device: str, model: str, done_bytes: int, total_bytes: int) -> None:
        """A model and its data are on their way."""

    def uploaded(self, device: str, model: str, sent_bytes: int, seconds: float) -> None:
        """The device has all; it had it before when nothing was sent."""

    def waiting(
        self, device: str, model: str, ahead: int, holder: str, holder_remaining_s: float
    ) -> None:
        """The benchmark is in the device's queue.

        Args:
            device: its name.
            model: its name.
            ahead: how many run before it.
            holder: who has reserved the device, where somebody else has; else empty.
            holder_remaining_s: how long that lasts.
        """

    def cooling(self, device: str, model: str, condition: str, temperature_c: float) -> None:
        """A launch waits for its start condition; the temperature is 0 where none is known."""

    def measuring(
        self, device: str, model: str, phase: str, launch: int, launches: int, fraction: float
    ) -> None:
        """A launch goes on: `fraction` of its phase is done.

        Args:
            device: its name.
            model: its name, or those of all that are measured in turns.
            phase: "loading", "warming up", "measuring"; of passes, "profiling" and others.
            launch: its number, from 0.
            launches: how many there are at most; 0 in a pass of its own.
            fraction: how much of the phase is done, 0 to 1.
        """

    def finished(self, run: Run) -> None:
        """A run has ended, with figures or with an error."""


def tell(
    observer: Observer,
    device: str,
    model: str,
    launches: int,
    event: benchmark_pb2.BenchmarkEvent,
) -> None:
    """Tells an observer of what passes while a benchmark of so many launches waits and runs."""
    if not event.HasField("progress"):
        return
    progress = event.progress
    if progress.phase == benchmark_pb2.Progress.PHASE_WAITING:
        remaining_s = progress.lease_remaining_ns / _NS
        observer.waiting(device, model, progress.ahead, progress.lease_holder, remaining_s)
        return
    if progress.phase == benchmark_pb2.Progress.PHASE_COOLING:
        observer.cooling(device, model, progress.condition, progress.temperature_celsius)
        return
    if progress.phase == benchmark_pb2.Progress.PHASE_LOOKING:
        # Of a moment in which the host decides, nobody need know.
        return
    phase = _enums.name(benchmark_pb2.Progress.Phase, progress.phase, "PHASE_").replace("_", " ")
    launches = launches if phase in _OF_LAUNCHES else 0
    observer.measuring(device, model, phase, event.launch, launches, progress.fraction)
