"""One benchmark on its way through its launches."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from edgeopt.agent.v1 import agent_pb2, benchmark_pb2, blob_pb2
from edgeopt_agent import scratch
from edgeopt_agent.blobs import BlobStore, Digest
from edgeopt_agent.errors import AgentError, WorkerError
from edgeopt_agent.launcher import run_worker
from edgeopt_agent.threads import in_thread

Response = agent_pb2.WatchBenchmarkResponse


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
        self._left_s = benchmark.plan.timeout_ns / 1e9

    async def run(self) -> None:
        """Runs every launch of the plan, then the passes of their own that it asks for.

        Raises:
            AgentError: when a launch gave no result; events of earlier ones have been kept.
        """
        plan = self._benchmark.plan
        await self._with_room(partial(in_thread, self._lay_out))
        for launch in range(plan.launches):
            await self._with_room(partial(self._worker, launch))
        if plan.profile:
            await self._with_room(partial(self._worker, plan.launches, "--profile"))
        if plan.outputs:
            await self._with_room(partial(self._worker, plan.launches, "--outputs"))

    async def remove(self) -> None:
        """Takes the folder away, also when this is cancelled: a model may have filled it."""
        await in_thread(scratch.remove, self._folder)

    async def _worker(self, launch: int, *flags: str) -> None:
        events: list[Response] = []

        def on_event(response: Response) -> None:
            if response.event.HasField("progress"):
                self._note_phase(response)
                self._tell(response)
            else:
                events.append(response)

        started = time.monotonic()
        try:
            await asyncio.wait_for(
                run_worker(
                    self._benchmark,
                    self._folder,
                    launch,
                    on_event,
                    *flags,
                    allowed_code=self._allowed_code,
                    state_dir=self._state_dir,
                ),
                max(0.0, self._left_s),
            )
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
        await self._keep(events)
        for response in events:
            if response.event.HasField("outputs"):
                await self._publish_outputs(response.event.outputs.left_out)

    async def _publish_outputs(self, left_out: Any) -> None:
        digest = await asyncio.to_thread(self._blobs.add, self._folder / "outputs.npz")
        file = blob_pb2.Digest(sha256=digest.sha256, size_bytes=digest.size_bytes)
        outputs = benchmark_pb2.Outputs(file=file, left_out=left_out)
        await self._keep([Response(event=benchmark_pb2.BenchmarkEvent(outputs=outputs))])

    def _lay_out(self) -> None:
        """Puts the blobs into a folder under the names they had beside each other on the host."""
        scratch.remove(self._folder)
        subject = self._benchmark.subjects[0]
        files = [(f"model/{file.name}", file.digest) for file in subject.files]
        if subject.inputs.HasField("file"):
            files.append(("inputs.npz", subject.inputs.file))
        for name, digest in files:
            target = self._folder / name
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
    return [Digest(digest.sha256, digest.size_bytes) for digest in named]
