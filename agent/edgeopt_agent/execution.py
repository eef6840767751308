"""One benchmark on its way through its launches."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from edgeopt.agent.v1 import agent_pb2, benchmark_pb2, blob_pb2
from edgeopt_agent import scratch
from edgeopt_agent.blobs import BlobStore, Digest
from edgeopt_agent.errors import AgentError, WorkerError
from edgeopt_agent.launcher import MADE_BY, OnEvent, run_worker
from edgeopt_agent.threads import in_thread
from edgeopt_agent.turns import run_in_turns

Answer = agent_pb2.AnswerLookRequest.Answer
Response = agent_pb2.WatchBenchmarkResponse

# Silence for so long means: go on.
_ANSWER_S = 5.0
# Launches more than planned, for those that came to nothing.
_MOST_REPEATS = 10


class Execution:
    """Lays out the files of a benchmark and runs its workers, one after the other.

    Args:
        benchmark: what to run, with the thread count decided.
        folder: scratch, for this alone; `remove` takes it away.
        state_dir: the agent's, which no model may read.
        blobs: where models, inputs and outputs are.
        allowed_code: kinds of code that models may be.
        tell: given what is worth knowing now and never again: progress.
        keep: given the events of each launch when it has ended; returns when they are kept.
        with_room: runs what it is given again for as long as the disk is full.
    """

    def __init__(
        self,
        benchmark: benchmark_pb2.Benchmark,
        folder: Path,
        state_dir: Path,
        blobs: BlobStore,
        allowed_code: frozenset[str],
        tell: Callable[[Response], None],
        keep: Callable[[list[Response]], Awaitable[None]],
        with_room: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]],
    ) -> None:
        self._benchmark = benchmark
        self._folder = folder
        self._state_dir = state_dir
        self._blobs = blobs
        self._allowed_code = allowed_code
        self._tell = tell
        self._keep = keep
        self._with_room = with_room
        self._phase = "starting"
        # The launch that is asked about, and its answer.
        self._look: tuple[int, asyncio.Future[Answer]] | None = None
        self._timed_ns = 0
        self._left_s = benchmark.plan.timeout_ns / 1e9

    async def run(self) -> None:
        """Runs the launches of the plan, then the passes of their own that it asks for.

        Raises:
            AgentError: when a launch gave no result; events of earlier ones have been kept.
        """
        await self._with_room(partial(in_thread, self._lay_out))
        launches = await self._launches()
        for kind in _passes(self._benchmark.plan):
            for subject in range(len(self._benchmark.subjects)):
                await self._with_room(partial(self._pass, launches, subject, kind))

    def answer(self, launch: int, answer: Answer) -> bool:
        """Takes an answer to a look; False when nothing waits for it."""
        if self._look is None or self._look[0] != launch or self._look[1].done():
            return False
        self._look[1].set_result(answer)
        return True

    async def remove(self) -> None:
        """Takes the folder away, also when this is cancelled: a model may have filled it."""
        await in_thread(scratch.remove, self._folder)

    async def _launches(self) -> int:
        """All launches; how many there were."""
        plan = self._benchmark.plan
        launch, wanted = 0, plan.launches
        while launch < wanted:
            if plan.HasField("start"):
                await self._wait_for_start(launch)
            await self._with_room(partial(self._launch, launch))
            launch += 1
            answer = await self._ask(launch - 1) if plan.looks else Answer.ANSWER_CONTINUE
            if answer == Answer.ANSWER_STOP:
                break
            if answer == Answer.ANSWER_REPEAT and wanted < plan.launches + _MOST_REPEATS:
                wanted += 1
        return launch

    async def _wait_for_start(self, launch: int) -> None:
        from edgeopt_agent.conditions import wait_for

        def tell(progress: benchmark_pb2.Progress) -> None:
            event = benchmark_pb2.BenchmarkEvent(launch=launch, progress=progress)
            self._tell(Response(event=event))

        warning = await wait_for(self._benchmark.plan.start, tell)
        if warning is not None:
            event = benchmark_pb2.BenchmarkEvent(launch=launch, warning=warning)
            await self._keep([Response(event=event)])

    async def _ask(self, launch: int) -> Answer:
        """Tells that a launch has ended, and waits a while to hear how to go on."""
        loop = asyncio.get_running_loop()
        self._look = (launch, loop.create_future())
        look = benchmark_pb2.Look(launch=launch, timed_ns=self._timed_ns)
        event = benchmark_pb2.BenchmarkEvent(launch=launch, look=look)
        await self._keep([Response(event=event)])
        asking = benchmark_pb2.Progress(phase=benchmark_pb2.Progress.PHASE_LOOKING)
        self._tell(Response(event=benchmark_pb2.BenchmarkEvent(launch=launch, progress=asking)))
        try:
            return await asyncio.wait_for(self._look[1], _ANSWER_S)
        except asyncio.TimeoutError:
            # Whoever asked has gone: what they wanted at most is measured, and no more.
            return Answer.ANSWER_CONTINUE
        finally:
            self._look = None

    async def _launch(self, launch: int) -> None:
        """A process for every subject."""
        subjects = len(self._benchmark.subjects)
        events: list[Response] = []
        if subjects == 1:
            work = self._worker(launch, 0, None, self._sort_into(events))
        else:

            async def run(subject: int, turns: int, on_event: OnEvent) -> None:
                await self._worker(launch, subject, turns, on_event)

            plan, into = self._benchmark.plan, self._sort_into(events)
            work = run_in_turns(run, plan, launch, subjects, into)
        await self._within_time(work, events)
        await self._keep(events)
        self._timed_ns += sum(response.event.result.timed_ns for response in events)

    async def _pass(self, launch: int, subject: int, kind: str) -> None:
        """A process that does something else than being timed."""
        events: list[Response] = []
        work = self._worker(launch, subject, None, self._sort_into(events), kind)
        if kind == "energy":
            await self._while_sampling(work, events, launch, subject)
        elif kind == "evaluate":
            await self._with_data(work, events)
        else:
            await self._within_time(work, events)
        for response in events:
            if response.event.WhichOneof("event") in {"outputs", "predictions"}:
                await self._publish(response.event, MADE_BY[kind])
        await self._keep(events)

    async def _with_data(self, work: Coroutine[Any, Any, None], events: list[Response]) -> None:
        """Lays the labelled examples out for this pass alone: no launch may read them."""
        data = self._folder / "data.npz"
        try:
            await in_thread(self._put, self._benchmark.plan.evaluation_data, data)
            await self._within_time(work, events)
        finally:
            # It may not have begun.
            work.close()
            data.unlink(missing_ok=True)

    async def _while_sampling(
        self, work: Coroutine[Any, Any, None], events: list[Response], launch: int, subject: int
    ) -> None:
        """Samples power while a worker is at work and idle, and keeps the samples."""
        from edgeopt_agent.power import PowerSampler

        sampler = PowerSampler(self._benchmark.plan.energy.channels)
        try:
            await in_thread(sampler.start)
            if not sampler.unavailable_reason:
                await self._within_time(work, events)
        finally:
            work.close()
            samples = await in_thread(sampler.stop)
        for readings in samples:
            event = benchmark_pb2.BenchmarkEvent(launch=launch, subject=subject, energy=readings)
            await self._keep([Response(event=event)])

    async def _publish(self, event: benchmark_pb2.BenchmarkEvent, made: str) -> None:
        """Makes a blob of the file that a pass has made, where it has made one."""
        told = event.outputs if event.HasField("outputs") else event.predictions
        if event.predictions.unavailable_reason:
            return
        try:
            digest = await asyncio.to_thread(self._blobs.add, self._folder / made)
        except FileNotFoundError as error:
            raise WorkerError("WORKER_FAILED", f"the worker left no {made}") from error
        told.file.CopyFrom(blob_pb2.Digest(sha256=digest.sha256, size_bytes=digest.size_bytes))

    async def _within_time(self, work: Coroutine[Any, Any, None], events: list[Response]) -> None:
        """Ends work that takes longer than the benchmark has left; a launch's events are kept."""
        started = time.monotonic()
        try:
            await asyncio.wait_for(work, max(0.0, self._left_s))
        except asyncio.TimeoutError:
            await self._keep(events)
            raise WorkerError(
                "TIMED_OUT",
                f"the benchmark did not end within {self._benchmark.plan.timeout_ns / 1e9:g} s; the worker "
                f"was {self._phase} and has been killed (raise --timeout, or use --quick)",
            ) from None
        except AgentError:
            await self._keep(events)
            raise
        # Waiting for a full disk is not the benchmark's time.
        self._left_s -= time.monotonic() - started

    async def _worker(
        self, launch: int, subject: int, turns: int | None, on_event: OnEvent, kind: str = ""
    ) -> None:
        try:
            await run_worker(
                self._benchmark,
                self._folder,
                launch,
                on_event,
                subject=subject,
                kind=kind,
                turns=turns,
                allowed_code=self._allowed_code,
                state_dir=self._state_dir,
            )
        except WorkerError as error:
            # Of several, which.
            if len(self._benchmark.subjects) > 1:
                error.metadata["subject"] = str(subject)
            raise

    def _sort_into(self, events: list[Response]) -> OnEvent:
        def on_event(response: Response) -> None:
            if response.event.HasField("progress"):
                self._note_phase(response)
                self._tell(response)
            else:
                events.append(response)

        return on_event

    def _lay_out(self) -> None:
        """Puts the blobs into a folder under the names they had beside each other on the host."""
        scratch.remove(self._folder)
        files = []
        for index, subject in enumerate(self._benchmark.subjects):
            place = f"subjects/{index}"
            files += [(f"{place}/model/{file.name}", file.digest) for file in subject.files]
            if subject.inputs.HasField("file"):
                files.append((f"{place}/inputs.npz", subject.inputs.file))
        for name, digest in files:
            self._put(digest, self._folder / name)

    def _put(self, digest: blob_pb2.Digest, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        source = self._blobs.path(Digest(digest.sha256, digest.size_bytes))
        try:
            os.link(source, target)
        except OSError:  # a file system without hard links
            shutil.copyfile(source, target)

    def _note_phase(self, response: Response) -> None:
        name = benchmark_pb2.Progress.Phase.Name(response.event.progress.phase)
        self._phase = name.removeprefix("PHASE_").replace("_", " ").lower()


def digests(benchmark: benchmark_pb2.Benchmark) -> list[Digest]:
    """Every blob that a benchmark needs."""
    named = []
    for subject in benchmark.subjects:
        named += [file.digest for file in subject.files]
        if subject.inputs.HasField("file"):
            named.append(subject.inputs.file)
    if benchmark.plan.HasField("evaluation_data"):
        named.append(benchmark.plan.evaluation_data)
    return [Digest(digest.sha256, digest.size_bytes) for digest in named]


def _passes(plan: benchmark_pb2.Plan) -> Iterator[str]:
    """What is done after the launches, in this order: functions of worker/passes.py."""
    if plan.energy.windows:
        yield "energy"
    if plan.profile:
        yield "profile"
    if plan.HasField("evaluation_data"):
        yield "evaluate"
    if plan.outputs:
        yield "outputs"
