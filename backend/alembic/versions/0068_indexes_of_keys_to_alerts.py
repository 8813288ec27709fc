"""Indexes for the keys that point to alerts, so that an alert can go without a look at every order.

Without them each alert that is deleted has the database go through all orders and all decisions of the risk engine
for rows to set free. A batch of retention would do so five hundred times, under SQLite's write lock.
"""

from __future__ import annotations

from alembic import op

revision = "0068"
down_revision = "0067"

_TABLES = ("orders", "alert_decision_logs")


def upgrade() -> None:
    for table in _TABLES:
        op.create_index(f"ix_{table}_alert_id", table, ["alert_id"])


def downgrade() -> None:
    for table in reversed(_TABLES):
        op.drop_index(f"ix_{table}_alert_id", table)
