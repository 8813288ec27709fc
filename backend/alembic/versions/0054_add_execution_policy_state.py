"""What the execution policy remembers per strategy, symbol and day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0054"
down_revision = "0053"


def upgrade() -> None:
    op.create_table(
        "execution_policy_state",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("user_id", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("strategy_ref", sa.String(128), nullable=False),
        sa.Column("symbol", sa.String(128), nullable=False),
        sa.Column("product", sa.String(16), nullable=False, server_default="MIS"),
        sa.Column("interval_minutes", sa.Integer(), nullable=False, server_default="5"),
        sa.Column("trade_date", sa.Date(), nullable=False),
        sa.Column("trades_today", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("last_trade_time", sa.DateTime()),
        sa.Column("last_trade_bar_index", sa.Integer()),
        sa.Column("consecutive_losses", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("last_loss_time", sa.DateTime()),
        sa.Column("last_loss_bar_index", sa.Integer()),
        sa.Column("paused_until", sa.DateTime()),
        sa.Column("paused_reason", sa.String(255)),
        sa.Column("open_side", sa.String(8)),
        sa.Column("open_qty", sa.Float(), nullable=False, server_default="0"),
        sa.Column("open_avg_price", sa.Float()),
        sa.Column("open_realized_pnl", sa.Float(), nullable=False, server_default="0"),
        sa.Column("created_at", sa.DateTime(), nullable=False, server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.Column("updated_at", sa.DateTime(), nullable=False, server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.UniqueConstraint(
            "user_id", "strategy_ref", "symbol", "product", name="ux_execution_policy_state_scope"
        ),
    )
    op.create_index("ix_execution_policy_state_updated_at", "execution_policy_state", ["updated_at"])
    op.create_index(
        "ix_execution_policy_state_user_strategy", "execution_policy_state", ["user_id", "strategy_ref"]
    )


def downgrade() -> None:
    op.drop_table("execution_policy_state")
