"""Backtest runs get a table."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0043_add_backtest_runs"
down_revision = "0042"


def upgrade() -> None:
    op.create_table(
        "backtest_runs",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("owner_id", sa.Integer(), sa.ForeignKey("users.id", ondelete="CASCADE")),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("status", sa.String(32), nullable=False, server_default="PENDING"),
        sa.Column("title", sa.String(255)),
        sa.Column("config_json", sa.Text(), nullable=False),
        sa.Column("result_json", sa.Text()),
        sa.Column("error_message", sa.Text()),
        sa.Column("started_at", sa.DateTime()),
        sa.Column("finished_at", sa.DateTime()),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        if_not_exists=True,
    )
    op.create_index("ix_backtest_runs_created_at", "backtest_runs", ["created_at"], if_not_exists=True)
    op.create_index("ix_backtest_runs_kind", "backtest_runs", ["kind"], if_not_exists=True)
    op.create_index("ix_backtest_runs_owner_id", "backtest_runs", ["owner_id"], if_not_exists=True)
    op.create_index("ix_backtest_runs_status", "backtest_runs", ["status"], if_not_exists=True)


def downgrade() -> None:
    op.drop_table("backtest_runs")
