"""Indexes that nothing needs: those that repeat the beginning of another one, and those that no query has used.

PostgreSQL counts uses since its statistics were reset, on each server for itself. So look again after a month, and on the
replicas, before an index goes. Unique indexes hold a rule and are never named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

REPEATS: Final = """
SELECT a.indexrelid::regclass::text, min(b.indexrelid::regclass::text) FROM pg_index a JOIN pg_index b
  ON a.indrelid = b.indrelid AND a.indexrelid <> b.indexrelid JOIN pg_class t ON t.oid = a.indrelid
WHERE t.relnamespace = current_schema()::regnamespace AND NOT a.indisunique AND b.indisvalid
  AND a.indexprs IS NULL AND b.indexprs IS NULL AND a.indpred IS NULL AND b.indpred IS NULL
  AND (b.indkey::int2[])[0:a.indnkeyatts - 1] = (a.indkey::int2[])[0:a.indnkeyatts - 1]
  AND (b.indnkeyatts > a.indnkeyatts OR b.indisunique OR a.indexrelid > b.indexrelid)
GROUP BY 1 ORDER BY 1
"""
UNUSED: Final = """
SELECT indexrelid::regclass::text, relid::regclass::text, pg_relation_size(indexrelid)
FROM pg_stat_user_indexes JOIN pg_index USING (indexrelid)
WHERE schemaname = current_schema() AND idx_scan = 0 AND NOT indisunique ORDER BY 3 DESC, 1
"""
_SINCE: Final = "SELECT stats_reset::text FROM pg_stat_database WHERE datname = current_database()"


@dataclass(frozen=True)
class Unneeded:
    """`repeats`: an index, and one that does its work too. `unused`: index, table and bytes, the largest first.

    `since`: from when on uses were counted; None for ever.
    """

    repeats: dict[str, str]
    unused: list[tuple[str, str, int]]
    since: str | None


def unneeded(connection: sa.Connection) -> Unneeded:
    """What nothing needs in a database; changes nothing."""
    return Unneeded(
        {row[0]: row[1] for row in connection.execute(sa.text(REPEATS))},
        [(row[0], row[1], row[2]) for row in connection.execute(sa.text(UNUSED))],
        connection.scalar(sa.text(_SINCE)),
    )
