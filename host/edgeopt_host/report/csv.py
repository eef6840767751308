"""One line per run, one column per figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from edgeopt_host._text import plain
from edgeopt_host.run import Run

# Column → where it stands in the document. The order is documented: new ones go to the end.
COLUMNS = {
    "id": "id",
    "time": "time",
    "model": "model.name",
    "model_sha256": "model.sha256",
    "model_size_bytes": "model.size_bytes",
    "model_format": "model.format",
    "device": "device.name",
    "board": "device.board",
    "cpu": "device.cpu",
    "architecture": "device.architecture",
    "cores": "device.cores",
    "memory_bytes": "device.memory_bytes",
    "os": "device.os",
    "emulated": "device.emulated",
    "agent_version": "device.agent_version",
    "runtime": "runtime.name",
    "implementation": "runtime.implementation",
    "version": "runtime.version",
    "threads": "runtime.threads",
    "requested_provider": "runtime.requested_provider",
    "actual_provider": "runtime.actual_provider",
    "delegated_share": "runtime.delegated_share",
    "batch": "shape.batch",
    "streams": "shape.streams",
    "rate_hz": "shape.rate_hz",
    "count": "latency_ms.count",
    "launches": "latency_ms.launches",
    "min_latency_ms": "latency_ms.min",
    "mean_latency_ms": "latency_ms.mean",
    "stddev_latency_ms": "latency_ms.stddev",
    "p50_latency_ms": "latency_ms.p50",
    "p50_ci95_low_ms": "latency_ms.p50_ci95.0",
    "p50_ci95_high_ms": "latency_ms.p50_ci95.1",
    "p90_latency_ms": "latency_ms.p90",
    "p95_latency_ms": "latency_ms.p95",
    "p99_latency_ms": "latency_ms.p99",
    "max_latency_ms": "latency_ms.max",
    "throughput_per_s": "throughput_per_s",
    "load_ms": "load_ms",
    "first_inference_ms": "first_inference_ms",
    "harness_overhead_us": "harness_overhead_us",
    "peak_rss_bytes": "memory.peak_rss_bytes",
    "runtime_rss_bytes": "memory.runtime_rss_bytes",
    "model_rss_bytes": "memory.model_rss_bytes",
    "energy_status": "energy.status",
    "energy_reason": "energy.reason",
    "energy_per_inference_mj": "energy.per_inference_mj",
    "temperature_start_c": "state.temperature_c.start",
    "temperature_max_c": "state.temperature_c.max",
    "temperature_end_c": "state.temperature_c.end",
    "throttled": "state.throttled",
    "governor": "state.governor",
    "labels": "labels",
    "warnings": "warnings",
    "error_reason": "error.reason",
    "error_message": "error.message",
    "command": "command",
}


def render(runs: Sequence[Run]) -> str:
    """RFC 4180 (with plain line ends) and a header; what does not apply is an empty field.

    A text that a spreadsheet would take for a formula gets an apostrophe before it, and control
    characters are escaped: a run is one line.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for run in runs:
        document = run.document()
        writer.writerow([_field(_at(document, path)) for path in COLUMNS.values()])
    return out.getvalue()


def _at(value: Any, path: str) -> Any:
    for key in path.split("."):
        if value is None:
            return None
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def _field(value: Any) -> str | float | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        value = " ".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, list):
        value = " ".join(item["code"] for item in value)
    if isinstance(value, str):
        value = plain(value)
        return f"'{value}" if value.startswith(("=", "+", "-", "@")) else value
    number: float | None = value
    return number
