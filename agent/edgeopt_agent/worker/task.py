"""What a worker works on: one subject of a benchmark, opened as it asks for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent import runtimes
from edgeopt_agent.confine import Confinement
from edgeopt_agent.worker import inputs

if TYPE_CHECKING:
    import numpy as np

    Feeds = Mapping[str, np.ndarray[Any, np.dtype[Any]]]

Event = benchmark_pb2.BenchmarkEvent
Emit = Callable[[Event], None]
Phase = benchmark_pb2.Progress.Phase


@dataclass(frozen=True)
class Opened:
    """A model ready to be executed.

    Args:
        runtime: that executes it.
        session: prepared, so that `session.infer()` is one inference.
        feeds: what it was prepared with.
        load_ns: opening and preparing, without making the inputs.
    """

    runtime: runtimes.Runtime
    session: runtimes.Session
    feeds: Feeds
    load_ns: int


class Task:
    """A subject of a benchmark, in this process.

    Args:
        benchmark: the whole of it.
        index: of the subject.
        folder: the job's: each subject's files are below `subjects/INDEX/model`.
        emit: takes events.
        confinement: this process's.
        allowed_code: kinds of code that may run.
    """

    def __init__(
        self,
        benchmark: benchmark_pb2.Benchmark,
        index: int,
        folder: Path,
        emit: Emit,
        confinement: Confinement = Confinement(),  # noqa: B008 - it cannot be changed
        allowed_code: frozenset[str] = frozenset(),
    ) -> None:
        self.plan = benchmark.plan
        self.subject = benchmark.subjects[index]
        self.emit = emit
        # For what a pass writes.
        self.scratch = Path(confinement.scratch or folder)
        self.data = folder / "data.npz"
        self._model = folder / "subjects" / str(index) / "model" / self.subject.files[0].name
        self._inputs = folder / "subjects" / str(index) / "inputs.npz"
        self._confinement = confinement
        self._allowed_code = allowed_code

    def load_runtime(self) -> runtimes.Runtime:
        """Imports the subject's runtime."""
        return runtimes.load(self.subject.runtime)

    def open(self, runtime: runtimes.Runtime, profile_dir: Path | None = None) -> Opened:
        """Opens and prepares the model; what is imported later is imported under confinement."""
        self.seal()
        before = time.perf_counter_ns()
        session = self.open_session(runtime, profile_dir)
        opened = time.perf_counter_ns()
        feeds = self.make_feeds(session)
        made = time.perf_counter_ns()
        session.prepare(feeds)
        load_ns = opened - before + time.perf_counter_ns() - made
        return Opened(runtime, session, feeds, load_ns)

    def streams(self, first: Opened) -> Iterator[runtimes.Session]:
        """The sessions of all streams that the plan asks for, of which `first` is the first.

        The others are opened as they are taken, with the same inputs, and have executed once.
        """
        yield first.session
        for _ in range(1, self.plan.streams):
            session = self.open_session(first.runtime)
            session.prepare(first.feeds)
            with inference():
                session.infer()
            yield session

    def seal(self) -> None:
        """Everything that is ours is imported and open; what comes now is somebody else's."""
        self._confinement.seal()

    def open_session(
        self, runtime: runtimes.Runtime, profile_dir: Path | None = None
    ) -> runtimes.Session:
        """Loads the model's file; its leading dimensions are open for a batch, where it has one."""
        settings = runtimes.Settings(
            threads=self.subject.threads,
            providers=[
                runtimes.ProviderRequest(p.name, dict(p.options)) for p in self.subject.providers
            ],
            disable_xnnpack=self.subject.disable_xnnpack,
            graph_optimization=self.subject.graph_optimization,
            quantized_engine=self.subject.quantized_engine,
            profile_dir=profile_dir,
            allowed_code=self._allowed_code,
        )
        session = runtime.open(self._model, settings)
        if self.plan.streams > 1 and not session.parallel:
            raise runtimes.ModelError(
                "SETTING_UNSUPPORTED",
                f"{runtime.info.implementation} executes one inference of such a file at a time in a "
                "process: leave --streams out, or use another format of the model",
            )
        if self.plan.batch > 1:
            session.open_batch()
        return session

    def make_feeds(self, session: runtimes.Session) -> Feeds:
        """What the model is fed with."""
        source = self.subject.inputs
        file = self._inputs if source.HasField("file") else None
        return inputs.make_feeds(session.inputs, source, file, self.plan.batch)

    def warn(self, code: str, message: str) -> None:
        self.emit(Event(warning=benchmark_pb2.BenchmarkWarning(code=code, message=message)))

    def progress(self, phase: Phase, inferences: int = 0, fraction: float = 0.0) -> None:
        self.emit(
            Event(
                progress=benchmark_pb2.Progress(
                    phase=phase, inferences=inferences, fraction=fraction
                )
            )
        )


@contextlib.contextmanager
def inference() -> Iterator[None]:
    """Passes a runtime's own reason on when it fails while executing."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        reason = runtimes.readable(error)
        raise runtimes.ModelError("INFERENCE_FAILED", f"the runtime failed: {reason}") from error
