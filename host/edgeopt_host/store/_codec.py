"""A run as rows, and back."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import zipfile
import zlib
from datetime import datetime, timezone
from typing import Any

import numpy as np

from edgeopt_host.errors import StoreError
from edgeopt_host.run import (
    LAUNCH_FIGURES,
    Block,
    Launch,
    Nanoseconds,
    PowerTrace,
    Reading,
    Run,
)
from edgeopt_host.store.schema import Base, DocumentRow, LabelRow, LaunchRow, RunRow, TraceRow

_SAMPLE = np.dtype("<i8")
# Before the name of each channel in a power trace: an archive has other arrays, too.
_CHANNEL = "channel:"
# What reading damaged bytes may end in.
_DAMAGE = (
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


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
        DocumentRow(run_id=run_id, document=document, channels=channels(run)),
        *(
            LabelRow(run_id=run_id, key=key, value=value, time=time)
            for key, value in document["labels"].items()
        ),
        *(_launch_row(run_id, i, launch) for i, launch in enumerate(run.launches)),
        *(
            TraceRow(run_id=run_id, kind=kind, data=_pack(arrays))
            for kind, arrays in _traces(run).items()
        ),
    ]


def channels(run: Run) -> dict[str, Any]:
    """Each channel's quantity; of power channels all that a trace is read by."""
    facts = {
        name: {key: value for key, value in dataclasses.asdict(known).items() if _is_finite(value)}
        for name, known in run.channel_facts.items()
    }
    return {**run.channels, **facts}


def to_run(document: dict[str, Any], channels: dict[str, Any]) -> Run:
    """The run without its launches.

    Raises:
        StoreError: when the document is none of a run.
    """
    try:
        run = Run.from_document(document)
        if not isinstance(run, Run):
            raise TypeError("it is no run")  # noqa: TRY301 - one message for all
        facts = {name: known for name, known in channels.items() if not isinstance(known, str)}
        run.channels = channels | {name: known["quantity"] for name, known in facts.items()}
        if facts:
            from edgeopt_host.energy import ChannelFacts

            run.channel_facts = {name: ChannelFacts(**known) for name, known in facts.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"a stored run is damaged: {error}") from error
    return run


def _is_finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def add_trace(run: Run, row: TraceRow) -> None:
    """Puts back what stood apart; a kind of a later release is left out.

    Raises:
        StoreError: when its bytes are damaged.
    """
    try:
        with np.load(io.BytesIO(zlib.decompress(row.data)), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        if row.kind == "power":
            channels = [name for name in arrays if name.startswith(_CHANNEL)]
            run.power = PowerTrace(
                arrays["time_ns"],
                {name.removeprefix(_CHANNEL): arrays[name] for name in channels},
                arrays["windows"].tolist(),
            )
        elif row.kind == "correct":
            run.correct = arrays["correct"]
    except _DAMAGE as error:
        raise StoreError(
            f"the {row.kind} trace of the stored run {row.run_id} is damaged: {error}"
        ) from error


def _traces(run: Run) -> dict[str, dict[str, Any]]:
    traces: dict[str, dict[str, Any]] = {}
    if run.power is not None:
        traces["power"] = {
            "time_ns": run.power.time_ns,
            "windows": np.array(run.power.windows, np.int64).reshape(-1, 3),
            **{f"{_CHANNEL}{name}": values for name, values in run.power.values.items()},
        }
    if run.correct is not None:
        traces["correct"] = {"correct": run.correct}
    return traces


def _pack(arrays: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return zlib.compress(file.getvalue())


def to_launch(row: LaunchRow) -> Launch:
    """One launch, bit for bit.

    Raises:
        StoreError: when its bytes are damaged.
    """
    try:
        samples = np.frombuffer(zlib.decompress(row.samples), _SAMPLE).astype(np.int64)
        ends = np.cumsum([length for _, length, *_ in row.blocks], dtype=np.int64)
        if samples.size != (ends[-1] if ends.size else 0):
            raise ValueError(f"{samples.size} samples")
        blocks = [
            _block(described, latencies)
            for described, latencies in zip(row.blocks, np.split(samples, ends[:-1]), strict=False)
        ]
        readings = [_reading(item) for item in json.loads(zlib.decompress(row.readings))]
    except _DAMAGE as error:
        raise StoreError(
            f"launch {row.position} of the stored run {row.run_id} is damaged: {error}"
        ) from error
    return Launch(
        **{name: getattr(row, name) for name in LAUNCH_FIGURES},
        blocks=blocks,
        readings=readings,
        number=row.position if row.number is None else row.number,
        tainted=row.tainted,
        stream_rss_bytes=row.stream_rss_bytes or [],
    )


def _block(described: list[int], latencies: Nanoseconds) -> Block:
    start, _, *more = described
    if not more:
        return Block(start, latencies)
    duration, cpu, round_, *streams = more
    return Block(start, latencies, duration, cpu, round_, streams)


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
            "canary_ns": reading.canary_ns,
            "runnable": reading.runnable,
            "steal_ns": reading.steal_ns,
        }
        for reading in launch.readings
    ]
    return LaunchRow(
        run_id=run_id,
        position=position,
        **{name: getattr(launch, name) for name in LAUNCH_FIGURES},
        blocks=[
            [
                block.start_ns,
                part.size,
                block.duration_ns,
                block.cpu_ns,
                block.round,
                *block.stream_samples,
            ]
            for block, part in zip(launch.blocks, samples, strict=True)
        ],
        samples=zlib.compress(b"".join(part.tobytes() for part in samples)),
        readings=zlib.compress(json.dumps(readings, separators=(",", ":")).encode()),
        number=launch.number,
        tainted=launch.tainted,
        stream_rss_bytes=launch.stream_rss_bytes,
    )


def _reading(item: dict[str, Any]) -> Reading:
    values = {name: math.nan if v is None else v for name, v in item["values"].items()}
    return Reading(**{**item, "values": values})


def _parse_time(text: str) -> datetime:
    # Python 3.10 does not read the Z.
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)
