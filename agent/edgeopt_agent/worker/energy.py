"""The energy pass: the device is idle and works in turns, while the agent samples its power."""

from __future__ import annotations

import time

from edgeopt.agent.v1 import benchmark_pb2
from edgeopt_agent.worker.load import Load
from edgeopt_agent.worker.task import Event, Task, inference

_PHASE = benchmark_pb2.Progress.PHASE_SAMPLING_POWER
# A window ends on time, and progress is told, at the end of a step.
_STEP_NS = 1_000_000_000


def energy(task: Task) -> None:
    """Idle, work, idle, …, work, idle; tells when it worked, and how many inferences it did.

    No latency is kept: samples of millions of inferences would take power to store.
    """
    plan = task.plan.energy
    task.progress(benchmark_pb2.Progress.PHASE_LOADING)
    opened = task.open(task.load_runtime())
    load = Load(list(task.streams(opened)), task.plan)
    task.progress(benchmark_pb2.Progress.PHASE_WARMING_UP)
    with inference():
        load.run(task.plan.warmup_duration_ns, max(1, task.plan.warmup_inferences))
    turn_ns = plan.idle_duration_ns + plan.work_duration_ns
    whole_ns = plan.windows * turn_ns + plan.idle_duration_ns
    readings = benchmark_pb2.EnergyReadings()
    inferences = 0
    for window in range(plan.windows):
        before_ns = window * turn_ns
        _idle(task, plan.idle_duration_ns, before_ns, whole_ns, inferences)
        start = now = time.monotonic_ns()
        end, first = start + plan.work_duration_ns, inferences
        while now < end:
            with inference():
                inferences += load.run(min(_STEP_NS, end - now), 1)[1]
            now = time.monotonic_ns()
            # What exceeds the window is told as the idle time's, so that progress never goes back.
            spent_ns = min(now - start, plan.work_duration_ns)
            fraction = (before_ns + plan.idle_duration_ns + spent_ns) / whole_ns
            task.progress(_PHASE, inferences, fraction)
        readings.windows.add(start_time_ns=start, end_time_ns=now, inferences=inferences - first)
    _idle(task, plan.idle_duration_ns, plan.windows * turn_ns, whole_ns, inferences)
    task.emit(Event(energy=readings))


def _idle(task: Task, duration_ns: int, before_ns: int, whole_ns: int, inferences: int) -> None:
    """Sleeps: a wait that spins would be taken for the device's own power."""
    start = now = time.monotonic_ns()
    while (left := start + duration_ns - now) > 0:
        task.progress(_PHASE, inferences, (before_ns + now - start) / whole_ns)
        time.sleep(min(_STEP_NS, left) / 1e9)
        now = time.monotonic_ns()
