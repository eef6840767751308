"""Who wants to know what a push is doing."""

from __future__ import annotations

from edgeopt_host.run import Run


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

    def measuring(
        self, device: str, model: str, phase: str, launch: int, launches: int, fraction: float
    ) -> None:
        """A launch goes on: `fraction` of its phase is done."""

    def finished(self, run: Run) -> None:
        """A run has ended, with figures or with an error."""
