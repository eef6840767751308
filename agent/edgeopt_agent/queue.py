"""Benchmarks of this agent: waiting, running and done, one at a time in arrival order."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from edgeopt.agent.v1 import agent_pb2, benchmark_pb2, blob_pb2
from edgeopt_agent.blobs import BlobStore, Digest
from edgeopt_agent.errors import AgentError, NotFound, ResourceExhausted, WorkerError
from edgeopt_agent.launcher import run_worker

_log = logging.getLogger(__name__)

State = benchmark_pb2.Benchmark.State
_ENDED = {
    benchmark_pb2.Benchmark.STATE_SUCCEEDED,
    benchmark_pb2.Benchmark.STATE_FAILED,
    benchmark_pb2.Benchmark.STATE_CANCELLED,
}
_MAX_QUEUED = 100
# Results stay until they are acknowledged; of those that never are, the newest.
_MAX_ENDED = 50


class Job:
    """A benchmark, what has happened to it, and whoever waits for more."""

    def __init__(self, benchmark: benchmark_pb2.Benchmark, request_id: str) -> None:
        self.benchmark = benchmark
        self.request_id = request_id
        # In the envelope that the host gets, so that nothing is copied.
        self.events: list[agent_pb2.WatchBenchmarkResponse] = []
        self._news = asyncio.Event()

    @property
    def ended(self) -> bool:
        return self.benchmark.state in _ENDED

    def append(self, response: agent_pb2.WatchBenchmarkResponse) -> None:
        response.event.sequence = len(self.events) + 1
        self.events.append(response)
        self._news.set()
        self._news = asyncio.Event()

    def become(self, state: State, failure: AgentError | None = None) -> None:
        """Changes the state and tells so as an event; an end is final."""
        if self.ended:
            return
        self.benchmark.state = state
        if state == benchmark_pb2.Benchmark.STATE_RUNNING:
            self.benchmark.start_time.GetCurrentTime()
        if state in _ENDED:
            self.benchmark.end_time.GetCurrentTime()
        if failure is not None:
            self.benchmark.failure.reason = failure.reason
            self.benchmark.failure.message = failure.message
            self.benchmark.failure.metadata.update(failure.metadata)
        self.append(_response(benchmark=self.benchmark))

    async def watch(self, after: int) -> AsyncIterator[agent_pb2.WatchBenchmarkResponse]:
        """Events after a sequence number, until the benchmark has ended."""
        position = max(0, after)
        while True:
            news = self._news
            for event in self.events[position:]:
                position += 1
                yield event
            if self.ended and position >= len(self.events):
                return
            await news.wait()


class BenchmarkQueue:
    """Takes benchmarks and runs them one after another.

    Two at once would disturb each other: that is why there is a queue.
    """

    def __init__(self, folder: Path, blobs: BlobStore, default_threads: Callable[[], int]) -> None:
        self._scratch = folder / "scratch"
        self._blobs = blobs
        self._default_threads = default_threads
        self._jobs: dict[str, Job] = {}
        self._waiting: asyncio.Queue[Job] = asyncio.Queue()
        self._running: tuple[Job, asyncio.Task[None]] | None = None
        self._runner: asyncio.Task[None] | None = None
        blobs.in_use = self._digests_in_use
        # What a killed agent left behind.
        shutil.rmtree(self._scratch, ignore_errors=True)

    @property
    def busy(self) -> bool:
        return self._running is not None

    def start(self) -> None:
        self._runner = asyncio.create_task(self._run_all())

    async def stop(self) -> None:
        """Ends the running benchmark and tells its watchers why."""
        for job in self._jobs.values():
            if not job.ended:
                self._end(job, _stopped("AGENT_STOPPED", "the agent was stopped"))
        if self._running is not None:
            await asyncio.wait([self._running[1]])
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait([self._runner])

    def create(self, asked: benchmark_pb2.Benchmark, request_id: str) -> benchmark_pb2.Benchmark:
        """Queues a benchmark; a request id seen before returns what it made then.

        Raises:
            NotFound: when a blob it names is missing.
            ResourceExhausted: when the queue is full.
        """
        for job in self._jobs.values():
            if job.request_id == request_id:
                return job.benchmark
        if sum(not job.ended for job in self._jobs.values()) >= _MAX_QUEUED:
            raise ResourceExhausted(
                "QUEUE_FULL",
                f"{_MAX_QUEUED} benchmarks wait on this device already; try again later",
            )
        for digest in _digests(asked):
            self._blobs.path(digest)
        # Whatever else the request holds is for this agent to say.
        benchmark = benchmark_pb2.Benchmark(
            name=f"benchmarks/{secrets.token_hex(8)}", subjects=asked.subjects, plan=asked.plan
        )
        benchmark.create_time.GetCurrentTime()
        job = Job(benchmark, request_id)
        self._jobs[benchmark.name] = job
        job.become(benchmark_pb2.Benchmark.STATE_QUEUED)
        self._waiting.put_nowait(job)
        self._forget_oldest()
        return benchmark

    def get(self, name: str) -> Job:
        """Raises NotFound when there is none of this name."""
        try:
            return self._jobs[name]
        except KeyError:
            raise NotFound(
                "BENCHMARK_NOT_FOUND",
                f"this agent knows no benchmark {name!r}; it may have been acknowledged, or the agent "
                "restarted",
            ) from None

    def list(self) -> list[benchmark_pb2.Benchmark]:
        return [job.benchmark for job in self._jobs.values()]

    def cancel(self, name: str) -> benchmark_pb2.Benchmark:
        job = self.get(name)
        if not job.ended:
            self._end(job, _stopped("CANCELLED", "cancelled by request"))
        return job.benchmark

    def acknowledge(self, name: str) -> None:
        """Forgets a benchmark that has ended; one that has not is left alone."""
        job = self._jobs.get(name)
        if job is not None and job.ended:
            del self._jobs[name]

    def _end(self, job: Job, failure: AgentError) -> None:
        job.become(benchmark_pb2.Benchmark.STATE_CANCELLED, failure)
        if self._running is not None and self._running[0] is job:
            self._running[1].cancel()

    async def _run_all(self) -> None:
        while True:
            job = await self._waiting.get()
            if job.ended:  # cancelled while it waited
                continue
            task = asyncio.create_task(self._run(job))
            self._running = (job, task)
            # Waits for a cancelled one, too: its worker must be gone before the next begins.
            await asyncio.wait([task])
            self._running = None

    async def _run(self, job: Job) -> None:
        job.become(benchmark_pb2.Benchmark.STATE_RUNNING)
        plan = job.benchmark.plan
        timeout_s = plan.timeout_ns / 1e9
        folder = self._scratch / job.benchmark.name.rpartition("/")[2]
        try:
            self._lay_out(job.benchmark, folder)
            await asyncio.wait_for(self._launches(job, folder), timeout_s)
        except asyncio.TimeoutError:
            failure: AgentError = WorkerError(
                "TIMED_OUT",
                f"the benchmark did not end within {timeout_s:g} s; the worker was "
                f"{_phase(job)} and has been killed (raise --timeout, or use --quick)",
            )
        except AgentError as error:
            failure = error
        except OSError as error:
            failure = WorkerError("WORKER_FAILED", f"the agent could not run the worker: {error}")
        except Exception as error:  # noqa: BLE001 - whatever it is, the next job must run
            _log.exception("%s failed unexpectedly", job.benchmark.name)
            failure = AgentError(
                "INTERNAL", f"the agent failed unexpectedly: {type(error).__name__}: {error}"
            )
        else:
            job.become(benchmark_pb2.Benchmark.STATE_SUCCEEDED)
            return
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        job.become(benchmark_pb2.Benchmark.STATE_FAILED, failure)

    async def _launches(self, job: Job, folder: Path) -> None:
        plan = job.benchmark.plan
        subject = job.benchmark.subjects[0]
        # The worker gets the number, so that it does not have to find out by itself.
        task = benchmark_pb2.Benchmark()
        task.CopyFrom(job.benchmark)
        task.subjects[0].threads = subject.threads or self._default_threads()
        for launch in range(plan.launches):
            await run_worker(task, folder, launch, job.append)
        if plan.profile:
            await run_worker(task, folder, plan.launches, job.append, "--profile")
        if plan.outputs:
            await run_worker(task, folder, plan.launches, job.append, "--outputs")
            await self._publish_outputs(job, folder)

    async def _publish_outputs(self, job: Job, folder: Path) -> None:
        digest = await asyncio.to_thread(self._blobs.add, folder / "outputs.npz")
        told = next(r.event.outputs for r in job.events if r.event.HasField("outputs"))
        file = blob_pb2.Digest(sha256=digest.sha256, size_bytes=digest.size_bytes)
        outputs = benchmark_pb2.Outputs(file=file, left_out=told.left_out)
        job.append(_response(outputs=outputs))

    def _lay_out(self, benchmark: benchmark_pb2.Benchmark, folder: Path) -> None:
        """Puts the blobs into a folder under the names they had beside each other on the host."""
        subject = benchmark.subjects[0]
        files = [(f"model/{file.name}", file.digest) for file in subject.files]
        if subject.inputs.HasField("file"):
            files.append(("inputs.npz", subject.inputs.file))
        for name, digest in files:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            source = self._blobs.path(Digest(digest.sha256, digest.size_bytes))
            try:
                os.link(source, target)
            except OSError:  # a file system without hard links
                shutil.copyfile(source, target)

    def _digests_in_use(self) -> set[str]:
        jobs = (job for job in self._jobs.values() if not job.ended)
        return {digest.sha256 for job in jobs for digest in _digests(job.benchmark)}

    def _forget_oldest(self) -> None:
        ended = [name for name, job in self._jobs.items() if job.ended]
        for name in itertools.islice(ended, max(0, len(ended) - _MAX_ENDED)):
            del self._jobs[name]


def _digests(benchmark: benchmark_pb2.Benchmark) -> list[Digest]:
    subject = benchmark.subjects[0]
    named = [file.digest for file in subject.files]
    if subject.inputs.HasField("file"):
        named.append(subject.inputs.file)
    return [Digest(digest.sha256, digest.size_bytes) for digest in named]


def _phase(job: Job) -> str:
    phases = [r.event.progress.phase for r in job.events if r.event.HasField("progress")]
    if not phases:
        return "starting"
    name = benchmark_pb2.Progress.Phase.Name(phases[-1]).removeprefix("PHASE_")
    return name.replace("_", " ").lower()


def _response(**event: Any) -> agent_pb2.WatchBenchmarkResponse:
    return agent_pb2.WatchBenchmarkResponse(event=benchmark_pb2.BenchmarkEvent(**event))


def _stopped(reason: str, message: str) -> WorkerError:
    return WorkerError(reason, message)
