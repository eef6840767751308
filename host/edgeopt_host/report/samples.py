"""What a run was computed from: every sample, launch by launch."""

from __future__ import annotations

import json
import math

import numpy as np

from edgeopt_host.report import _units
from edgeopt_host.report._console import is_terminal, table, to_text
from edgeopt_host.run import LAUNCH_FIGURES, Launch, Run

SCHEMA = "edgeopt.samples/1"


def render(run: Run) -> str:
    """The document `edgeopt.samples/1`: launches, their blocks and readings; null is "not read"."""
    document = {
        "schema": SCHEMA,
        "run": run.document(),
        "channels": run.channels,
        "launches": [
            {
                **{n: getattr(launch, n) for n in LAUNCH_FIGURES if not n.endswith("_bytes")},
                "memory": {n: getattr(launch, n) for n in LAUNCH_FIGURES if n.endswith("_bytes")},
                "blocks": [
                    {"start_ns": block.start_ns, "latency_ns": block.latency_ns.tolist()}
                    for block in launch.blocks
                ],
                "readings": [
                    {
                        "moment": reading.moment,
                        "time_ns": reading.time_ns,
                        "values": {
                            name: value if math.isfinite(value) else None
                            for name, value in reading.values.items()
                        },
                        "cpu_wait_ns": reading.cpu_wait_ns,
                        "thread_cpu_ns": reading.thread_cpu_ns,
                    }
                    for reading in launch.readings
                ],
            }
            for launch in run.launches
        ],
    }
    # A list of samples per line: a hundred thousand lines help nobody.
    return json.dumps(document, allow_nan=False, ensure_ascii=False) + "\n"


def render_launches(run: Run) -> str:
    """One line per launch."""
    columns = [
        (title, "right")
        for title in ("Launch", "Samples", "Blocks", "min", "p50", "Load", "First", "Peak")
    ]
    rows = [[str(i), *_row(launch)] for i, launch in enumerate(run.launches)]
    return to_text(table(columns, rows, boxed=is_terminal()))


def _row(launch: Launch) -> list[str]:
    parts = [block.latency_ns for block in launch.blocks]
    samples = np.concatenate(parts) if parts else np.empty(0, np.int64)
    known = samples.size > 0
    return [
        str(samples.size),
        str(len(parts)),
        _units.duration(float(samples.min()) / 1e6) if known else "-",
        _units.duration(float(np.median(samples)) / 1e6) if known else "-",
        _units.duration(launch.load_ns / 1e6),
        _units.duration(launch.first_inference_ns / 1e6),
        "-" if launch.peak_rss_bytes is None else _units.size(launch.peak_rss_bytes),
    ]
