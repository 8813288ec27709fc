"""Indexes for lists that a person asks for: one's own orders, events of one level or category.

Revision ID: n004
Revises: n003
"""

from alembic import op

from app.native import online
from app.native.wanted import LIST_INDEXES

revision = "n004"
down_revision = "n003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for index in LIST_INDEXES:
        online.create_index(op.get_bind(), index)


def downgrade() -> None:
    for index in LIST_INDEXES:
        online.drop_index(op.get_bind(), index.name)
