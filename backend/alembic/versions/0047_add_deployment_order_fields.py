"""An order knows the deployment and action behind it, and an id chosen by the client.

The client id is unique where it is set.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.revisions.guards import missing

revision = "0047"
down_revision = "0046_add_strategy_deployment_job_queue"


# column of orders -> table it refers to
REFERENCES = {
    "deployment_id": "strategy_deployments",
    "deployment_action_id": "strategy_deployment_actions",
}


def key_name(column: str) -> str:
    """The foreign key's name, which differs between the two databases since it was first made."""
    # st-lint: allow dialect-branch - only the names differ
    if op.get_bind().dialect.name == "postgresql":
        return f"orders_{column}_fkey"
    return f"fk_orders_{column}"


def upgrade() -> None:
    for name, target in REFERENCES.items():
        for column in missing("orders", sa.Column(name, sa.Integer())):
            with op.batch_alter_table("orders") as batch:
                batch.add_column(column)
                batch.create_foreign_key(key_name(name), target, [name], ["id"], ondelete="SET NULL")
    for column in missing("orders", sa.Column("client_order_id", sa.String(128))):
        op.add_column("orders", column)
    op.create_index("ix_orders_deployment_id", "orders", ["deployment_id"], if_not_exists=True)
    op.create_index("ix_orders_deployment_action_id", "orders", ["deployment_action_id"], if_not_exists=True)
    op.create_index(
        "ux_orders_client_order_id", "orders", ["client_order_id"], unique=True, if_not_exists=True
    )


def downgrade() -> None:
    op.drop_index("ux_orders_client_order_id", "orders")
    op.drop_index("ix_orders_deployment_action_id", "orders")
    op.drop_index("ix_orders_deployment_id", "orders")
    with op.batch_alter_table("orders") as batch:
        for name in REFERENCES:
            batch.drop_constraint(key_name(name), type_="foreignkey")
        for name in ("client_order_id", *reversed(REFERENCES)):
            batch.drop_column(name)
