"""Deployed strategies and the state they are in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0045"
down_revision = "0044_repair_backtest_runs"


def upgrade() -> None:
    op.create_table(
        "strategy_deployments",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("owner_id", sa.Integer(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("execution_target", sa.String(16), nullable=False, server_default="PAPER"),
        sa.Column("enabled", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("broker_name", sa.String(32), nullable=False, server_default="zerodha"),
        sa.Column("product", sa.String(16), nullable=False, server_default="CNC"),
        sa.Column("target_kind", sa.String(16), nullable=False, server_default="SYMBOL"),
        sa.Column("group_id", sa.Integer(), sa.ForeignKey("groups.id", ondelete="CASCADE")),
        sa.Column("exchange", sa.String(32)),
        sa.Column("symbol", sa.String(128)),
        sa.Column("timeframe", sa.String(8), nullable=False, server_default="1d"),
        sa.Column("config_json", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.UniqueConstraint("owner_id", "name", name="ux_strategy_deployments_owner_name"),
        sa.CheckConstraint(
            "execution_target IN ('PAPER', 'LIVE')", name="ck_strategy_deployments_execution_target"
        ),
        sa.CheckConstraint("kind IN ('STRATEGY', 'PORTFOLIO_STRATEGY')", name="ck_strategy_deployments_kind"),
        sa.CheckConstraint(
            "(target_kind = 'SYMBOL' AND symbol IS NOT NULL)"
            " OR (target_kind = 'GROUP' AND group_id IS NOT NULL)",
            name="ck_strategy_deployments_target_fields",
        ),
        sa.CheckConstraint("target_kind IN ('SYMBOL', 'GROUP')", name="ck_strategy_deployments_target_kind"),
        sa.CheckConstraint(
            "timeframe IN ('1m','5m','15m','30m','1h','1d')", name="ck_strategy_deployments_timeframe"
        ),
        if_not_exists=True,
    )
    op.create_index(
        "ix_strategy_deployments_broker_name", "strategy_deployments", ["broker_name"], if_not_exists=True
    )
    op.create_index(
        "ix_strategy_deployments_created_at", "strategy_deployments", ["created_at"], if_not_exists=True
    )
    op.create_index(
        "ix_strategy_deployments_enabled", "strategy_deployments", ["enabled"], if_not_exists=True
    )
    op.create_index(
        "ix_strategy_deployments_execution_target",
        "strategy_deployments",
        ["execution_target"],
        if_not_exists=True,
    )
    op.create_index(
        "ix_strategy_deployments_group_id", "strategy_deployments", ["group_id"], if_not_exists=True
    )
    op.create_index("ix_strategy_deployments_kind", "strategy_deployments", ["kind"], if_not_exists=True)
    op.create_index(
        "ix_strategy_deployments_owner_id", "strategy_deployments", ["owner_id"], if_not_exists=True
    )
    op.create_index(
        "ix_strategy_deployments_symbol", "strategy_deployments", ["exchange", "symbol"], if_not_exists=True
    )
    op.create_table(
        "strategy_deployment_states",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "deployment_id",
            sa.Integer(),
            sa.ForeignKey("strategy_deployments.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("status", sa.String(16), nullable=False, server_default="STOPPED"),
        sa.Column("state_json", sa.Text()),
        sa.Column("last_evaluated_at", sa.DateTime()),
        sa.Column("next_evaluate_at", sa.DateTime()),
        sa.Column("last_error", sa.Text()),
        sa.Column("started_at", sa.DateTime()),
        sa.Column("stopped_at", sa.DateTime()),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.UniqueConstraint("deployment_id", name="ux_strategy_deployment_states_deployment_id"),
        sa.CheckConstraint(
            "status IN ('STOPPED', 'RUNNING', 'PAUSED', 'ERROR')", name="ck_strategy_deployment_states_status"
        ),
        if_not_exists=True,
    )
    op.create_index(
        "ix_strategy_deployment_states_deployment_id",
        "strategy_deployment_states",
        ["deployment_id"],
        if_not_exists=True,
    )
    op.create_index(
        "ix_strategy_deployment_states_last_evaluated_at",
        "strategy_deployment_states",
        ["last_evaluated_at"],
        if_not_exists=True,
    )
    op.create_index(
        "ix_strategy_deployment_states_next_evaluate_at",
        "strategy_deployment_states",
        ["next_evaluate_at"],
        if_not_exists=True,
    )
    op.create_index(
        "ix_strategy_deployment_states_status", "strategy_deployment_states", ["status"], if_not_exists=True
    )


def downgrade() -> None:
    op.drop_table("strategy_deployment_states")
    op.drop_table("strategy_deployments")
