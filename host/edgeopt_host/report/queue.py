"""What a device runs and what waits there, for people and programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf import timestamp_pb2
from rich.text import Text

from edgeopt.agent.v1 import agent_pb2, benchmark_pb2
from edgeopt_host import _clock, _enums
from edgeopt_host._states import ENDED
from edgeopt_host._text import plain
from edgeopt_host.inventory import Device
from edgeopt_host.report._console import Cell, is_terminal, table, to_text

SCHEMA = "edgeopt.queue/1"
# Who asked, where an agent of the first release does not tell.
UNKNOWN = "unknown"
_NS = 1e9


def render(
    device: Device,
    status: agent_pb2.GetStatusResponse,
    known: Iterable[benchmark_pb2.Benchmark] = (),
) -> str:
    """A line per benchmark, the running one first, who has reserved it, and what is to be fetched.

    Args:
        device: from the inventory.
        status: the device's.
        known: all benchmarks that it knows.
    """
    lease = lease_entry(status)
    name = plain(device.name)
    if lease is None:
        reserved = f"nobody has reserved {name}"
    else:
        holder, purpose = plain(lease["holder"]), plain(lease["purpose"] or "")
        reserved = _clock.held(name, holder, purpose, lease["remaining_s"])
    columns = [("", "right"), ("Benchmark", "whole"), ("State", "left"), ("Of", "left")]
    columns += [("Since", "right"), ("Attempt", "right")]
    rows: list[list[Cell]] = [
        [
            str(entry["position"]),
            plain(entry["benchmark"].rpartition("/")[2]),
            entry["state"],
            plain(entry["holder"] or UNKNOWN),
            "" if entry["since_s"] is None else _clock.span(entry["since_s"]),
            str(entry["attempt"]) if entry["attempt"] > 1 else "",
        ]
        for entry in entries(status)
    ]
    body = table(columns, rows, boxed=is_terminal()) if rows else Text(f"{name} is idle")
    waiting = list(_waiting(status, known))
    return to_text(body, Text("\n".join([reserved, *waiting])))


def render_json(
    device: Device,
    status: agent_pb2.GetStatusResponse,
    known: Iterable[benchmark_pb2.Benchmark] = (),
) -> str:
    """The document `edgeopt.queue/1`."""
    document = {
        "schema": SCHEMA,
        "name": device.name,
        "queue": list(entries(status)),
        "lease": lease_entry(status),
        "unfetched": [
            {
                "benchmark": benchmark.name,
                "state": _state(benchmark),
                "holder": benchmark.holder or None,
                "since_s": _age_s(status, benchmark.end_time),
                "attempt": benchmark.attempt or 1,
            }
            for found in unfetched(known).values()
            for benchmark in found
        ],
    }
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def entries(status: agent_pb2.GetStatusResponse) -> Iterator[dict[str, Any]]:
    """The running benchmark, then those that wait."""
    for position, benchmark in enumerate(status.queue):
        running = benchmark.state == benchmark_pb2.Benchmark.STATE_RUNNING
        since = benchmark.start_time if running else benchmark.create_time
        yield {
            "position": position,
            "benchmark": benchmark.name,
            "state": _state(benchmark),
            "holder": benchmark.holder or None,
            "since_s": _age_s(status, since),
            "attempt": benchmark.attempt or 1,
        }


def unfetched(
    known: Iterable[benchmark_pb2.Benchmark],
) -> dict[str, list[benchmark_pb2.Benchmark]]:
    """Results that wait to be fetched, by who asked for them; the oldest first."""
    found: dict[str, list[benchmark_pb2.Benchmark]] = {}
    for benchmark in known:
        if benchmark.state in ENDED:
            found.setdefault(benchmark.holder or UNKNOWN, []).append(benchmark)
    return found


def lease_entry(status: agent_pb2.GetStatusResponse) -> dict[str, Any] | None:
    """Who holds the device; None while nobody does."""
    if not status.HasField("lease"):
        return None
    return {
        "holder": status.lease.holder,
        "purpose": status.lease.purpose or None,
        "remaining_s": status.lease.remaining_ns / _NS,
    }


def _waiting(
    status: agent_pb2.GetStatusResponse, known: Iterable[benchmark_pb2.Benchmark]
) -> Iterator[str]:
    """A line for each who has results to fetch."""
    for holder, found in unfetched(known).items():
        results = "1 result waits" if len(found) == 1 else f"{len(found)} results wait"
        age_s = _age_s(status, found[0].end_time)
        since = "" if age_s is None else f", the oldest for {_clock.span(age_s)}"
        yield f"{results} to be fetched by {plain(holder)}{since}"


def _state(benchmark: benchmark_pb2.Benchmark) -> str:
    return _enums.name(benchmark_pb2.Benchmark.State, benchmark.state, "STATE_")


def _age_s(status: agent_pb2.GetStatusResponse, since: timestamp_pb2.Timestamp) -> float | None:
    """How long ago by the device's clock, which need not be this host's; None where it is not told."""
    if not since.seconds:
        return None
    return max(0.0, (status.time.ToNanoseconds() - since.ToNanoseconds()) / _NS)
