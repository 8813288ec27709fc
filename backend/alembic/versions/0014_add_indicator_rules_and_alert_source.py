"""Rules over indicators; an alert says where it came from and which rule raised it.

The key from alerts to rules exists on PostgreSQL only: on SQLite the column is a plain number.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "indicator_rules",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("strategy_id", sa.Integer(), sa.ForeignKey("strategies.id", ondelete="SET NULL")),
        sa.Column("name", sa.String(255)),
        sa.Column("symbol", sa.String(128)),
        sa.Column("universe", sa.String(32)),
        sa.Column("exchange", sa.String(32)),
        sa.Column("timeframe", sa.String(8), nullable=False, server_default="1d"),
        sa.Column("logic", sa.String(8), nullable=False, server_default="AND"),
        sa.Column("conditions_json", sa.Text(), nullable=False),
        sa.Column("trigger_mode", sa.String(32), nullable=False, server_default="ONCE"),
        sa.Column("action_type", sa.String(32), nullable=False, server_default="ALERT_ONLY"),
        sa.Column("action_params_json", sa.Text(), nullable=False, server_default="{}"),
        sa.Column("last_triggered_at", sa.DateTime()),
        sa.Column("expires_at", sa.DateTime()),
        sa.Column("enabled", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("created_at", sa.DateTime(), nullable=False, server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.Column("updated_at", sa.DateTime(), nullable=False, server_default=sa.text("CURRENT_TIMESTAMP")),
    )
    op.create_index("ix_indicator_rules_user_symbol", "indicator_rules", ["user_id", "symbol"])
    op.create_index("ix_indicator_rules_user_timeframe", "indicator_rules", ["user_id", "timeframe"])
    op.add_column("alerts", sa.Column("source", sa.String(32), nullable=False, server_default="TRADINGVIEW"))
    op.add_column("alerts", sa.Column("rule_id", sa.Integer()))
    # st-lint: allow dialect-branch - a key that the chain always had on PostgreSQL only
    if op.get_bind().dialect.name == "postgresql":
        op.create_foreign_key(
            "fk_alerts_rule_id_indicator_rules",
            "alerts",
            "indicator_rules",
            ["rule_id"],
            ["id"],
            ondelete="SET NULL",
        )


def downgrade() -> None:
    with op.batch_alter_table("alerts") as batch:
        batch.drop_column("rule_id")
        batch.drop_column("source")
    op.drop_table("indicator_rules")
