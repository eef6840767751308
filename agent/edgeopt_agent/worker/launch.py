"""What a launch does, step by step: load, first inference, warm-up, timed blocks."""

from __future__ import annotations

import gc
import time
from array import array
from dataclasses import dataclass

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent import runtimes
from edgeopt_agent.worker import memory, timing
from edgeopt_agent.worker.load import Load
from edgeopt_agent.worker.state import StateReader
from edgeopt_agent.worker.task import Event, Opened, Task, inference
from edgeopt_agent.worker.turns import Turns

# A sample buffer stops here: 40 MB, and 50 s of the fastest model seen.
_MAX_SAMPLES = 5_000_000
# At 8 bytes each, well below gRPC's 4 MiB.
_SAMPLES_PER_EVENT = 100_000
# A reading of a machine with a hundred channels has about 3 kB.
_READINGS_PER_EVENT = 500
_PROGRESS_NS = 1_000_000_000
# An inference that takes so long has the caches back long before its end.
_SETTLED_NS = 50_000_000


@dataclass(frozen=True)
class _Block:
    start_ns: int
    wall_ns: int
    cpu_ns: int
    # Its samples' places in the buffer.
    first: int
    last: int
    stream_samples: tuple[int, ...]


class Launch:
    """Times one subject in this process, alone or in turns with others."""

    def __init__(self, task: Task, turns: Turns) -> None:
        self._task = task
        self._plan = task.plan
        self._turns = turns

    def measure(self) -> None:
        """Times this launch and reports it."""
        task, turns = self._task, self._turns
        task.progress(benchmark_pb2.Progress.PHASE_LOADING)
        runtime = task.load_runtime()
        # Finding sensors takes time and memory: neither is the model's.
        state = StateReader(self._plan.canary_interval_ns)
        turns.begin()
        memory.reset_peak()
        runtime_rss = memory.read().get("VmRSS", 0)
        opened = task.open(runtime)
        # What the collector would do, it would do in the middle of a block.
        gc.collect()
        gc.disable()
        with inference():
            first_ns = timing.time_once(opened.session.infer)
        task.emit(Event(execution=self._execution(opened)))
        if self._plan.batch > 1:
            self._check_batch(opened.session)
        sessions, stream_rss = self._open_streams(opened)
        load = Load(sessions, self._plan)
        overhead_ns = timing.harness_overhead_ns()
        turns.end()

        # From here on the device is never idle: a pause would slow what follows it.
        turns.begin()
        readings = [state.read(benchmark_pb2.StateReading.MOMENT_START)]
        warmup, settle = self._warm_up(load)
        turns.end()
        warm_peak = memory.read().get("VmHWM", 0)
        samples, blocks = self._timed(load, settle, state, readings)

        # Still this worker's turn: the canary of another would disturb this one's.
        readings.append(state.read(benchmark_pb2.StateReading.MOMENT_END))
        end = memory.read()
        turns.end()
        self._report(samples, blocks, readings)
        result = benchmark_pb2.LaunchResult(
            load_ns=opened.load_ns,
            first_inference_ns=first_ns,
            warmup_inferences=warmup,
            harness_overhead_ns=overhead_ns,
            timed_ns=sum(block.wall_ns for block in blocks),
            stream_rss_bytes=stream_rss,
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
        task.emit(Event(result=result))

    def _check_batch(self, session: runtimes.Session) -> None:
        """Some models reshape to a size that was fixed when they were exported."""
        tensors, _ = session.outputs()
        for name, tensor in tensors.items():
            if tensor.shape[:1] != (self._plan.batch,):
                self._task.warn(
                    "BATCH_NOT_KEPT",
                    f"output {name!r} has the shape {list(tensor.shape)}, without a leading dimension of "
                    f"{self._plan.batch}: the model does not keep the examples of a batch apart; "
                    "export it with an open leading dimension",
                )

    def _open_streams(self, first: Opened) -> tuple[list[runtimes.Session], list[int]]:
        """All streams' sessions, and the resident memory after each where there are several."""
        sessions, resident = [], []
        for session in self._task.streams(first):
            sessions.append(session)
            resident.append(memory.read().get("VmRSS", 0))
        return sessions, resident if len(sessions) > 1 and resident[0] else []

    def _warm_up(self, load: Load) -> tuple[int, int]:
        """How many inferences it took, and how many are to settle each block."""
        phase = benchmark_pb2.Progress.PHASE_WARMING_UP
        goal = (self._plan.warmup_duration_ns, self._plan.warmup_inferences * load.streams)
        self._task.progress(phase)
        spent = count = 0
        while not _done(spent, count, goal):
            with inference():
                more, calls = load.run(min(_PROGRESS_NS, goal[0] - spent), 1)
            spent, count = spent + more, count + calls
            self._task.progress(phase, count, _fraction(spent, count, goal))
        settle = self._plan.settle_inferences
        return count, settle if spent <= count * _SETTLED_NS else 0

    def _timed(
        self,
        load: Load,
        settle: int,
        state: StateReader,
        readings: list[benchmark_pb2.StateReading],
    ) -> tuple[array[int], list[_Block]]:
        """Times blocks until the plan is met, and reads the device's state between them.

        Among others, the agent decides when the plan is met: it counts for all of them.
        """
        phase = benchmark_pb2.Progress.PHASE_MEASURING
        plan, turns = self._plan, self._turns
        goal = (plan.duration_ns, plan.inferences)
        self._task.progress(phase)
        samples = array("q")
        blocks: list[_Block] = []
        spent = reported = 0
        while turns.begin() if turns.alternate else not _done(spent, len(samples), goal):
            with inference():
                if settle:
                    load.run(0, settle)
                block = self._time_block(load, samples)
            blocks.append(block)
            spent += block.wall_ns
            readings.append(state.read(benchmark_pb2.StateReading.MOMENT_BETWEEN_BLOCKS))
            turns.end(block.wall_ns, block.last - block.first)
            if len(samples) >= _MAX_SAMPLES:
                self._task.warn(
                    "CUT_SHORT",
                    f"a launch ended after {len(samples)} inferences in {spent / 1e9:.0f} s: more "
                    "are not kept; use more --launches instead of a longer --duration",
                )
                # For the last look at the device.
                turns.begin()
                break
            if plan.filler_duration_ns:
                with inference():
                    spent += load.run(plan.filler_duration_ns, 1)[0]
            if spent - reported > _PROGRESS_NS and not turns.alternate:
                reported = spent
                self._task.progress(phase, len(samples), _fraction(spent, len(samples), goal))
        return samples, blocks

    @staticmethod
    def _time_block(load: Load, samples: array[int]) -> _Block:
        first, start, cpu = len(samples), time.perf_counter_ns(), time.process_time_ns()
        times = load.block(samples)
        cpu = time.process_time_ns() - cpu
        return _Block(start, times.wall_ns, cpu, first, len(samples), times.stream_samples)

    def _report(
        self,
        samples: array[int],
        blocks: list[_Block],
        readings: list[benchmark_pb2.StateReading],
    ) -> None:
        """Sends what was measured in few and large messages: each costs the agent CPU time."""
        message = benchmark_pb2.Samples()
        pending = 0
        for number, block in enumerate(blocks):
            # A block too large for one message comes as several; the host puts them together
            # again by their round.
            for cut in range(block.first, block.last, _SAMPLES_PER_EVENT):
                part = samples[cut : min(block.last, cut + _SAMPLES_PER_EVENT)]
                if pending + len(part) > _SAMPLES_PER_EVENT:
                    self._task.emit(Event(samples=message))
                    message, pending = benchmark_pb2.Samples(), 0
                message.blocks.add(
                    start_time_ns=block.start_ns,
                    latency_ns=part,
                    duration_ns=block.wall_ns,
                    cpu_ns=block.cpu_ns,
                    round=number,
                    stream_samples=block.stream_samples,
                )
                pending += len(part)
        self._task.emit(Event(samples=message))
        for first in range(0, len(readings), _READINGS_PER_EVENT):
            some = readings[first : first + _READINGS_PER_EVENT]
            self._task.emit(Event(state=benchmark_pb2.StateReadings(readings=some)))

    def _execution(self, opened: Opened) -> benchmark_pb2.Execution:
        placement = opened.session.placement()
        execution = benchmark_pb2.Execution(
            implementation=opened.runtime.info.implementation,
            version=opened.runtime.info.version,
            threads=self._task.subject.threads,
            requested_provider=placement.requested_provider,
            actual_provider=placement.actual_provider,
            delegated_share=placement.delegated_share,
            partitions=placement.partitions,
            quantized_engine=placement.quantized_engine,
        )
        for name, fed in opened.feeds.items():
            dtype = "string" if fed.dtype.kind in "SUO" else fed.dtype.name
            execution.inputs.add(name=name, dimensions=fed.shape, dtype=dtype)
        if placement.fallback:
            self._task.warn("FALLBACK", placement.fallback)
        return execution


def _done(spent_ns: int, count: int, goal: tuple[int, int]) -> bool:
    return spent_ns >= goal[0] and count >= goal[1]


def _fraction(spent_ns: int, count: int, goal: tuple[int, int]) -> float:
    parts = [done / wanted for done, wanted in zip((spent_ns, count), goal, strict=True) if wanted]
    return min(1.0, *parts) if parts else 1.0
