"""Positions whose stop the application manages; orders carry the risk asked for and whether they close."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.revisions.guards import missing

revision = "0052"
down_revision = "0051"


def upgrade() -> None:
    op.create_table(
        "managed_risk_positions",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("users.id", ondelete="SET NULL")),
        sa.Column(
            "entry_order_id", sa.Integer(), sa.ForeignKey("orders.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("broker_name", sa.String(32), nullable=False, server_default="zerodha"),
        sa.Column("symbol", sa.String(128), nullable=False),
        sa.Column("exchange", sa.String(32), nullable=False, server_default="NSE"),
        sa.Column("product", sa.String(16), nullable=False),
        sa.Column("side", sa.String(8), nullable=False),
        sa.Column("qty", sa.Float(), nullable=False),
        sa.Column("execution_target", sa.String(16), nullable=False, server_default="LIVE"),
        sa.Column("risk_spec_json", sa.Text(), nullable=False, server_default="{}"),
        sa.Column("entry_price", sa.Float(), nullable=False),
        sa.Column("stop_distance", sa.Float()),
        sa.Column("trail_distance", sa.Float()),
        sa.Column("activation_distance", sa.Float()),
        sa.Column("best_favorable_price", sa.Float(), nullable=False),
        sa.Column("trail_price", sa.Float()),
        sa.Column("is_trailing_active", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("last_ltp", sa.Float()),
        sa.Column("status", sa.String(16), nullable=False, server_default="ACTIVE"),
        sa.Column("exit_order_id", sa.Integer(), sa.ForeignKey("orders.id", ondelete="SET NULL")),
        sa.Column("exit_reason", sa.String(16)),
        sa.Column("created_at", sa.DateTime()),
        sa.Column("updated_at", sa.DateTime()),
        sa.UniqueConstraint("entry_order_id", name="ux_managed_risk_positions_entry_order_id"),
        if_not_exists=True,
    )
    op.create_index(
        "ix_managed_risk_positions_broker_symbol",
        "managed_risk_positions",
        ["broker_name", "symbol", "exchange", "product"],
        if_not_exists=True,
    )
    op.create_index(
        "ix_managed_risk_positions_exit_order_id",
        "managed_risk_positions",
        ["exit_order_id"],
        if_not_exists=True,
    )
    op.create_index(
        "ix_managed_risk_positions_status", "managed_risk_positions", ["status"], if_not_exists=True
    )
    for column in missing(
        "orders",
        sa.Column("risk_spec_json", sa.Text()),
        sa.Column("is_exit", sa.Boolean(), nullable=False, server_default=sa.false()),
    ):
        op.add_column("orders", column)


def downgrade() -> None:
    with op.batch_alter_table("orders") as batch:
        batch.drop_column("is_exit")
        batch.drop_column("risk_spec_json")
    op.drop_table("managed_risk_positions")
