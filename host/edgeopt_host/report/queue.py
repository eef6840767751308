"""What a device runs and what waits there, for people and programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rich.text import Text

from edgeopt.agent.v1 import agent_pb2, benchmark_pb2
from edgeopt_host import _clock, _enums
from edgeopt_host.inventory import Device
from edgeopt_host.report._cells import plain
from edgeopt_host.report._console import Cell, is_terminal, table, to_text

SCHEMA = "edgeopt.queue/1"
_NS = 1e9


def render(device: Device, status: agent_pb2.GetStatusResponse) -> str:
    """A line per benchmark, the running one first, and who has reserved the device."""
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
            plain(entry["holder"] or "unknown"),
            "" if entry["since_s"] is None else _clock.span(entry["since_s"]),
            str(entry["attempt"]) if entry["attempt"] > 1 else "",
        ]
        for entry in entries(status)
    ]
    body = table(columns, rows, boxed=is_terminal()) if rows else Text(f"{name} is idle")
    return to_text(body, Text(reserved))


def render_json(device: Device, status: agent_pb2.GetStatusResponse) -> str:
    """The document `edgeopt.queue/1`."""
    document = {
        "schema": SCHEMA,
        "name": device.name,
        "queue": list(entries(status)),
        "lease": lease_entry(status),
    }
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def entries(status: agent_pb2.GetStatusResponse) -> Iterator[dict[str, Any]]:
    """The running benchmark, then those that wait."""
    for position, benchmark in enumerate(status.queue):
        running = benchmark.state == benchmark_pb2.Benchmark.STATE_RUNNING
        since = benchmark.start_time if running else benchmark.create_time
        # By the device's clock on both sides: how long ago, not when.
        age_s = (status.time.ToNanoseconds() - since.ToNanoseconds()) / _NS
        yield {
            "position": position,
            "benchmark": benchmark.name,
            "state": _enums.name(benchmark_pb2.Benchmark.State, benchmark.state, "STATE_"),
            "holder": benchmark.holder or None,
            "since_s": max(0.0, age_s) if since.seconds else None,
            "attempt": benchmark.attempt or 1,
        }


def lease_entry(status: agent_pb2.GetStatusResponse) -> dict[str, Any] | None:
    """Who holds the device; None while nobody does."""
    if not status.HasField("lease"):
        return None
    return {
        "holder": status.lease.holder,
        "purpose": status.lease.purpose or None,
        "remaining_s": status.lease.remaining_ns / _NS,
    }
