"""Rebalancing of groups: policies, schedules, runs and their orders."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0039"


def upgrade() -> None:
    op.create_table(
        "rebalance_policies",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("owner_id", sa.Integer(), sa.ForeignKey("users.id", ondelete="CASCADE")),
        sa.Column("group_id", sa.Integer(), sa.ForeignKey("groups.id", ondelete="CASCADE"), nullable=False),
        sa.Column("name", sa.String(255), nullable=False, server_default="default"),
        sa.Column("enabled", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("broker_scope", sa.String(32), nullable=False, server_default="zerodha"),
        sa.Column("policy_json", sa.Text()),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.UniqueConstraint("owner_id", "group_id", name="ux_rebalance_policies_owner_group"),
        if_not_exists=True,
    )
    op.create_index("ix_rebalance_policies_group_id", "rebalance_policies", ["group_id"], if_not_exists=True)
    op.create_index("ix_rebalance_policies_owner_id", "rebalance_policies", ["owner_id"], if_not_exists=True)
    op.create_table(
        "rebalance_runs",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("owner_id", sa.Integer(), sa.ForeignKey("users.id", ondelete="CASCADE")),
        sa.Column("group_id", sa.Integer(), sa.ForeignKey("groups.id", ondelete="CASCADE"), nullable=False),
        sa.Column("broker_name", sa.String(32), nullable=False),
        sa.Column("status", sa.String(16), nullable=False, server_default="CREATED"),
        sa.Column("mode", sa.String(16), nullable=False, server_default="MANUAL"),
        sa.Column("idempotency_key", sa.String(128)),
        sa.Column("policy_snapshot_json", sa.Text()),
        sa.Column("inputs_snapshot_json", sa.Text()),
        sa.Column("summary_json", sa.Text()),
        sa.Column("error_message", sa.Text()),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("executed_at", sa.DateTime()),
        sa.UniqueConstraint("owner_id", "idempotency_key", name="ux_rebalance_runs_owner_idempotency"),
        sa.CheckConstraint("mode IN ('MANUAL', 'AUTO')", name="ck_rebalance_runs_mode"),
        sa.CheckConstraint("status IN ('CREATED', 'EXECUTED', 'FAILED')", name="ck_rebalance_runs_status"),
        if_not_exists=True,
    )
    op.create_index(
        "ix_rebalance_runs_group_broker_time",
        "rebalance_runs",
        ["group_id", "broker_name", "created_at"],
        if_not_exists=True,
    )
    op.create_index("ix_rebalance_runs_group_id", "rebalance_runs", ["group_id"], if_not_exists=True)
    op.create_index("ix_rebalance_runs_owner_id", "rebalance_runs", ["owner_id"], if_not_exists=True)
    op.create_table(
        "rebalance_run_orders",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "run_id", sa.Integer(), sa.ForeignKey("rebalance_runs.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("order_id", sa.Integer(), sa.ForeignKey("orders.id", ondelete="SET NULL")),
        sa.Column("symbol", sa.String(128), nullable=False),
        sa.Column("exchange", sa.String(32)),
        sa.Column("side", sa.String(8), nullable=False),
        sa.Column("qty", sa.Float(), nullable=False),
        sa.Column("estimated_price", sa.Float()),
        sa.Column("estimated_notional", sa.Float()),
        sa.Column("target_weight", sa.Float()),
        sa.Column("live_weight", sa.Float()),
        sa.Column("drift", sa.Float()),
        sa.Column("current_value", sa.Float()),
        sa.Column("desired_value", sa.Float()),
        sa.Column("delta_value", sa.Float()),
        sa.Column("scale", sa.Float()),
        sa.Column("reason_json", sa.Text()),
        sa.Column("status", sa.String(16), nullable=False, server_default="PROPOSED"),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        if_not_exists=True,
    )
    op.create_index(
        "ix_rebalance_run_orders_order_id", "rebalance_run_orders", ["order_id"], if_not_exists=True
    )
    op.create_index("ix_rebalance_run_orders_run_id", "rebalance_run_orders", ["run_id"], if_not_exists=True)
    op.create_table(
        "rebalance_schedules",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "policy_id",
            sa.Integer(),
            sa.ForeignKey("rebalance_policies.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("enabled", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("schedule_json", sa.Text()),
        sa.Column("next_run_at", sa.DateTime()),
        sa.Column("last_run_at", sa.DateTime()),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.UniqueConstraint("policy_id", name="ux_rebalance_schedules_policy_id"),
        if_not_exists=True,
    )
    op.create_index(
        "ix_rebalance_schedules_policy_id", "rebalance_schedules", ["policy_id"], if_not_exists=True
    )


def downgrade() -> None:
    op.drop_table("rebalance_schedules")
    op.drop_table("rebalance_run_orders")
    op.drop_table("rebalance_runs")
    op.drop_table("rebalance_policies")
