"""What a worker may report. It executes what nobody vouches for, so the rest is left out."""

from __future__ import annotations

from edgeopt.agent.v1 import benchmark_pb2

# Without which a launch ("") or a pass came to nothing.
_RESULTS = {
    "": "result",
    "energy": "energy",
    "evaluate": "predictions",
    "outputs": "outputs",
    "profile": "profile",
}
# Beside it.
_ALWAYS = {"progress", "warning"}
_IN_LAUNCHES = {"execution", "samples", "state"}
_PHASES = benchmark_pb2.Progress.Phase.values()


def is_result(event: benchmark_pb2.BenchmarkEvent, kind: str) -> bool:
    """Whether it is what a launch (kind "") or a pass is for."""
    return kind in _RESULTS and bool(event.WhichOneof("event") == _RESULTS[kind])


def take(event: benchmark_pb2.BenchmarkEvent, kind: str, *, in_turns: bool) -> bool:
    """Removes from an event what is for the agent to say; False when it is none of the worker's.

    Args:
        event: as it came.
        kind: of the pass; empty for a launch.
        in_turns: whether the worker works in turns with others.
    """
    what = event.WhichOneof("event")
    if not (
        what in _ALWAYS
        or is_result(event, kind)
        or (not kind and what in _IN_LAUNCHES)
        or (what == "turn" and in_turns)
    ):
        return False
    event.ClearField("sequence")
    if what == "progress" and event.progress.phase not in _PHASES:
        event.progress.ClearField("phase")
    if what in {"outputs", "predictions"}:
        getattr(event, what).ClearField("file")
    if what == "energy":
        # The agent has sampled the power; the worker knows when it worked.
        event.energy.ClearField("time_ns")
        event.energy.ClearField("channels")
    return True
