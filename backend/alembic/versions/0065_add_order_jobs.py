"""The queue of orders that are to be sent, and indexes that hold open jobs only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0065"
down_revision = "0064"


def upgrade() -> None:
    op.create_table(
        "order_jobs",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("order_id", sa.Integer(), sa.ForeignKey("orders.id", ondelete="CASCADE"), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("payload_json", sa.Text(), nullable=False),
        sa.Column("run_after", sa.DateTime()),
        sa.Column("expires_at", sa.DateTime()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("locked_by", sa.String(64)),
        sa.Column("locked_at", sa.DateTime()),
        sa.Column("last_error", sa.Text()),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.UniqueConstraint("order_id", name="ux_order_jobs_order_id"),
        sa.CheckConstraint("status IN ('PENDING', 'RUNNING', 'DONE', 'FAILED')", name="ck_order_jobs_status"),
    )
    _index("ix_order_jobs_open", "order_jobs", ["priority", "id"], "PENDING")
    _index("ix_order_jobs_running", "order_jobs", ["locked_at"], "RUNNING")
    _index("ix_order_jobs_dead", "order_jobs", ["id"], "FAILED")
    _index("ix_strategy_deployment_jobs_open", "strategy_deployment_jobs", ["created_at", "id"], "PENDING")
    _index("ix_strategy_deployment_jobs_running", "strategy_deployment_jobs", ["locked_at"], "RUNNING")


def downgrade() -> None:
    op.drop_index("ix_strategy_deployment_jobs_running", "strategy_deployment_jobs")
    op.drop_index("ix_strategy_deployment_jobs_open", "strategy_deployment_jobs")
    op.drop_table("order_jobs")


def _index(name: str, table: str, columns: list[str], status: str) -> None:
    where = sa.text(f"status = '{status}'")
    op.create_index(name, table, columns, postgresql_where=where, sqlite_where=where)
