"""How both databases are: size, connections, locks and slow statements. Each figure is one cheap query."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.db.sides.stores import Stores

SLOW_S = 1.0
SHOWN = 5
TEXT = 160  # characters of a statement
_FIGURES = """
SELECT pg_database_size(current_database()),
  (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()),
  (SELECT setting::int FROM pg_settings WHERE name = 'max_connections'),
  (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'),
  (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()),
  current_setting('server_version')
"""
_SLOW = """
SELECT pid, application_name, extract(epoch FROM clock_timestamp() - query_start)::float, left(query, %s), wait_event_type
FROM pg_stat_activity
WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()
  AND clock_timestamp() - query_start > make_interval(secs => %s)
ORDER BY query_start LIMIT %s
"""


def sqlite_health(path: Path) -> dict[str, Any]:
    """Sizes in bytes of the file and its log. None for what is not there."""
    return {"bytes": _size(path), "wal_bytes": _size(path.with_name(path.name + "-wal"))}


def postgres_health(stores: Stores) -> dict[str, Any]:
    """Size, sessions, waiting sessions and statements that run for more than a second.

    Raises:
        psycopg.Error, ShadowUnavailable: PostgreSQL cannot be asked.
    """
    connection = stores.postgres.connection
    row = connection.execute(_FIGURES).fetchone()
    assert row is not None
    slow = connection.execute(_SLOW, (TEXT, SLOW_S, SHOWN)).fetchall()
    names = ("bytes", "connections", "max_connections", "waiting_for_locks", "commits", "version")
    return {
        **dict(zip(names, row, strict=True)),
        "slow": [
            dict(zip(("pid", "application", "seconds", "statement", "waits_for"), one, strict=True))
            for one in slow
        ],
    }


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
