"""The work queue of deployments: jobs, locks, bar cursors and actions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0046"
down_revision = "0045_add_strategy_deployments"


def upgrade() -> None:
    op.create_table(
        "strategy_deployment_bar_cursors",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "deployment_id",
            sa.Integer(),
            sa.ForeignKey("strategy_deployments.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("exchange", sa.String(32), nullable=False),
        sa.Column("symbol", sa.String(128), nullable=False),
        sa.Column("timeframe", sa.String(8), nullable=False),
        sa.Column("last_emitted_bar_end_ts", sa.DateTime()),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.UniqueConstraint(
            "deployment_id",
            "exchange",
            "symbol",
            "timeframe",
            name="ux_strategy_deployment_bar_cursors_dep_symbol_tf",
        ),
        sa.CheckConstraint(
            "timeframe IN ('1m','5m','15m','30m','1h')", name="ck_strategy_deployment_bar_cursors_timeframe"
        ),
        if_not_exists=True,
    )
    op.create_index(
        "ix_strategy_deployment_bar_cursors_deployment_id",
        "strategy_deployment_bar_cursors",
        ["deployment_id"],
        if_not_exists=True,
    )
    op.create_index(
        "ix_strategy_deployment_bar_cursors_symbol_tf",
        "strategy_deployment_bar_cursors",
        ["exchange", "symbol", "timeframe"],
        if_not_exists=True,
    )
    op.create_table(
        "strategy_deployment_jobs",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "deployment_id",
            sa.Integer(),
            sa.ForeignKey("strategy_deployments.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("owner_id", sa.Integer(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("status", sa.String(16), nullable=False, server_default="PENDING"),
        sa.Column("dedupe_key", sa.String(255), nullable=False),
        sa.Column("scheduled_for", sa.DateTime()),
        sa.Column("payload_json", sa.Text(), nullable=False, server_default="{}"),
        sa.Column("run_after", sa.DateTime()),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("max_attempts", sa.Integer(), nullable=False, server_default="5"),
        sa.Column("locked_by", sa.String(64)),
        sa.Column("locked_at", sa.DateTime()),
        sa.Column("last_error", sa.Text()),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.UniqueConstraint("dedupe_key", name="ux_strategy_deployment_jobs_dedupe_key"),
        sa.CheckConstraint(
            "kind IN ('BAR_CLOSED', 'DAILY_PROXY_CLOSED', 'WINDOW')", name="ck_strategy_deployment_jobs_kind"
        ),
        sa.CheckConstraint(
            "status IN ('PENDING', 'RUNNING', 'DONE', 'FAILED')", name="ck_strategy_deployment_jobs_status"
        ),
        if_not_exists=True,
    )
    op.create_index(
        "ix_strategy_deployment_jobs_created_at",
        "strategy_deployment_jobs",
        ["created_at"],
        if_not_exists=True,
    )
    op.create_index(
        "ix_strategy_deployment_jobs_deployment_id",
        "strategy_deployment_jobs",
        ["deployment_id"],
        if_not_exists=True,
    )
    op.create_index(
        "ix_strategy_deployment_jobs_locked_at", "strategy_deployment_jobs", ["locked_at"], if_not_exists=True
    )
    op.create_index(
        "ix_strategy_deployment_jobs_owner_id", "strategy_deployment_jobs", ["owner_id"], if_not_exists=True
    )
    op.create_index(
        "ix_strategy_deployment_jobs_run_after", "strategy_deployment_jobs", ["run_after"], if_not_exists=True
    )
    op.create_index(
        "ix_strategy_deployment_jobs_status", "strategy_deployment_jobs", ["status"], if_not_exists=True
    )
    op.create_table(
        "strategy_deployment_actions",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "deployment_id",
            sa.Integer(),
            sa.ForeignKey("strategy_deployments.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("job_id", sa.Integer(), sa.ForeignKey("strategy_deployment_jobs.id", ondelete="SET NULL")),
        sa.Column("kind", sa.String(32), nullable=False, server_default="JOB_EXECUTED"),
        sa.Column("payload_json", sa.Text()),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        if_not_exists=True,
    )
    op.create_index(
        "ix_strategy_deployment_actions_created_at",
        "strategy_deployment_actions",
        ["created_at"],
        if_not_exists=True,
    )
    op.create_index(
        "ix_strategy_deployment_actions_deployment_id",
        "strategy_deployment_actions",
        ["deployment_id"],
        if_not_exists=True,
    )
    op.create_index(
        "ix_strategy_deployment_actions_kind", "strategy_deployment_actions", ["kind"], if_not_exists=True
    )
    op.create_table(
        "strategy_deployment_locks",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "deployment_id",
            sa.Integer(),
            sa.ForeignKey("strategy_deployments.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("locked_by", sa.String(64)),
        sa.Column("locked_until", sa.DateTime()),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.UniqueConstraint("deployment_id", name="ux_strategy_deployment_locks_deployment_id"),
        if_not_exists=True,
    )
    op.create_index(
        "ix_strategy_deployment_locks_deployment_id",
        "strategy_deployment_locks",
        ["deployment_id"],
        if_not_exists=True,
    )
    op.create_index(
        "ix_strategy_deployment_locks_locked_until",
        "strategy_deployment_locks",
        ["locked_until"],
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_table("strategy_deployment_locks")
    op.drop_table("strategy_deployment_actions")
    op.drop_table("strategy_deployment_jobs")
    op.drop_table("strategy_deployment_bar_cursors")
