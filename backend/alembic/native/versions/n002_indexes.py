"""Indexes for pages that go by time, and none that repeats a unique key.

Revision ID: n002
Revises: n001
"""

from alembic import op

from app.native import online
from app.native.wanted import DUPLICATES, NEW_INDEXES

revision = "n002"
down_revision = "n001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for index in NEW_INDEXES:
        online.create_index(op.get_bind(), index)
    for index in DUPLICATES:
        online.drop_index(op.get_bind(), index.name)


def downgrade() -> None:
    for index in DUPLICATES:
        online.create_index(op.get_bind(), index)
    for index in NEW_INDEXES:
        online.drop_index(op.get_bind(), index.name)
