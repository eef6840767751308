"""A run as rows, and back."""

from __future__ import annotations

import json
import math
import zlib
from datetime import datetime, timezone
from typing import Any

import numpy as np

from edgeopt_host.errors import StoreError
from edgeopt_host.run import LAUNCH_FIGURES, Block, Launch, Reading, Run
from edgeopt_host.store.schema import Base, DocumentRow, LabelRow, LaunchRow, RunRow

_SAMPLE = np.dtype("<i8")


def to_rows(run: Run) -> list[Base]:
    """Everything a run is made of, the parent row first.

    Raises:
        ValueError: when the run has no id, or its time is no ISO 8601.
    """
    if run.id is None:
        raise ValueError("a run to be stored needs an id")
    run_id = run.id
    document = run.document()
    time = _parse_time(run.time)
    return [
        RunRow(
            id=run_id,
            time=time,
            device=document["device"]["name"],
            model_name=document["model"]["name"],
            model_sha256=run.model.sha256,
            runtime=run.runtime.name,
            error=run.error.reason if run.error else None,
        ),
        DocumentRow(run_id=run_id, document=document, channels=run.channels),
        *(
            LabelRow(run_id=run_id, key=key, value=value, time=time)
            for key, value in document["labels"].items()
        ),
        *(_launch_row(run_id, i, launch) for i, launch in enumerate(run.launches)),
    ]


def to_run(document: dict[str, Any], channels: dict[str, str]) -> Run:
    """The run without its launches.

    Raises:
        StoreError: when the document is none of a run.
    """
    try:
        run = Run.from_document(document)
        if not isinstance(run, Run):
            raise TypeError("it is no run")  # noqa: TRY301 - one message for all
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"a stored run is damaged: {error}") from error
    run.channels = channels
    return run


def to_launch(row: LaunchRow) -> Launch:
    """One launch, bit for bit.

    Raises:
        StoreError: when its bytes are damaged.
    """
    try:
        samples = np.frombuffer(zlib.decompress(row.samples), _SAMPLE).astype(np.int64)
        ends = np.cumsum([length for _, length in row.blocks], dtype=np.int64)
        if samples.size != (ends[-1] if ends.size else 0):
            raise ValueError(f"{samples.size} samples")  # noqa: TRY301 - one message for all
        blocks = [
            Block(start, latencies)
            for (start, _), latencies in zip(row.blocks, np.split(samples, ends[:-1]), strict=False)
        ]
        readings = [_reading(item) for item in json.loads(zlib.decompress(row.readings))]
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OverflowError,
        RecursionError,
        zlib.error,
    ) as error:
        raise StoreError(
            f"launch {row.position} of the stored run {row.run_id} is damaged: {error}"
        ) from error
    return Launch(
        **{name: getattr(row, name) for name in LAUNCH_FIGURES}, blocks=blocks, readings=readings
    )


def _launch_row(run_id: str, position: int, launch: Launch) -> LaunchRow:
    samples = [np.asarray(block.latency_ns, _SAMPLE) for block in launch.blocks]
    readings = [
        {
            "moment": reading.moment,
            "time_ns": reading.time_ns,
            # A channel that could not be read is NaN, which JSON has not.
            "values": {
                name: value if math.isfinite(value) else None
                for name, value in reading.values.items()
            },
            "cpu_wait_ns": reading.cpu_wait_ns,
            "thread_cpu_ns": reading.thread_cpu_ns,
        }
        for reading in launch.readings
    ]
    return LaunchRow(
        run_id=run_id,
        position=position,
        **{name: getattr(launch, name) for name in LAUNCH_FIGURES},
        blocks=[
            [block.start_ns, part.size] for block, part in zip(launch.blocks, samples, strict=True)
        ],
        samples=zlib.compress(b"".join(part.tobytes() for part in samples)),
        readings=zlib.compress(json.dumps(readings, separators=(",", ":")).encode()),
    )


def _reading(item: dict[str, Any]) -> Reading:
    values = {name: math.nan if v is None else v for name, v in item["values"].items()}
    return Reading(**{**item, "values": values})


def _parse_time(text: str) -> datetime:
    # Python 3.10 does not read the Z.
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)
