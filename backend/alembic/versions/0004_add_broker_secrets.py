"""Encrypted settings per broker get a table."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "broker_secrets",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("broker_name", sa.String(32), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("value_encrypted", sa.String(1024), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False, server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.Column("updated_at", sa.DateTime(), nullable=False, server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.UniqueConstraint("broker_name", "key", name="ux_broker_secrets_broker_key"),
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_table("broker_secrets")
