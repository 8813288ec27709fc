"""An index for a deployment's newest bar, which the schedule asks for every second."""

from __future__ import annotations

from alembic import op

revision = "0066"
down_revision = "0065"

_NAME, _TABLE = "ix_strategy_deployment_jobs_newest", "strategy_deployment_jobs"


def upgrade() -> None:
    # A PostgreSQL with the native branch of an earlier release may have it.
    op.create_index(_NAME, _TABLE, ["deployment_id", "kind", "scheduled_for"], if_not_exists=True)


def downgrade() -> None:
    op.drop_index(_NAME, _TABLE)
