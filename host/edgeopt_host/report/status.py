"""What a device is doing and what is wrong with it, in words."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

from edgeopt.agent.v1 import agent_pb2, benchmark_pb2, device_pb2
from edgeopt_host import _clock
from edgeopt_host.inventory import LOCAL, Device
from edgeopt_host.report.queue import entries, lease_entry

_NS = 1e9
_SKEW_S = 3600.0
_CERTIFICATE_S = 30 * 86400.0


def entry(status: agent_pb2.GetStatusResponse) -> dict[str, Any]:
    """A device's state as its document has it."""
    expires = None
    if status.HasField("certificate_expire_time"):
        moment = status.certificate_expire_time.ToDatetime(timezone.utc)
        expires = moment.isoformat(timespec="seconds")
    return {
        "queue": list(entries(status)),
        "lease": lease_entry(status),
        "problems": [
            {"reason": problem.reason, "message": problem.message} for problem in status.problems
        ],
        "unfetched_results": status.unacknowledged_benchmarks,
        "clock_ahead_s": _ahead_s(status),
        "certificate_expires": expires,
        "storage_free_bytes": status.storage_free_bytes,
    }


def enrolled(device: Device) -> str:
    """Whether keys protect the way to it."""
    if device.identity is not None:
        return "yes"
    if device.name == LOCAL:
        return "no (this machine)"
    return "no (socket)" if device.address.startswith("unix:") else "no (loopback)"


def doing(status: agent_pb2.GetStatusResponse) -> str:
    """What it runs for whom, what waits, who has it reserved; "idle" otherwise."""
    running = [
        b.holder or "somebody"
        for b in status.queue
        if b.state == benchmark_pb2.Benchmark.STATE_RUNNING
    ]
    parts = [f"busy ({', '.join(running)})"] if running else []
    waiting = len(status.queue) - len(running)
    if waiting:
        holders = sorted(
            {
                b.holder or "somebody"
                for b in status.queue
                if b.state != benchmark_pb2.Benchmark.STATE_RUNNING
            }
        )
        parts.append(f"{waiting} waiting ({', '.join(holders)})")
    if status.HasField("lease"):
        left = _clock.span(status.lease.remaining_ns / _NS)
        parts.append(f"reserved by {status.lease.holder} for {left}")
    return ", ".join(parts) or "idle"


def troubles(
    facts: device_pb2.Device | None, status: agent_pb2.GetStatusResponse | None
) -> list[str]:
    """What there is to see to, a few words each."""
    agent_version = facts.agent_version if facts is not None else ""
    found = list(_version(status.agent_version if status is not None else agent_version))
    if status is not None:
        found += _status(status)
    return found


def _status(status: agent_pb2.GetStatusResponse) -> Iterator[str]:
    for problem in status.problems:
        yield f"{problem.reason}: {problem.message}"
    ahead_s = _ahead_s(status)
    if ahead_s is not None and abs(ahead_s) > _SKEW_S:
        way = "ahead" if ahead_s > 0 else "behind"
        yield f"its clock is {_clock.span(abs(ahead_s))} {way}"
    if status.HasField("certificate_expire_time"):
        left_s = status.certificate_expire_time.ToNanoseconds() / _NS - time.time()
        if left_s <= 0:
            yield "its certificate has ended: edgeopt-host device rotate"
        elif left_s < _CERTIFICATE_S:
            yield f"its certificate ends in {_clock.span(left_s)}: edgeopt-host device rotate"
    if count := status.unacknowledged_benchmarks:
        yield f"{count} result{'s' if count > 1 else ''} not fetched: edgeopt-host runs resume"


def _version(agent_version: str) -> Iterator[str]:
    own = version("edgeopt")
    theirs, ours = _numbers(agent_version), _numbers(own)
    if theirs and ours and theirs != ours:
        age = "older" if theirs < ours else "newer"
        yield f"its agent is {age} than this host ({agent_version}, {own})"


def _numbers(text: str) -> list[int]:
    """[0, 1, 2] of "0.1.2.dev3"."""
    numbers = []
    for part in text.split(".")[:3]:
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return numbers


def _ahead_s(status: agent_pb2.GetStatusResponse) -> float | None:
    if not status.HasField("time"):
        return None
    there = status.time.ToNanoseconds() / _NS
    return round(there - datetime.now(timezone.utc).timestamp(), 3)
