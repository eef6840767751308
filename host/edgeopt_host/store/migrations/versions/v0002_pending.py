"""Runs that were asked of a device and are not stored yet."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "pending",
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("identity", sa.Text),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("benchmark", sa.Text),
        sa.Column("cancelled", sa.Boolean, nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
        sa.Column("channels", sa.JSON, nullable=False),
        sa.Column("outputs", sa.LargeBinary),
        sa.PrimaryKeyConstraint("request_id", name="pk_pending"),
    )


def downgrade() -> None:
    op.drop_table("pending")
