"""Who wants to know how a run goes."""

from __future__ import annotations

from edgeopt_host.observer import Observer


class Watcher:
    """Hears how a run goes and does nothing; the command line draws it.

    Attributes:
        devices: hears of measuring on devices.
    """

    def __init__(self) -> None:
        self.devices = Observer()

    def notice(self, message: str) -> None:
        """Something the user should know, that is no result."""

    def progress(self, what: str, share: float, text: str) -> None:
        """How far a step or an evaluation is, from 0 to 1."""

    def done(self, what: str, text: str) -> None:
        """It has ended."""
