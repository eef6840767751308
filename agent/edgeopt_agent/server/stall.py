"""Cuts off a client that neither sends nor takes anything, so that it holds no memory for ever."""

from __future__ import annotations

import asyncio
from types import TracebackType

from edgeopt_agent.errors import DeadlineExceeded

STALL_S = 60.0


class StallTimer:
    """Ends the call that it is entered in when `touch` is not called for `limit_s`.

    Raises (on exit):
        DeadlineExceeded: CLIENT_STALLED.
    """

    def __init__(self, limit_s: float = STALL_S) -> None:
        self._limit_s = limit_s
        self._stalled = False

    def __enter__(self) -> StallTimer:  # noqa: PYI034 - Self needs Python 3.11
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self.touch()
        self._timer = self._loop.call_later(self._limit_s, self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._stalled and isinstance(error, asyncio.CancelledError):
            raise DeadlineExceeded(
                "CLIENT_STALLED",
                f"nothing moved on this call for {self._limit_s:g} s, so the device ended it; what had "
                "arrived is kept, go on from there",
            ) from error

    def touch(self) -> None:
        """Something moved."""
        self._moved_s = self._loop.time()

    def _look(self) -> None:
        left_s = self._moved_s + self._limit_s - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look)
        elif self._task is not None:
            self._stalled = True
            self._task.cancel()
