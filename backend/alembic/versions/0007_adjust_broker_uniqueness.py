"""Sessions and secrets of a broker are unique per user.

Rows from before there were users go to the administrator, if there is one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


# table, key that goes, key that comes, its columns
KEYS = (
    (
        "broker_connections",
        "ux_broker_connections_broker_name",
        "ux_broker_connections_user_broker",
        ["user_id", "broker_name"],
    ),
    (
        "broker_secrets",
        "ux_broker_secrets_broker_key",
        "ux_broker_secrets_user_broker_key",
        ["user_id", "broker_name", "key"],
    ),
)


def upgrade() -> None:
    bind = op.get_bind()
    admin = bind.scalar(sa.text("SELECT id FROM users WHERE username = 'admin'"))
    for name, old, new, columns in KEYS:
        if admin is not None:
            table = sa.table(name, sa.column("user_id", sa.Integer))
            bind.execute(table.update().where(table.c.user_id.is_(None)).values(user_id=admin))
        present = {key["name"] for key in sa.inspect(bind).get_unique_constraints(name)}
        with op.batch_alter_table(name) as batch:
            if old in present:
                batch.drop_constraint(old, type_="unique")
            if new not in present:
                batch.create_unique_constraint(new, columns)


def downgrade() -> None:
    for name, old, new, columns in reversed(KEYS):
        with op.batch_alter_table(name) as batch:
            batch.drop_constraint(new, type_="unique")
            batch.create_unique_constraint(old, columns[1:])
