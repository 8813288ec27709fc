"""Another name of 0046, which later revisions refer to; nothing happens here.

With 38 characters it is the longest id of the chain; the version table has to hold it.
"""

from __future__ import annotations

revision = "0046_add_strategy_deployment_job_queue"
down_revision = "0046"


def upgrade() -> None:
    """Nothing to do."""


def downgrade() -> None:
    """Nothing to do."""
