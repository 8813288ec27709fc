"""A portfolio remembers the basket it was bought from.

The reference is a plain number: the basket may be gone.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0057"
down_revision = "0056"


def upgrade() -> None:
    op.add_column("groups", sa.Column("origin_basket_id", sa.Integer()))
    op.add_column("groups", sa.Column("bought_at", sa.DateTime()))
    op.create_index("ix_groups_origin_basket_id", "groups", ["origin_basket_id"])


def downgrade() -> None:
    op.drop_index("ix_groups_origin_basket_id", "groups")
    with op.batch_alter_table("groups") as batch:
        batch.drop_column("bought_at")
        batch.drop_column("origin_basket_id")
