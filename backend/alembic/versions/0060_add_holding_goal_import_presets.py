"""Saved column mappings for importing goals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0060"
down_revision = "0059"


def upgrade() -> None:
    op.create_table(
        "holding_goal_import_presets",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("mapping_json", sa.String(2000), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False, server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.Column("updated_at", sa.DateTime(), nullable=False, server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.UniqueConstraint("user_id", "name", name="ux_holding_goal_import_presets"),
    )
    op.create_index("ix_holding_goal_import_presets_user", "holding_goal_import_presets", ["user_id"])


def downgrade() -> None:
    op.drop_table("holding_goal_import_presets")
