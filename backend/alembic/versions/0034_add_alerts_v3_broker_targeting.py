"""An alert definition names its broker, and its symbol apart from the reference to its target."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    op.drop_index("ix_alert_definitions_user_target", "alert_definitions")
    op.add_column(
        "alert_definitions",
        sa.Column("broker_name", sa.String(32), nullable=False, server_default="zerodha"),
    )
    op.add_column("alert_definitions", sa.Column("symbol", sa.String(128)))
    op.execute(
        "UPDATE alert_definitions SET symbol = target_ref"
        " WHERE target_kind = 'SYMBOL' AND (symbol IS NULL OR symbol = '')"
    )
    op.execute(
        "UPDATE alert_definitions SET target_ref = 'HOLDINGS', exchange = NULL WHERE target_kind = 'HOLDINGS'"
    )
    op.create_index(
        "ix_alert_definitions_user_broker_target",
        "alert_definitions",
        ["user_id", "broker_name", "target_kind", "target_ref"],
    )


def downgrade() -> None:
    op.drop_index("ix_alert_definitions_user_broker_target", "alert_definitions")
    op.execute("UPDATE alert_definitions SET target_ref = 'ZERODHA' WHERE target_kind = 'HOLDINGS'")
    with op.batch_alter_table("alert_definitions") as batch:
        batch.drop_column("symbol")
        batch.drop_column("broker_name")
    op.create_index(
        "ix_alert_definitions_user_target", "alert_definitions", ["user_id", "target_kind", "target_ref"]
    )
