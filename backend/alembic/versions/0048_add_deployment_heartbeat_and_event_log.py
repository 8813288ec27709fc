"""Deployments report when they evaluated last, and keep a journal."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.revisions.guards import missing

revision = "0048"
down_revision = "0047"


def upgrade() -> None:
    op.create_table(
        "strategy_deployment_event_logs",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "deployment_id",
            sa.Integer(),
            sa.ForeignKey("strategy_deployments.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("job_id", sa.Integer(), sa.ForeignKey("strategy_deployment_jobs.id", ondelete="SET NULL")),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("payload_json", sa.Text()),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        if_not_exists=True,
    )
    op.create_index(
        "ix_strategy_deployment_event_logs_created_at",
        "strategy_deployment_event_logs",
        ["created_at"],
        if_not_exists=True,
    )
    op.create_index(
        "ix_strategy_deployment_event_logs_deployment_id",
        "strategy_deployment_event_logs",
        ["deployment_id"],
        if_not_exists=True,
    )
    op.create_index(
        "ix_strategy_deployment_event_logs_kind",
        "strategy_deployment_event_logs",
        ["kind"],
        if_not_exists=True,
    )
    for column in missing(
        "strategy_deployment_states",
        sa.Column("last_eval_at", sa.DateTime()),
        sa.Column("last_eval_bar_end_ts", sa.DateTime()),
        sa.Column("runtime_state", sa.String(32)),
        sa.Column("last_decision", sa.String(32)),
        sa.Column("last_decision_reason", sa.String(255)),
        sa.Column("next_eval_at", sa.DateTime()),
    ):
        op.add_column("strategy_deployment_states", column)
    op.create_index(
        "ix_strategy_deployment_states_last_eval_at",
        "strategy_deployment_states",
        ["last_eval_at"],
        if_not_exists=True,
    )
    op.create_index(
        "ix_strategy_deployment_states_next_eval_at",
        "strategy_deployment_states",
        ["next_eval_at"],
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_index("ix_strategy_deployment_states_next_eval_at", "strategy_deployment_states")
    op.drop_index("ix_strategy_deployment_states_last_eval_at", "strategy_deployment_states")
    with op.batch_alter_table("strategy_deployment_states") as batch:
        batch.drop_column("next_eval_at")
        batch.drop_column("last_decision_reason")
        batch.drop_column("last_decision")
        batch.drop_column("runtime_state")
        batch.drop_column("last_eval_bar_end_ts")
        batch.drop_column("last_eval_at")
    op.drop_table("strategy_deployment_event_logs")
