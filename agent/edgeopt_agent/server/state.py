"""The agent over a state directory that may be unusable for a time.

A full disk, a read-only one or files of a newer agent leave an agent that answers, says what is
wrong, and goes on by itself when it is mended.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

from edgeopt_agent.errors import StorageError
from edgeopt_agent.queue import BenchmarkQueue

_log = logging.getLogger(__name__)
_RETRY_S = 3.0
# Below this, results may not fit any more.
_LOW_BYTES = 16 * 2**20


class AgentState:
    """Opens the queue as soon as that is possible.

    Args:
        folder: the state directory.
        open_queue: makes the queue, or raises StorageError.
    """

    def __init__(self, folder: Path, open_queue: Callable[[], BenchmarkQueue]) -> None:
        self._folder = folder
        self._open_queue = open_queue
        self._queue: BenchmarkQueue | None = None
        self._error: StorageError | None = None
        self._opener: asyncio.Task[None] | None = None

    def start(self) -> None:
        if not self._try_to_open():
            self._opener = asyncio.create_task(self._keep_trying())

    async def stop(self) -> None:
        if self._opener is not None:
            self._opener.cancel()
            await asyncio.wait([self._opener])
        if self._queue is not None:
            await self._queue.stop()

    def close(self) -> None:
        """When nobody is served any more."""
        if self._queue is not None:
            self._queue.close()

    @property
    def queue(self) -> BenchmarkQueue:
        """The queue.

        Raises:
            StorageError: while it cannot be opened.
        """
        if self._queue is None:
            raise self._error or StorageError("STATE_UNUSABLE", "the agent is still starting")
        return self._queue

    @property
    def busy(self) -> bool:
        return self._queue is not None and self._queue.busy

    def problems(self) -> list[StorageError]:
        """What keeps this device from working just now."""
        error = self._error if self._queue is None else self._queue.storage_error
        if error is not None:
            return [error]
        if not os.access(self._folder, os.W_OK):
            return [
                StorageError(
                    "STATE_READ_ONLY",
                    f"the agent's state directory {self._folder} cannot be written; mount it writable",
                )
            ]
        if self.free_bytes() < _LOW_BYTES:
            return [
                StorageError(
                    "STORAGE_FULL",
                    f"the disk with the agent's state directory {self._folder} is full; free some space",
                )
            ]
        return []

    def free_bytes(self) -> int:
        """What this process may still write into the state directory."""
        try:
            room = os.statvfs(self._folder)
        except OSError:
            return 0
        return room.f_bavail * room.f_frsize

    def _try_to_open(self) -> bool:
        try:
            self._queue = self._open_queue()
        except Exception as raised:  # noqa: BLE001 - an agent that answers can say what is wrong
            error = raised if isinstance(raised, StorageError) else _unexpected(raised)
            if self._error is None or self._error.reason != error.reason:
                _log.error("%s", error.message)
            self._error = error
            return False
        self._error = None
        self._queue.start()
        return True

    async def _keep_trying(self) -> None:
        while not self._try_to_open():  # noqa: ASYNC110 - no event tells of a mended disk
            await asyncio.sleep(_RETRY_S)
        _log.info("the state directory can be used again")


def _unexpected(error: Exception) -> StorageError:
    _log.error("the state directory cannot be used", exc_info=error)
    return StorageError(
        "STATE_UNUSABLE",
        f"the agent cannot use its state directory: {type(error).__name__}: {error}; its log has more",
    )
