"""Constraints that the code already assumes.

Revision ID: n001
Revises: none; the branch begins here
"""

from alembic import op

from app.native import online
from app.native.report import not_valid_keys
from app.native.wanted import CHECKS, NOT_NULLS, ONLY_ONES, REFERENCES

revision = "n001"
down_revision = None
branch_labels = ("native",)
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    for check in CHECKS:
        online.add_check(connection, check)
    for column in NOT_NULLS:
        online.set_not_null(connection, column)
    for only in ONLY_ONES:
        online.create_index(connection, only)
    for reference in REFERENCES:
        online.add_reference(connection, reference)
    for key in not_valid_keys(connection):
        online.validate(connection, key.table, key.name)


def downgrade() -> None:
    # A key that was validated stays so: that says something about rows, not about what is allowed.
    connection = op.get_bind()
    for key in REFERENCES:
        online.drop_constraint(connection, key.table, key.name)
    for only in ONLY_ONES:
        online.drop_index(connection, only.name)
    for column in NOT_NULLS:
        online.drop_not_null(connection, column)
    for check in CHECKS:
        online.drop_constraint(connection, check.table, check.name)
