"""Settings of PostgreSQL that switch triggers off for whole sessions. Reads only.

With `session_replication_role = replica` ordinary triggers and foreign keys do not act. Our own triggers are
installed as ENABLE ALWAYS, so they do. Triggers that an earlier version installed do not act, and no foreign
key is enforced. So the setting is named wherever a switch is decided.
"""

from __future__ import annotations

from typing import Any

import psycopg

from app.db.common.errors import SchemaDrift
from app.db.rows.catalog import quote

_STORED = """
SELECT r.rolname, d.datname
FROM pg_db_role_setting s
CROSS JOIN unnest(s.setconfig) AS c(entry)
LEFT JOIN pg_roles r ON r.oid = s.setrole
LEFT JOIN pg_database d ON d.oid = s.setdatabase
WHERE (s.setdatabase = 0 OR d.datname = current_database())
AND lower(c.entry) = 'session_replication_role=replica'
ORDER BY 1 NULLS FIRST, 2 NULLS FIRST
"""


def silencing(connection: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    """Where triggers are switched off: (place, statement that takes it back).

    Looks at what is in force for this session, which includes the server's file. Looks also at what is stored
    for the database and for every role.
    """
    found = []
    for role, database in connection.execute(_STORED).fetchall():
        place = " in ".join(filter(None, (role and f"role {role}", database and f"database {database}")))
        found.append((f"stored for {place or 'all roles'}", _reset(role, database)))
    row = connection.execute("SELECT current_setting('session_replication_role')").fetchone()
    if row == ("replica",) and not found:
        found.append(("in force for this session", "remove it from postgresql.conf or the URL's options"))
    return found


def _reset(role: str | None, database: str | None) -> str:
    if role is None and database is not None:
        return f"ALTER DATABASE {quote(database)} RESET session_replication_role"
    within = f" IN DATABASE {quote(database)}" if database else ""
    return f"ALTER ROLE {quote(role) if role else 'ALL'}{within} RESET session_replication_role"


def check_silence(connection: psycopg.Connection[Any]) -> None:
    """Make sure that no setting keeps triggers from firing.

    Raises:
        SchemaDrift: one does; it names the place.
    """
    if found := silencing(connection):
        place, remedy = found[0]
        raise SchemaDrift(
            f"session_replication_role = replica is {place}: triggers and foreign keys do not act there",
            hint=f"{remedy}, restart its sessions, then run st-migrate prepare and st-migrate verify --repair",
        )
