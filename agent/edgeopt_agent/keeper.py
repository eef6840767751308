"""Keeps what becomes of jobs, whatever the disk says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent.blobs import BlobStore
from edgeopt_agent.errors import AgentError, StorageError
from edgeopt_agent.job import Job, State, in_state, state_event
from edgeopt_agent.journal import Journal, Response, is_full
from edgeopt_agent.threads import in_thread

_log = logging.getLogger(__name__)
# How often a state directory that cannot be written is tried again.
_RETRY_S = 2.0


class Keeper:
    """Writes into the journal before anybody hears of it; watchers hear of it afterwards."""

    def __init__(self, journal: Journal, blobs: BlobStore) -> None:
        self._journal = journal
        self._blobs = blobs
        # Why results cannot be kept just now.
        self.storage_error: StorageError | None = None

    async def become(self, job: Job, state: State, failure: AgentError | None = None) -> None:
        """Keeps a job's new state."""
        changed = in_state(job.benchmark, state, failure)
        await self.keep(job, [state_event(changed)], changed)

    async def keep(
        self,
        job: Job,
        events: list[Response],
        benchmark: benchmark_pb2.Benchmark | None = None,
    ) -> None:
        """Keeps events and what the benchmark becomes; waits for as long as the disk takes none."""
        while events and not await self._kept(job, events, benchmark):
            self._blobs.make_some_room()
            await asyncio.sleep(_RETRY_S)
        job.tell()

    async def with_room(self, attempt: Callable[[], Awaitable[None]]) -> None:
        """Does what needs room on the disk, from its beginning, as often as the disk is full."""
        while not await self._tried(attempt):
            self._blobs.make_some_room()
            await asyncio.sleep(_RETRY_S)

    async def _tried(self, attempt: Callable[[], Awaitable[None]]) -> bool:
        try:
            await attempt()
        except OSError as error:
            if not is_full(error):
                raise
            self._note(self._journal.full())
            return False
        self._note(None)
        return True

    def change(self, job: Job, benchmark: benchmark_pb2.Benchmark) -> None:
        """Keeps what a job becomes, at once.

        Raises:
            StorageError: when it cannot be kept; the job is then what it was.
        """
        self._journal.append(job.entry, [state_event(benchmark)], benchmark)
        job.tell()

    async def _kept(
        self,
        job: Job,
        events: list[Response],
        benchmark: benchmark_pb2.Benchmark | None,
    ) -> bool:
        try:
            await in_thread(self._journal.append, job.entry, events, benchmark)
        except StorageError as error:
            self._note(error)
            return False
        self._note(None)
        return True

    def _note(self, error: StorageError | None) -> None:
        if error is not None and self.storage_error is None:
            _log.error("%s", error.message)
        if error is None and self.storage_error is not None:
            _log.info("the state directory can be written again")
        self.storage_error = error
