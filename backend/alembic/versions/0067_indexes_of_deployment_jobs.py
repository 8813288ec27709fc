"""The queue of deployment jobs has the indexes that its moves use, and no others that each move has to write.

Windows are claimed before bars, in their turn; dead letters are listed. Four indexes go: one repeats the beginning of
another, three hold every finished job for the sake of the few open ones, which have partial indexes.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0067"
down_revision = "0066"

_TABLE = "strategy_deployment_jobs"
_GONE = ("deployment_id", "locked_at", "run_after", "status")


def upgrade() -> None:
    _index("windows", ["created_at", "id"], "status = 'PENDING' AND kind = 'WINDOW'")
    _index("dead", ["id"], "status = 'FAILED'")
    for column in _GONE:
        op.drop_index(f"ix_{_TABLE}_{column}", _TABLE)


def downgrade() -> None:
    for column in _GONE:
        op.create_index(f"ix_{_TABLE}_{column}", _TABLE, [column])
    for name in ("dead", "windows"):
        op.drop_index(f"ix_{_TABLE}_{name}", _TABLE)


def _index(name: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(f"ix_{_TABLE}_{name}", _TABLE, columns, postgresql_where=where, sqlite_where=where)
