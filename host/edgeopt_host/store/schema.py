"""The tables, the same on SQLite and PostgreSQL.

`runs` holds what runs are found by, and nothing else: a million of its rows are about 200 MB, so
that any filter answers at once. What a run says (`documents`) and what was measured (`launches`)
stand apart and are read for the runs that were found; so do `traces`, which few runs have.
`baselines` gives names to runs. `pending` has what devices were asked for and still owe.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# The newest revision in migrations/versions: a database that has it needs no alembic.
REVISION = "0003"
# Not alembic's default: Optuna keeps its own `alembic_version` in the same PostgreSQL.
VERSION_TABLE = "edgeopt_version"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, in UTC. SQLite keeps no zone: it is put back when read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(timezone.utc)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.replace(tzinfo=timezone.utc)


class Base(DeclarativeBase):
    # Named constraints can be changed by a later migration; SQLite gives unnamed ones no name.
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )


class RunRow(Base):
    """What a run is found by."""

    __tablename__ = "runs"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    time: Mapped[datetime] = mapped_column(UtcDateTime)
    device: Mapped[str] = mapped_column(Text)
    model_name: Mapped[str] = mapped_column(Text)
    model_sha256: Mapped[str] = mapped_column(String(64))
    runtime: Mapped[str] = mapped_column(Text)
    # The reason of a failed run.
    error: Mapped[str | None] = mapped_column(Text)

    # Each ends in the order of a listing, so that "the newest 50 of …" reads 50 entries.
    __table_args__ = (
        Index(None, "time", "id"),
        Index(None, "device", "time", "id"),
        Index(None, "model_name", "device", "time", "id"),
        Index(None, "model_name", "time", "id"),
        Index(None, "model_sha256", "time", "id"),
    )


class LabelRow(Base):
    """One label of a run. The time is the run's: see the index."""

    __tablename__ = "labels"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[str] = mapped_column(Text)
    time: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (Index(None, "key", "value", "time", "run_id"),)


class DocumentRow(Base):
    """What a run says: `Run.document()`, and its channels' quantities or facts."""

    __tablename__ = "documents"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    document: Mapped[dict[str, Any]] = mapped_column(JSON)
    channels: Mapped[dict[str, Any]] = mapped_column(JSON)


class LaunchRow(Base):
    """One launch of a run, from which every figure can be computed again."""

    __tablename__ = "launches"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    # From 0, in the order of the run.
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    load_ns: Mapped[int] = mapped_column(BigInteger)
    first_inference_ns: Mapped[int] = mapped_column(BigInteger)
    warmup_inferences: Mapped[int] = mapped_column(BigInteger)
    harness_overhead_ns: Mapped[int] = mapped_column(BigInteger)
    timed_ns: Mapped[int] = mapped_column(BigInteger)
    peak_rss_bytes: Mapped[int | None] = mapped_column(BigInteger)
    runtime_rss_bytes: Mapped[int | None] = mapped_column(BigInteger)
    model_rss_bytes: Mapped[int | None] = mapped_column(BigInteger)
    anonymous_bytes: Mapped[int | None] = mapped_column(BigInteger)
    file_bytes: Mapped[int | None] = mapped_column(BigInteger)
    # [start_ns, number of latencies, duration_ns, cpu_ns, round, samples of each stream …] of each
    # block; of the first release the first two alone.
    blocks: Mapped[list[list[int]]] = mapped_column(JSON)
    # The blocks' latencies in ns, one after the other: zlib of little-endian int64.
    samples: Mapped[bytes] = mapped_column(LargeBinary)
    # zlib of JSON, in UTF-8: one object per reading.
    readings: Mapped[bytes] = mapped_column(LargeBinary)
    # Its number in the benchmark; `position` of runs of the first release.
    number: Mapped[int | None]
    # Why its figures do not count.
    tainted: Mapped[str | None] = mapped_column(Text)
    stream_rss_bytes: Mapped[list[int] | None] = mapped_column(JSON)


class TraceRow(Base):
    """What else a run was computed from, by kind: "power", "correct"."""

    __tablename__ = "traces"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    # zlib of an .npz without compression.
    data: Mapped[bytes] = mapped_column(LargeBinary)


class BaselineRow(Base):
    """A run that a name stands for, on one device."""

    __tablename__ = "baselines"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    # The device's name.
    device: Mapped[str] = mapped_column(Text, primary_key=True)
    # No cascade: a run that a name stands for is not deleted.
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"))
    time: Mapped[datetime] = mapped_column(UtcDateTime)
    note: Mapped[str] = mapped_column(Text)


class PendingRow(Base):
    """A run that a device was asked for and that is not stored yet."""

    __tablename__ = "pending"

    # As the device knows it; begins with the run's id.
    request_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    run_id: Mapped[str] = mapped_column(String(32))
    device: Mapped[str] = mapped_column(Text)
    # Of a device that is enrolled: its name may be another's by the time the run is fetched.
    identity: Mapped[str | None] = mapped_column(Text)
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)
    # The benchmark's name, once the device has given one.
    benchmark: Mapped[str | None] = mapped_column(Text)
    # Nobody wants it any more, and the device could not be told.
    cancelled: Mapped[bool]
    # The process that takes care of it: edgeopt_host.owner.
    owner: Mapped[str] = mapped_column(String(64))
    # The run as it was begun: as in `documents`.
    document: Mapped[dict[str, Any]] = mapped_column(JSON)
    channels: Mapped[dict[str, Any]] = mapped_column(JSON)
    # Documents of the other runs of the same benchmark.
    further: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON)
    # Where the outputs are to go: a path, as its bytes.
    outputs: Mapped[bytes | None] = mapped_column(LargeBinary)
