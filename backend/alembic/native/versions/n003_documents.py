"""JSON that is kept as text can be asked for as JSONB, by an index where a query of the application asks.

Revision ID: n003
Revises: n002
"""

from alembic import op

from app.native import online
from app.native.wanted import DOCUMENT, DOCUMENTS, EVENTS_OF_ORDER

revision = "n003"
down_revision = "n002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    online.execute(connection, DOCUMENT)
    online.create_index(connection, EVENTS_OF_ORDER)
    online.execute(connection, "ANALYZE system_events")  # an expression has figures of its own
    for check in DOCUMENTS:
        online.add_check(connection, check)


def downgrade() -> None:
    connection = op.get_bind()
    for check in DOCUMENTS:
        online.drop_constraint(connection, check.table, check.name)
    online.drop_index(connection, EVENTS_OF_ORDER.name)
    online.execute(connection, "DROP FUNCTION IF EXISTS native_document(text)")
