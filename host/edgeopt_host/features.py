"""What a benchmark needs beyond the first release of agents, which ignores fields unknown to it."""

from __future__ import annotations

from collections.abc import Iterator

from edgeopt.agent.v1 import benchmark_pb2, device_pb2
from edgeopt_host.errors import DeviceError


def check(asked: benchmark_pb2.Benchmark, facts: device_pb2.Device, device: str) -> None:
    """Refuses what an older agent would measure in another way than asked, without a word.

    Args:
        asked: the benchmark, as it will be sent.
        facts: of the device, with the features of its agent.
        device: its name.

    Raises:
        DeviceError: AGENT_TOO_OLD.
    """
    missing = [(name, what) for name, what in _needed(asked) if name not in facts.features]
    if missing:
        names = ", ".join(name for name, _ in missing)
        asked_for = " and ".join(what for _, what in missing)
        version = f" {facts.agent_version}" if facts.agent_version else ""
        raise DeviceError(
            f"the agent of {device!r} is edgeopt{version}, which lacks {names} and would ignore {asked_for}; "
            "update edgeopt on the device",
            "AGENT_TOO_OLD",
        )


def _needed(asked: benchmark_pb2.Benchmark) -> Iterator[tuple[str, str]]:
    """Features, and what of the benchmark needs each; see device.proto."""
    plan = asked.plan
    if len(asked.subjects) > 1:
        yield "comparisons", "that several models are measured in turns"
    if plan.batch > 1 or plan.streams > 1 or plan.rate_hz:
        yield "load_shapes", "the batch, streams or rate"
    if plan.filler_duration_ns:
        yield "sustained", "the load between timed blocks"
    if plan.HasField("start"):
        yield "start_condition", "what a launch is to wait for"
    if plan.looks:
        yield "looks", "answers after each launch"
    if plan.energy.windows:
        yield "energy", "the energy pass"
    if plan.HasField("evaluation_data"):
        yield "evaluation", "the labelled data"
