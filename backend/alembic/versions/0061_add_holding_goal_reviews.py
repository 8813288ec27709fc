"""Every review of a goal is kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0061"
down_revision = "0060"


def upgrade() -> None:
    op.create_table(
        "holding_goal_reviews",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "goal_id", sa.Integer(), sa.ForeignKey("holding_goals.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("broker_name", sa.String(32), nullable=False),
        sa.Column("symbol", sa.String(128), nullable=False),
        sa.Column("exchange", sa.String(16), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("previous_review_date", sa.Date(), nullable=False),
        sa.Column("new_review_date", sa.Date(), nullable=False),
        sa.Column("note", sa.String(255)),
        sa.Column("created_at", sa.DateTime(), nullable=False, server_default=sa.text("CURRENT_TIMESTAMP")),
    )
    op.create_index("ix_holding_goal_reviews_goal", "holding_goal_reviews", ["goal_id"])
    op.create_index("ix_holding_goal_reviews_user", "holding_goal_reviews", ["user_id"])


def downgrade() -> None:
    op.drop_table("holding_goal_reviews")
