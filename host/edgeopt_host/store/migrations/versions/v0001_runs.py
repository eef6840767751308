"""Runs, their labels, documents and launches."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("model_name", sa.Text, nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("runtime", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    for columns in (
        ["time", "id"],
        ["device", "time", "id"],
        ["model_name", "device", "time", "id"],
        ["model_name", "time", "id"],
        ["model_sha256", "time", "id"],
    ):
        op.create_index("_".join(["ix_runs", *columns]), "runs", columns)
    op.create_table(
        "labels",
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "key", name="pk_labels"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name="fk_labels_run_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_labels_key_value_time_run_id", "labels", ["key", "value", "time", "run_id"])
    op.create_table(
        "documents",
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
        sa.Column("channels", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_documents"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name="fk_documents_run_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "launches",
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("load_ns", sa.BigInteger, nullable=False),
        sa.Column("first_inference_ns", sa.BigInteger, nullable=False),
        sa.Column("warmup_inferences", sa.BigInteger, nullable=False),
        sa.Column("harness_overhead_ns", sa.BigInteger, nullable=False),
        sa.Column("timed_ns", sa.BigInteger, nullable=False),
        sa.Column("peak_rss_bytes", sa.BigInteger),
        sa.Column("runtime_rss_bytes", sa.BigInteger),
        sa.Column("model_rss_bytes", sa.BigInteger),
        sa.Column("anonymous_bytes", sa.BigInteger),
        sa.Column("file_bytes", sa.BigInteger),
        sa.Column("blocks", sa.JSON, nullable=False),
        sa.Column("samples", sa.LargeBinary, nullable=False),
        sa.Column("readings", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "position", name="pk_launches"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name="fk_launches_run_id", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    for table in ("launches", "documents", "labels", "runs"):
        op.drop_table(table)
