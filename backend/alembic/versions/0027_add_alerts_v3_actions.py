"""An alert definition says what happens when it fires."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    with op.batch_alter_table("alert_definitions") as batch:
        batch.add_column(sa.Column("action_type", sa.String(16), nullable=False, server_default="ALERT_ONLY"))
        batch.add_column(sa.Column("action_params_json", sa.Text(), nullable=False, server_default="{}"))
        batch.create_check_constraint(
            "ck_alert_definitions_action_type", "action_type IN ('ALERT_ONLY', 'BUY', 'SELL')"
        )


def downgrade() -> None:
    with op.batch_alter_table("alert_definitions") as batch:
        batch.drop_constraint("ck_alert_definitions_action_type", type_="check")
        batch.drop_column("action_params_json")
        batch.drop_column("action_type")
