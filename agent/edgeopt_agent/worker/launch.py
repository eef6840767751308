"""What a launch does, step by step: load, first inference, warm-up, timed blocks."""

from __future__ import annotations

import contextlib
import gc
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent import runtimes
from edgeopt_agent.confine import Confinement
from edgeopt_agent.errors import Unavailable
from edgeopt_agent.worker import inputs, memory, timing
from edgeopt_agent.worker.state import StateReader

if TYPE_CHECKING:
    import numpy as np

    Feeds = Mapping[str, np.ndarray[Any, np.dtype[Any]]]

Event = benchmark_pb2.BenchmarkEvent
Emit = Callable[[Event], None]
Phase = benchmark_pb2.Progress.Phase
# Start time, index of the first sample.
Block = tuple[int, int]

# A sample buffer stops here: 40 MB, and 50 s of the fastest model seen.
_MAX_SAMPLES = 5_000_000
# At 8 bytes each, well below gRPC's 4 MiB.
_SAMPLES_PER_EVENT = 100_000
# A reading of a machine with a hundred channels has about 3 kB.
_READINGS_PER_EVENT = 500
_PROGRESS_NS = 1_000_000_000
_PROFILE_INFERENCES = 20


class Launch:
    """One subject in this process.

    `folder` holds the model's files below `model` and, where the user gave inputs, `inputs.npz`.
    What this writes goes into the confinement's scratch folder, else into `folder`.
    """

    def __init__(
        self,
        benchmark: benchmark_pb2.Benchmark,
        folder: Path,
        emit: Emit,
        confinement: Confinement = Confinement(),  # noqa: B008 - it cannot be changed
        allowed_code: frozenset[str] = frozenset(),
    ) -> None:
        self._seal = confinement.seal
        self._scratch = Path(confinement.scratch or folder)
        self._allowed_code = allowed_code
        self._plan = benchmark.plan
        self._subject = benchmark.subjects[0]
        self._folder = folder
        self._emit = emit

    def measure(self) -> None:
        """Times this launch and reports it."""
        self._progress(benchmark_pb2.Progress.PHASE_LOADING)
        runtime = runtimes.load(self._subject.runtime)
        # Finding sensors takes time and memory: neither is the model's.
        state = StateReader()
        memory.reset_peak()
        runtime_rss = memory.read().get("VmRSS", 0)
        session, feeds, load_ns = self._load(runtime, self._settings())
        # What the collector would do, it would do in the middle of a block.
        gc.collect()
        gc.disable()
        with _inference():
            first_ns = timing.time_once(session.infer)
        self._emit(Event(execution=self._execution(runtime, session, feeds)))
        overhead_ns = timing.harness_overhead_ns()
        readings = [state.read(benchmark_pb2.StateReading.MOMENT_START)]

        # From here on the device is never idle: a pause would slow what follows it.
        warmup = self._warm_up(session.infer)
        warm_peak = memory.read().get("VmHWM", 0)
        samples, blocks, timed_ns = self._timed(session.infer, state, readings)

        readings.append(state.read(benchmark_pb2.StateReading.MOMENT_END))
        end = memory.read()
        self._report(samples, blocks, readings)
        result = benchmark_pb2.LaunchResult(
            load_ns=load_ns,
            first_inference_ns=first_ns,
            warmup_inferences=warmup,
            harness_overhead_ns=overhead_ns,
            timed_ns=timed_ns,
        )
        if end:
            peak = max(warm_peak, end["VmHWM"] - samples.itemsize * len(samples))
            result.memory.CopyFrom(
                benchmark_pb2.MemoryReading(
                    peak_rss_bytes=peak,
                    runtime_rss_bytes=runtime_rss,
                    anonymous_bytes=end["RssAnon"],
                    file_bytes=end["RssFile"],
                )
            )
        self._emit(Event(result=result))

    def profile(self) -> None:
        """A short pass of its own, because profiling slows what it profiles."""
        self._progress(benchmark_pb2.Progress.PHASE_PROFILING)
        runtime = runtimes.load(self._subject.runtime)
        profile = benchmark_pb2.Profile(inferences=_PROFILE_INFERENCES)
        session, _, _ = self._load(runtime, self._settings(profile_dir=self._scratch))
        try:
            for operator in session.profile(_PROFILE_INFERENCES):
                profile.operators.add(
                    name=operator.name,
                    type=operator.type,
                    duration_ns=operator.duration_ns,
                    calls=operator.calls,
                    provider=operator.provider,
                )
        except Unavailable as reason:
            profile.unavailable_reason = str(reason)
        self._emit(Event(profile=profile))

    def outputs(self) -> None:
        """Writes the outputs of a first inference into `outputs.npz`, in a process of its own.

        A stateful model says something else after a thousand inferences.
        """
        import numpy as np

        runtime = runtimes.load(self._subject.runtime)
        session, _, _ = self._load(runtime, self._settings())
        with _inference():
            session.infer()
        tensors, left_out = session.outputs()
        with (self._scratch / "outputs.npz").open("wb") as file:
            np.savez(file, **tensors)  # type: ignore[arg-type]
        # The agent names the file by its digest.
        self._emit(Event(outputs=benchmark_pb2.Outputs(left_out=left_out)))

    def _settings(self, profile_dir: Path | None = None) -> runtimes.Settings:
        return runtimes.Settings(
            threads=self._subject.threads,
            providers=[
                runtimes.ProviderRequest(p.name, dict(p.options)) for p in self._subject.providers
            ],
            disable_xnnpack=self._subject.disable_xnnpack,
            graph_optimization=self._subject.graph_optimization,
            quantized_engine=self._subject.quantized_engine,
            profile_dir=profile_dir,
            allowed_code=self._allowed_code,
        )

    def _load(
        self, runtime: runtimes.Runtime, settings: runtimes.Settings
    ) -> tuple[runtimes.Session, Feeds, int]:
        """Opens and prepares the model; the time in between, spent on making inputs, is not load."""
        # Everything that is ours is imported and open; what comes now is somebody else's.
        self._seal()
        before = time.perf_counter_ns()
        session = runtime.open(self._folder / "model" / self._subject.files[0].name, settings)
        opened = time.perf_counter_ns()
        source = self._subject.inputs
        file = self._folder / "inputs.npz" if source.HasField("file") else None
        feeds = inputs.make_feeds(session.inputs, source, file)
        made = time.perf_counter_ns()
        session.prepare(feeds)
        return session, feeds, opened - before + time.perf_counter_ns() - made

    def _warm_up(self, infer: Callable[[], object]) -> int:
        phase = benchmark_pb2.Progress.PHASE_WARMING_UP
        goal = (self._plan.warmup_duration_ns, self._plan.warmup_inferences)
        self._progress(phase)
        spent = count = 0
        while not _done(spent, count, goal):
            with _inference():
                more, calls = timing.run_for(infer, min(_PROGRESS_NS, goal[0] - spent), 1)
            spent, count = spent + more, count + calls
            self._progress(phase, count, _fraction(spent, count, goal))
        return count

    def _timed(
        self,
        infer: Callable[[], object],
        state: StateReader,
        readings: list[benchmark_pb2.StateReading],
    ) -> tuple[array[int], list[Block], int]:
        """Times blocks until the plan is met, and reads the device's state between them."""
        phase = benchmark_pb2.Progress.PHASE_MEASURING
        goal = (self._plan.duration_ns, self._plan.inferences)
        self._progress(phase)
        samples = array("q")
        blocks: list[Block] = []
        timed = reported = 0
        while not _done(timed, len(samples), goal):
            blocks.append((time.perf_counter_ns(), len(samples)))
            with _inference():
                timed += timing.time_block(
                    infer, samples, self._plan.block_duration_ns, self._plan.block_inferences
                )
            readings.append(state.read(benchmark_pb2.StateReading.MOMENT_BETWEEN_BLOCKS))
            if len(samples) >= _MAX_SAMPLES:
                self._warn(
                    "CUT_SHORT",
                    f"a launch ended after {len(samples)} inferences in {timed / 1e9:.0f} s: more "
                    "are not kept; use more --launches instead of a longer --duration",
                )
                break
            if timed - reported > _PROGRESS_NS:
                reported = timed
                self._progress(phase, len(samples), _fraction(timed, len(samples), goal))
        return samples, blocks, timed

    def _report(
        self,
        samples: array[int],
        blocks: list[Block],
        readings: list[benchmark_pb2.StateReading],
    ) -> None:
        """Sends what was measured in few and large messages: each costs the agent CPU time."""
        ends = [first for _, first in blocks[1:]] + [len(samples)]
        message = benchmark_pb2.Samples()
        pending = 0
        for (start, first), last in zip(blocks, ends, strict=True):
            # A block too large for one message comes as several.
            for cut in range(first, last, _SAMPLES_PER_EVENT):
                part = samples[cut : min(last, cut + _SAMPLES_PER_EVENT)]
                if pending + len(part) > _SAMPLES_PER_EVENT:
                    self._emit(Event(samples=message))
                    message, pending = benchmark_pb2.Samples(), 0
                message.blocks.add(start_time_ns=start + sum(samples[first:cut]), latency_ns=part)
                pending += len(part)
        self._emit(Event(samples=message))
        for cut in range(0, len(readings), _READINGS_PER_EVENT):
            part_of_readings = readings[cut : cut + _READINGS_PER_EVENT]
            self._emit(Event(state=benchmark_pb2.StateReadings(readings=part_of_readings)))

    def _execution(
        self, runtime: runtimes.Runtime, session: runtimes.Session, feeds: Feeds
    ) -> benchmark_pb2.Execution:
        placement = session.placement()
        execution = benchmark_pb2.Execution(
            implementation=runtime.info.implementation,
            version=runtime.info.version,
            threads=self._subject.threads,
            requested_provider=placement.requested_provider,
            actual_provider=placement.actual_provider,
            delegated_share=placement.delegated_share,
            partitions=placement.partitions,
            quantized_engine=placement.quantized_engine,
        )
        for name, array_ in feeds.items():
            dtype = "string" if array_.dtype.kind in "SUO" else array_.dtype.name
            execution.inputs.add(name=name, dimensions=array_.shape, dtype=dtype)
        if placement.fallback:
            self._warn("FALLBACK", placement.fallback)
        return execution

    def _warn(self, code: str, message: str) -> None:
        self._emit(Event(warning=benchmark_pb2.BenchmarkWarning(code=code, message=message)))

    def _progress(self, phase: Phase, inferences: int = 0, fraction: float = 0.0) -> None:
        self._emit(
            Event(
                progress=benchmark_pb2.Progress(
                    phase=phase, inferences=inferences, fraction=fraction
                )
            )
        )


@contextlib.contextmanager
def _inference() -> Iterator[None]:
    """Passes a runtime's own reason on when it fails while executing."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        reason = runtimes.readable(error)
        raise runtimes.ModelError("INFERENCE_FAILED", f"the runtime failed: {reason}") from error


def _done(spent_ns: int, count: int, goal: tuple[int, int]) -> bool:
    return spent_ns >= goal[0] and count >= goal[1]


def _fraction(spent_ns: int, count: int, goal: tuple[int, int]) -> float:
    parts = [done / wanted for done, wanted in zip((spent_ns, count), goal, strict=True) if wanted]
    return min(1.0, *parts) if parts else 1.0
