"""Benchmarks of this agent: waiting, running and done, one at a time in arrival order.

What it knows is in the journal before anybody hears of it, so that an agent killed at any moment
goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent import order, scratch
from edgeopt_agent.blobs import BlobStore
from edgeopt_agent.errors import (
    AgentError,
    NotFound,
    ResourceExhausted,
    Stopping,
    StorageError,
    WorkerError,
)
from edgeopt_agent.execution import Answer, Execution, digests
from edgeopt_agent.job import Job, again, in_state, outline, state_event
from edgeopt_agent.journal import Journal, Response
from edgeopt_agent.keeper import Keeper
from edgeopt_agent.leases import Leases

_log = logging.getLogger(__name__)

_QUEUED = benchmark_pb2.Benchmark.STATE_QUEUED
_RUNNING = benchmark_pb2.Benchmark.STATE_RUNNING
_SUCCEEDED = benchmark_pb2.Benchmark.STATE_SUCCEEDED
_FAILED = benchmark_pb2.Benchmark.STATE_FAILED
_CANCELLED = benchmark_pb2.Benchmark.STATE_CANCELLED
_MAX_QUEUED = 100
# Results are never thrown away; an agent whose hosts never fetch theirs takes no more.
_MAX_UNACKNOWLEDGED = 1000


class BenchmarkQueue:
    """Takes benchmarks and runs them one after another.

    Two at once would disturb each other: that is why there is a queue.

    Args:
        folder: the state directory; scratch folders are made in it.
        journal: an open one.
        blobs: what models and inputs are.
        default_threads: how many a benchmark gets that asks for none.
        allowed_code: kinds of code that models may be on this device.
        eager: whether benchmarks of an earlier life begin at once; otherwise when somebody first
            creates or watches one.
    """

    def __init__(
        self,
        folder: Path,
        journal: Journal,
        blobs: BlobStore,
        default_threads: Callable[[], int],
        allowed_code: frozenset[str] = frozenset(),
        *,
        eager: bool = True,
    ) -> None:
        self._folder = folder
        self._scratch = folder / "scratch"
        self._journal = journal
        self._blobs = blobs
        self._default_threads = default_threads
        self._allowed_code = allowed_code
        self._jobs = {entry.benchmark.name: Job(entry) for entry in journal.load()}
        self._running: tuple[Job, asyncio.Task[None]] | None = None
        # Of the running job.
        self._execution: Execution | None = None
        self._runner: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._begun = eager
        self._stopping = self._stopped = False
        self._keeper = Keeper(journal, blobs)
        self.leases = Leases(journal, self._has_work_under)
        blobs.in_use = self._digests_in_use
        # What a killed agent left behind.
        scratch.remove(self._scratch)

    @property
    def busy(self) -> bool:
        return self._running is not None

    @property
    def storage_error(self) -> StorageError | None:
        """Why results cannot be kept just now; the queue waits until they can."""
        return self._keeper.storage_error

    def start(self) -> None:
        self._runner = asyncio.create_task(self._run_all())

    async def stop(self) -> None:
        """Ends the running worker. Its benchmark goes back to the queue, and its watchers are told."""
        self._stopping = True
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait([self._runner])
        if self._running is not None:
            job, task = self._running
            task.cancel()
            await asyncio.wait([task])
            if not job.ended:
                with contextlib.suppress(StorageError):
                    self._keeper.change(
                        job, again(job.entry, "the agent was stopped", crashed=False)
                    )
        self._stopped = True
        for job in self._jobs.values():
            job.tell()

    def close(self) -> None:
        """Closes the journal, when nobody watches any more."""
        self._journal.close()

    def create(
        self,
        asked: benchmark_pb2.Benchmark,
        request_id: str,
        holder: str = "unknown",
        fencing_number: int = 0,
        *,
        wait_for_lease: bool = False,
    ) -> benchmark_pb2.Benchmark:
        """Queues a benchmark; a request id seen before returns what it made then.

        Raises:
            NotFound: when a blob it names is missing.
            ResourceExhausted: when the queue is full, or too many results wait to be fetched.
            FailedPrecondition: when its lease is lost, or the device is somebody else's.
            StorageError: when it cannot be kept.
        """
        self._begin()
        for job in self._jobs.values():
            if job.benchmark.request_id == request_id:
                return job.benchmark
        if end := self._journal.acknowledged(request_id):
            return end
        self._check_room()
        lease = self.leases.current()
        if fencing_number:
            self.leases.check(fencing_number, holder)
        elif lease is not None and not wait_for_lease:
            raise self.leases.reserved(lease)
        for digest in digests(asked):
            self._blobs.path(digest)
        # Whatever else the request holds is for this agent to say.
        benchmark = benchmark_pb2.Benchmark(
            name=f"benchmarks/{secrets.token_hex(8)}",
            subjects=asked.subjects,
            plan=asked.plan,
            state=_QUEUED,
            request_id=request_id,
            holder=holder,
            fencing_number=fencing_number,
            attempt=1,
        )
        benchmark.create_time.GetCurrentTime()
        self._jobs[benchmark.name] = Job(self._journal.add(benchmark, state_event(benchmark)))
        self._reschedule()
        return benchmark

    def get(self, name: str) -> benchmark_pb2.Benchmark:
        """Raises NotFound when there is none of this name."""
        return self._job(name).benchmark

    def page(self, after: int, limit: int) -> tuple[list[benchmark_pb2.Benchmark], int]:
        """Outlines of those that arrived after a number, oldest first, and the number to go on after.

        That is 0 when there are no more.
        """
        found = [job for job in self._jobs.values() if job.entry.arrival > after]
        page = found[:limit]
        return [outline(job.benchmark) for job in page], page[-1].entry.arrival if len(
            found
        ) > limit else 0

    def pending(self) -> list[benchmark_pb2.Benchmark]:
        """Outlines of the running benchmark, then of those that wait, in the order they will run."""
        return [outline(job.benchmark) for job in self._pending()]

    def unacknowledged(self) -> int:
        return sum(job.ended for job in self._jobs.values())

    async def watch(self, name: str, after: int) -> AsyncIterator[Response]:
        """Events after a sequence number, until the benchmark has ended, with progress as it comes."""
        self._begin()
        job = self._job(name)
        shown = None
        while True:
            news = job.news
            # What stood before the end was told is all there is.
            ended = job.ended
            while response := self._journal.event(job.entry, after):
                after = response.event.sequence
                yield response
            if ended:
                return
            if job.passing is not None and job.passing is not shown:
                shown = job.passing
                yield shown
            if self._stopped:
                raise Stopping("AGENT_STOPPING", "the agent stops; watch again when it is back")
            await news.wait()

    def cancel(self, name: str) -> benchmark_pb2.Benchmark:
        """Ends a benchmark that has not ended yet."""
        job = self._job(name)
        if not job.ended:
            self._end_early(job, WorkerError("CANCELLED", "cancelled by request"))
        return job.benchmark

    def answer_look(self, name: str, launch: int, answer: Answer) -> bool:
        """Tells a running benchmark how to go on; False when it does not wait for that any more."""
        job = self._job(name)
        return (
            self._execution is not None
            and self._running is not None
            and self._running[0] is job
            and self._execution.answer(launch, answer)
        )

    def acknowledge(self, name: str) -> None:
        """Forgets a benchmark that has ended; one that has not is left alone."""
        job = self._jobs.get(name)
        if job is not None and job.ended:
            self._journal.acknowledge(job.entry)
            del self._jobs[name]

    def acquire_lease(self, request_id: str, holder: str, purpose: str, term_ns: int) -> None:
        """As `Leases.acquire`; what has arrived before it runs first."""
        last = max((job.entry.arrival for job in self._jobs.values()), default=0)
        self.leases.acquire(request_id, holder, purpose, term_ns, after_arrival=last)
        self._reschedule()

    def release_lease(self, fencing_number: int, holder: str, *, force: bool) -> None:
        """As `Leases.release`; benchmarks under the lease end with it, in the same transaction."""
        over = self.leases.to_release(fencing_number, holder, force=force)
        if over is not None:
            failure = order.lease_lost(fencing_number, f"was released by {holder}")
            lost = [job for job in self._jobs.values() if order.is_under(job, fencing_number)]
            ends = [(job.entry, in_state(job.benchmark, _CANCELLED, failure)) for job in lost]
            self._journal.keep_lease(over, [(*end, state_event(end[1])) for end in ends])
            self.leases.released()
            for job in lost:
                self._let_go(job)
        self._reschedule()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._reschedule()

    def _job(self, name: str) -> Job:
        try:
            return self._jobs[name]
        except KeyError:
            raise NotFound(
                "BENCHMARK_NOT_FOUND",
                f"this agent knows no benchmark {name[:80]!r}; it may have been acknowledged",
            ) from None

    def _check_room(self) -> None:
        if sum(not job.ended for job in self._jobs.values()) >= _MAX_QUEUED:
            raise ResourceExhausted(
                "QUEUE_FULL",
                f"{_MAX_QUEUED} benchmarks wait on this device already; try again later",
            )
        if self.unacknowledged() >= _MAX_UNACKNOWLEDGED:
            raise ResourceExhausted(
                "RESULTS_NOT_FETCHED",
                f"{_MAX_UNACKNOWLEDGED} results on this device were never fetched; fetch them with "
                "`edgeopt-host runs resume` on the host that asked for them, or drop them with "
                "`edgeopt-host device queue NAME --discard`",
            )

    def _has_work_under(self, fencing_number: int) -> bool:
        return any(order.is_under(job, fencing_number) for job in self._jobs.values())

    def _pending(self) -> list[Job]:
        return order.pending(self._jobs.values(), self.leases.current())

    def _reschedule(self) -> None:
        """Wakes the runner and tells those that wait where they stand."""
        self._wake.set()
        lease = self.leases.current()
        for ahead, job in enumerate(self._pending()):
            if job.queued:
                job.tell(order.waiting(job, ahead, lease, self.leases.remaining_ns()))

    async def _run_all(self) -> None:
        recovered = False
        while True:
            self._wake.clear()
            if self._begun and not recovered:
                await self._recover()
                recovered = True
            job = self._next()
            if job is None:
                # The end of a lease tells nobody by itself.
                left_s = self.leases.remaining_ns() / 1e9
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), left_s + 0.01 if left_s else None)
                continue
            task = asyncio.create_task(self._run(job))
            self._running = (job, task)
            # Waits for a cancelled one, too: its worker must be gone before the next begins.
            await asyncio.wait([task])
            self._running = None
            self._reschedule()

    async def _recover(self) -> None:
        """Decides about a benchmark in whose middle an earlier agent died."""
        for job in list(self._jobs.values()):
            if job.benchmark.state == _RUNNING:
                job.entry.crashes += 1
                changed = again(job.entry, "the agent died in the middle", crashed=True)
                await self._keeper.keep(job, [state_event(changed)], changed)

    def _next(self) -> Job | None:
        lease = self.leases.current()
        waiting = [job for job in self._pending() if job.queued] if self._begun else []
        return next((job for job in waiting if not order.is_held_back(job, lease)), None)

    async def _run(self, job: Job) -> None:
        task = benchmark_pb2.Benchmark()
        task.CopyFrom(job.benchmark)
        for subject in task.subjects:
            # The worker gets the number, so that it does not have to find out by itself.
            subject.threads = subject.threads or self._default_threads()

        async def keep(events: list[Response]) -> None:
            await self._keeper.keep(job, events)
            # A cancel that came in the very moment in which a worker ended was heard by nobody.
            if job.ended or self._stopping:
                raise asyncio.CancelledError

        self._execution = execution = Execution(
            task,
            self._scratch / job.name.rpartition("/")[2],
            self._folder,
            self._blobs,
            self._allowed_code,
            job.tell,
            keep,
            self._keeper.with_room,
        )
        failure: AgentError | None = None
        try:
            if order.has_lost_its_lease(job, self.leases.current()):
                number = job.benchmark.fencing_number
                await self._keeper.become(job, _CANCELLED, order.lease_lost(number, "has ended"))
                return
            await self._keeper.become(job, _RUNNING)
            self._reschedule()
            await execution.run()
        except AgentError as error:
            failure = error
        except OSError as error:
            failure = WorkerError("WORKER_FAILED", f"the agent could not run the worker: {error}")
        except Exception as error:  # noqa: BLE001 - whatever it is, the next job must run
            _log.exception("%s failed unexpectedly", job.name)
            failure = AgentError(
                "INTERNAL", f"the agent failed unexpectedly: {type(error).__name__}: {error}"
            )
        finally:
            await execution.remove()
        if not job.ended:
            await self._keeper.become(job, _FAILED if failure else _SUCCEEDED, failure)

    def _end_early(self, job: Job, failure: AgentError) -> None:
        self._keeper.change(job, in_state(job.benchmark, _CANCELLED, failure))
        self._let_go(job)
        self._reschedule()

    def _let_go(self, job: Job) -> None:
        """Ends the work on a job that has ended, and tells its watchers."""
        job.tell()
        if self._running is not None and self._running[0] is job:
            self._running[1].cancel()

    def _digests_in_use(self) -> set[str]:
        """What waits or runs needs its inputs, and what nobody has fetched yet its outputs."""
        used = {made for job in self._jobs.values() for made in job.entry.outputs.split()}
        for job in self._jobs.values():
            if not job.ended:
                used |= {digest.sha256 for digest in digests(job.benchmark)}
        return used
