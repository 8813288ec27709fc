"""Signal strategies with versions; alert definitions and screener runs can refer to a version.

Every step looks before it acts, so that a database left half-way can be finished.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.revisions.guards import missing

revision = "0038"
down_revision = "0037"

REFERRING = ("alert_definitions", "screener_runs")


def upgrade() -> None:
    op.create_table(
        "signal_strategies",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("scope", sa.String(16), nullable=False, server_default="USER"),
        sa.Column("owner_id", sa.Integer(), sa.ForeignKey("users.id", ondelete="CASCADE")),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("tags_json", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("regimes_json", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("latest_version", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.UniqueConstraint("scope", "owner_id", "name", name="ux_signal_strategies_name"),
        sa.CheckConstraint("scope IN ('USER', 'GLOBAL')", name="ck_signal_strategies_scope"),
        if_not_exists=True,
    )
    op.create_index(
        "ix_signal_strategies_owner_updated",
        "signal_strategies",
        ["owner_id", "updated_at"],
        if_not_exists=True,
    )
    op.create_index(
        "ix_signal_strategies_scope_updated", "signal_strategies", ["scope", "updated_at"], if_not_exists=True
    )
    op.create_table(
        "signal_strategy_versions",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "strategy_id",
            sa.Integer(),
            sa.ForeignKey("signal_strategies.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("version", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("inputs_json", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("variables_json", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("outputs_json", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("compatibility_json", sa.Text(), nullable=False, server_default="{}"),
        sa.Column("enabled", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.UniqueConstraint("strategy_id", "version", name="ux_signal_strategy_versions_strategy_version"),
        if_not_exists=True,
    )
    op.create_index(
        "ix_signal_strategy_versions_strategy",
        "signal_strategy_versions",
        ["strategy_id", "version"],
        if_not_exists=True,
    )
    for table in REFERRING:
        refer_to_version(table)


def refer_to_version(table: str) -> None:
    """Let a table name a version, one of its outputs and the parameters to run it with."""
    for column in missing(table, sa.Column("signal_strategy_version_id", sa.Integer())):
        with op.batch_alter_table(table) as batch:
            batch.add_column(column)
            batch.create_foreign_key(
                f"fk_{table}_signal_strategy_version_id",
                "signal_strategy_versions",
                ["signal_strategy_version_id"],
                ["id"],
                ondelete="SET NULL",
            )
    for column in missing(
        table,
        sa.Column("signal_strategy_output", sa.String(64)),
        sa.Column("signal_strategy_params_json", sa.Text(), nullable=False, server_default="{}"),
    ):
        op.add_column(table, column)
    op.create_index(f"ix_{table}_strategy_version", table, ["signal_strategy_version_id"], if_not_exists=True)


def downgrade() -> None:
    for table in reversed(REFERRING):
        op.drop_index(f"ix_{table}_strategy_version", table)
        with op.batch_alter_table(table) as batch:
            batch.drop_constraint(f"fk_{table}_signal_strategy_version_id", type_="foreignkey")
            batch.drop_column("signal_strategy_params_json")
            batch.drop_column("signal_strategy_output")
            batch.drop_column("signal_strategy_version_id")
    op.drop_table("signal_strategy_versions")
    op.drop_table("signal_strategies")
