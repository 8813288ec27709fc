"""The PostgreSQL server and the role that will be used there."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

import psycopg
from psycopg.rows import dict_row

from app.db.common.settings import ShimSettings
from app.db.rows.catalog import BOOKKEEPING, KEY_INDEX, quote
from app.db.sides.capture import triggers as capture
from app.db.sides.capture.renamed import function_name
from app.db.sides.capture.silence import silencing
from app.db.sides.postgres.forms import FORMS
from app.db.sides.postgres.sequences import free_sequences
from migration.preflight.findings.report import Finding, Severity

MINIMUM_SERVER = 140_000
_FACTS = """
SELECT current_setting('server_version_num')::int AS version,
       current_setting('server_version') AS version_text,
       (SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()) AS encoding,
       (SELECT datcollate FROM pg_database WHERE datname = current_database()) AS collation,
       current_schema() AS schema,
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser,
       current_user AS role,
       pg_is_in_recovery() AS standby,
       (SELECT reset_val FROM pg_settings WHERE name = 'default_transaction_read_only') = 'on' AS read_only,
       current_setting('max_connections')::int AS connections,
       current_setting('superuser_reserved_connections')::int AS reserved,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS in_use,
       current_setting('fsync') = 'on' AS fsync,
       current_setting('full_page_writes') = 'on' AS full_page_writes,
       current_setting('synchronous_commit') AS synchronous_commit,
       (SELECT setting::int FROM pg_settings WHERE name = 'statement_timeout') AS statement_timeout,
       (SELECT setting::bigint * 1024 * 1024 FROM pg_settings WHERE name = 'max_wal_size') AS wal,
       current_setting('wal_level') AS wal_level,
       to_regclass('st_control') IS NOT NULL AS prepared
"""
# Settings that are stored for this database, this role, or both.
_STORED = """
SELECT DISTINCT lower(split_part(entry, '=', 1)), substr(entry, strpos(entry, '=') + 1),
       concat_ws(' and ', CASE WHEN s.setrole <> 0 THEN 'role ' || current_user END,
                          CASE WHEN s.setdatabase <> 0 THEN 'database ' || current_database() END)
FROM pg_db_role_setting s, unnest(s.setconfig) AS entry
WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
AND s.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = current_user))
AND lower(split_part(entry, '=', 1)) = ANY(%s) ORDER BY 1, 3
"""
# Tables that replication could not tell an update of, once the indexes are set aside that the copy does without.
_UNREPLICATED = f"""
SELECT c.relname, x.relname, p.indexrelid IS NOT NULL,
       CASE c.relreplident WHEN 'i' THEN format('USING INDEX %I', x.relname) WHEN 'n' THEN 'NOTHING' ELSE 'DEFAULT' END
FROM pg_class c LEFT JOIN pg_index p ON p.indrelid = c.oid AND p.indisprimary
LEFT JOIN pg_index r ON r.indrelid = c.oid AND r.indisreplident LEFT JOIN pg_class x ON x.oid = r.indexrelid
WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND CASE c.relreplident
  WHEN 'f' THEN false
  WHEN 'i' THEN r.indexrelid IS DISTINCT FROM (SELECT k.indexrelid FROM {KEY_INDEX} k)
  ELSE (c.relreplident = 'n' OR p.indexrelid IS NULL) AND EXISTS (
    SELECT FROM pg_publication_tables t JOIN pg_publication b USING (pubname)
    WHERE t.schemaname = current_schema() AND t.tablename = c.relname AND (b.pubupdate OR b.pubdelete)) END
ORDER BY 1
"""
_Facts = dict[str, Any]
_Check = tuple[Callable[[_Facts], bool], str, Severity, str, str]

_CHECKS: tuple[_Check, ...] = (
    (
        lambda f: f["version"] < MINIMUM_SERVER,
        "postgres.version",
        Severity.BLOCKS,
        "PostgreSQL {version_text} is too old",
        "use PostgreSQL 14 or newer",
    ),
    (
        lambda f: f["encoding"] != "UTF8",
        "postgres.encoding",
        Severity.BLOCKS,
        "the database is encoded in {encoding}",
        "create it with ENCODING 'UTF8'",
    ),
    (
        lambda f: f["standby"],
        "postgres.standby",
        Severity.BLOCKS,
        "the server is a standby, which takes no writes",
        "name the primary server in the URL",
    ),
    (
        lambda f: f["read_only"] and not f["standby"],
        "postgres.read_only",
        Severity.BLOCKS,
        "transactions are read-only by default (default_transaction_read_only)",
        "ALTER ROLE {role} SET default_transaction_read_only = off, or the same for the database",
    ),
    (
        lambda f: f["schema"] is None,
        "postgres.schema",
        Severity.BLOCKS,
        "no schema of the search path exists or is visible to role {role}",
        "create the schema, or set the role's search_path",
    ),
    (
        lambda f: f["schema"] is not None and not f["may_create"],
        "postgres.privilege",
        Severity.BLOCKS,
        "role {role} may not create tables in schema {schema}",
        "GRANT CREATE ON SCHEMA {schema} TO {role}",
    ),
    (
        lambda f: not f["fsync"] or not f["full_page_writes"],
        "postgres.fsync",
        Severity.WARNS,
        "the server may lose committed data when it crashes (fsync or full_page_writes is off)",
        "switch both on before the cutover",
    ),
    (
        lambda f: f["synchronous_commit"] == "off",
        "postgres.synchronous_commit",
        Severity.WARNS,
        "a commit does not wait for the disk: the last moments may be lost in a crash",
        "SET synchronous_commit = on for the role, unless that is wanted",
    ),
    (
        lambda f: 0 < f["statement_timeout"] < 600_000,
        "postgres.statement_timeout",
        Severity.WARNS,
        "statement_timeout is {statement_timeout} ms; copying and building indexes may take longer",
        "ALTER ROLE {role} SET statement_timeout = 0 for the time of the move",
    ),
    (
        lambda f: f["collation"] not in ("C", "POSIX", "C.UTF-8", "C.utf8"),
        "postgres.collation",
        Severity.INFO,
        "the database collates {collation}",
        "nothing: text columns are made with byte order, as on SQLite",
    ),
    (
        lambda f: True,
        "postgres.server",
        Severity.INFO,
        "PostgreSQL {version_text}, role {role}, superuser {superuser}, wal_level {wal_level}",
        "nothing: no superuser is needed",
    ),
    (
        lambda f: f["prepared"],
        "postgres.prepared",
        Severity.INFO,
        "the database is already prepared",
        "see st-migrate status",
    ),
)
# The remedies that are statements, to the letter.
_STATEMENTS = {
    "postgres.read_only": "SET default_transaction_read_only = off;\n"
    "ALTER ROLE {role} SET default_transaction_read_only = off",
    "postgres.privilege": "GRANT CREATE ON SCHEMA {schema} TO {role}",
    "postgres.statement_timeout": "ALTER ROLE {role} SET statement_timeout = 0",
}
_UNDO = {
    "postgres.read_only": "ALTER ROLE {role} RESET default_transaction_read_only",
    "postgres.privilege": "REVOKE CREATE ON SCHEMA {schema} FROM {role}",
    "postgres.statement_timeout": "ALTER ROLE {role} RESET statement_timeout",
}


def server_findings(
    connection: psycopg.Connection[Any], settings: ShimSettings, estimated_bytes: int
) -> Iterator[Finding]:
    """What of server, database and role stands in the way. Reads only."""
    with connection.cursor(row_factory=dict_row) as cursor:
        facts = cursor.execute(_FACTS).fetchone()
    assert facts is not None
    for holds, code, severity, reason, remedy in _CHECKS:
        if holds(facts):
            named = {"role": quote(facts["role"]), "schema": quote(facts["schema"] or "")}
            yield Finding(
                code,
                severity,
                reason.format(**facts),
                remedy.format(**facts),
                on_postgres=_STATEMENTS.get(code, "").format(**named),
                undo=_UNDO.get(code, "").format(**named),
            )
    yield from _triggers_off(connection)
    yield from _connections(facts, settings)
    yield from _forms(connection)
    if estimated_bytes > facts["wal"]:
        yield Finding(
            "postgres.wal",
            Severity.INFO,
            f"copying writes some {estimated_bytes >> 20} MiB of WAL; max_wal_size: {facts['wal'] >> 20} MiB",
            "raise max_wal_size for the copy if checkpoints slow it down",
        )


def not_owned(connection: psycopg.Connection[Any], shapes: Collection[str]) -> Iterator[Finding]:
    """Tables that another role's installer made: nobody but their owner may put triggers on them."""
    rows = connection.execute(
        "SELECT r.rolname, current_user, array_agg(c.relname ORDER BY c.relname) FROM pg_class c "
        "JOIN pg_roles r ON r.oid = c.relowner WHERE c.relnamespace = current_schema()::regnamespace "
        "AND c.relkind IN ('r', 'p') AND c.relname = ANY(%s) AND NOT pg_has_role(c.relowner, 'USAGE') "
        "GROUP BY 1, 2 ORDER BY 1",
        (list(shapes),),
    ).fetchall()
    for owner, role, names in rows:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield Finding(
            "postgres.owner",
            Severity.BLOCKS,
            f"the tables {', '.join(names[:3])}{more} belong to role {owner}; role {role} may not put triggers on them",
            f"use role {owner}, or let this one stand in for it: GRANT {quote(owner)} TO {quote(role)}",
            count=len(names),
            on_postgres=f"GRANT {quote(owner)} TO {quote(role)}",
            undo=f"REVOKE {quote(owner)} FROM {quote(role)}",
        )


_ENABLED = {"O": "", "R": " REPLICA", "A": " ALWAYS"}


def _triggers_off(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    for place, remedy in silencing(connection):
        yield Finding(
            "postgres.triggers_off",
            Severity.BLOCKS,
            f"session_replication_role = replica is {place}: triggers and foreign keys do not act there",
            remedy,
            on_postgres=remedy if remedy.startswith("ALTER ") else "",
            undo=re.sub(r" RESET (\w+)$", r" SET \1 = replica", remedy)
            if remedy.startswith("ALTER ")
            else "",
        )
    for name, enabled in connection.execute(
        "SELECT evtname, evtenabled::text FROM pg_event_trigger WHERE evtenabled <> 'D' ORDER BY 1"
    ).fetchall():
        yield Finding(
            "postgres.event_trigger",
            Severity.WARNS,
            f"event trigger {name} acts on every change of the schema, those of the move among them",
            f"ALTER EVENT TRIGGER {quote(name)} DISABLE for the time of prepare and of schema migrations",
            on_postgres=f"ALTER EVENT TRIGGER {quote(name)} DISABLE",
            undo=f"ALTER EVENT TRIGGER {quote(name)} ENABLE{_ENABLED[enabled]}",
        )


def _connections(facts: _Facts, settings: ShimSettings) -> Iterator[Finding]:
    free = facts["connections"] - facts["reserved"] - facts["in_use"] + 1  # this one goes again
    needed = settings.pg_pool_size + 4
    if free < needed:
        yield Finding(
            "postgres.connections",
            Severity.WARNS,
            f"{free} of {facts['connections']} connections are free; a backend process needs up to {needed}",
            "raise max_connections, lower ST_PG_POOL_SIZE or put PgBouncer in front",
            count=free,
        )


def _forms(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    """Stored settings under which others print or read values in another form than our sessions do."""
    rows = connection.execute(_STORED.encode(), (list(map(str.lower, FORMS)),)).fetchall()
    wanted = {name.lower(): value for name, value in FORMS.items()}
    for setting, value, place in rows:
        if value.split(",")[0].lower() != wanted[setting].lower() and not _equal_zone(setting, value):
            yield Finding(
                "postgres.forms",
                Severity.INFO,
                f"{setting} is {value} for {place}",
                f"nothing: our sessions set {wanted[setting]}; a shell that compares values should do so too",
            )


def _equal_zone(setting: str, value: str) -> bool:
    return setting == "timezone" and value in ("UTC", "Etc/UTC", "GMT")


def has_schema(connection: psycopg.Connection[Any]) -> bool:
    """Whether any schema of the search path exists and is visible."""
    return connection.execute("SELECT current_schema() IS NOT NULL").fetchone() == (True,)


def reserved(connection: psycopg.Connection[Any], common: Collection[str]) -> Iterator[Finding]:
    """Tables, types and functions of the application that have exactly a name of ours."""
    rows = connection.execute(
        "SELECT CASE relkind WHEN 'c' THEN 'type' ELSE 'table' END, relname FROM pg_class "
        "WHERE relnamespace = current_schema()::regnamespace AND relname = ANY(%(tables)s) UNION ALL "
        "SELECT 'type', typname FROM pg_type WHERE typnamespace = current_schema()::regnamespace "
        "AND typrelid = 0 AND typname = ANY(%(tables)s) UNION ALL "
        "SELECT 'function', proname FROM pg_proc WHERE pronamespace = current_schema()::regnamespace "
        "AND proname = ANY(%(functions)s) AND prosrc !~ 'takes no application writes' ORDER BY 1, 2",
        {
            "tables": sorted(BOOKKEEPING),
            "functions": [*capture.FUNCTIONS, *map(function_name, common)],
        },
    ).fetchall()
    for kind, name in rows:
        yield Finding(
            "schema.reserved_name",
            Severity.BLOCKS,
            f"the {kind} {name} on PostgreSQL has the name of one of ours",
            f"ALTER {kind.upper()} {quote(name)} RENAME TO a name of your own (on PostgreSQL)",
            table=name,
        )


def unreplicated(connection: psycopg.Connection[Any], common: Collection[str]) -> Iterator[Finding]:
    """Published tables in which copy and apply could change no row, and those whose index for that is set aside."""
    for table, index, has_primary, before in connection.execute(_UNREPLICATED.encode()).fetchall():
        if table in common:
            made, undo = (
                f"ALTER TABLE {quote(table)} REPLICA IDENTITY {which}"
                for which in ("DEFAULT" if has_primary else "FULL", before)
            )
            yield Finding(
                "postgres.replica_identity",
                Severity.BLOCKS,
                f"index {index} is its replica identity, and is set aside while the table is filled"
                if index
                else "it is published without a replica identity, so none of its rows can be changed",
                f"{made} (on PostgreSQL), at least until the copy is done",
                table=table,
                on_postgres=made,
                undo=undo,
            )


def untied_sequences(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    """Sequences that belong to no column: which columns are taken to draw from them."""
    for name, columns in free_sequences(connection).items():
        if columns:
            drawing = ", ".join(f"{item.table}.{item.column}" for item in columns)
            yield Finding(
                "postgres.free_sequence",
                Severity.INFO,
                f"sequence {name} belongs to no column; the cutover sets it beyond the largest {drawing}",
                f"nothing, if that is who draws from it; else ALTER SEQUENCE {quote(name)} OWNED BY table.column",
            )
