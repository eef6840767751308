"""What comparisons need: rounds and taints of launches, traces, baselines, several runs pending."""

import json
import zlib

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

# Of a reading.
_LATER = ("canary_ns", "runnable", "steal_ns")


def upgrade() -> None:
    for column in (
        sa.Column("number", sa.Integer, nullable=True),
        sa.Column("tainted", sa.Text, nullable=True),
        sa.Column("stream_rss_bytes", sa.JSON, nullable=True),
    ):
        op.add_column("launches", column)
    op.add_column("pending", sa.Column("further", sa.JSON, nullable=True))
    op.create_table(
        "traces",
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "kind", name="pk_traces"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name="fk_traces_run_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "baselines",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", "device", name="pk_baselines"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_baselines_run_id"),
    )


def downgrade() -> None:
    op.drop_table("baselines")
    op.drop_table("traces")
    op.drop_column("pending", "further")
    _as_the_first_release_reads()
    for name in ("number", "tainted", "stream_rss_bytes"):
        op.drop_column("launches", name)


def _as_the_first_release_reads() -> None:
    """Blocks of two numbers, and readings without what came later."""
    launches = sa.table(
        "launches",
        sa.column("run_id", sa.Text),
        sa.column("position", sa.Integer),
        sa.column("blocks", sa.JSON),
        sa.column("readings", sa.LargeBinary),
    )
    bind = op.get_bind()
    for run_id, position in bind.execute(
        sa.select(launches.c.run_id, launches.c.position)
    ).fetchall():
        this = (launches.c.run_id == run_id, launches.c.position == position)
        blocks, readings = bind.execute(
            sa.select(launches.c.blocks, launches.c.readings).where(*this)
        ).one()
        kept = [
            {name: value for name, value in reading.items() if name not in _LATER}
            for reading in json.loads(zlib.decompress(readings))
        ]
        packed = zlib.compress(json.dumps(kept, separators=(",", ":")).encode())
        values = {"blocks": [block[:2] for block in blocks], "readings": packed}
        bind.execute(sa.update(launches).where(*this).values(**values))
