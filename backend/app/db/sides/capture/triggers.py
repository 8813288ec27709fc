"""Capture and fence: triggers on every table, on both sides.

A trigger logs (table, key) in the writer's own transaction, whoever the writer is. The log itself
refuses while the side takes no application writes, so a write that cannot be logged cannot happen.
Installing replaces what is there, so it is also the repair for triggers that a table recreation dropped.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import psycopg

from app.db.common.errors import CaptureLost, SchemaDrift, counted
from app.db.common.urls import Side
from app.db.rows import key_sql
from app.db.rows.catalog import Schema, Table, Unique, bracketed, literal, quote
from app.db.sides import tables
from app.db.sides.capture.blocks import blocks
from app.db.sides.capture.foreign import OURS_ON_SQLITE, release_sqlite
from app.db.sides.capture.renamed import follow_renames, function_name
from app.db.sides.locks import WRITER_LOCK

# Class 55, "not in the state that this takes": every driver makes an operational error of it.
FENCED_SQLSTATE = "55ST1"
OVERTAKEN_SQLSTATE = (
    "ST002"  # a small round that read the primary before it held the shadow, and was too late
)
_FENCED_BEFORE = "ST001"  # what a pair says that an earlier version has prepared
FENCED_TEXT = "takes no application writes"  # SQLite has no error code of our own, only this text

_NOW = "(julianday('now') - 2440587.5) * 86400.0"


_REFUSAL = re.compile(rf"\w+ {FENCED_TEXT}[^'\n]*")


def fence_refusal(error: BaseException) -> str | None:
    """What the fence of either side said, if a driver's error comes from it; else None."""
    if isinstance(error, sqlite3.Error) or getattr(error, "sqlstate", None) in (
        FENCED_SQLSTATE,
        _FENCED_BEFORE,
    ):
        found = _REFUSAL.search(str(error))
        return found[0] if found else None
    return None


def fence_message(primary: Side, epoch: int) -> str:
    """What a refused writer on SQLite reads."""
    if primary is Side.SQLITE:
        return f"sqlite {FENCED_TEXT}: a switch away from it is under way (epoch {epoch})"
    return f"sqlite {FENCED_TEXT}: the primary is postgres (epoch {epoch})"


def _prefix(table: Table) -> str:
    return f"st_capture_{table.name}"


def sqlite_triggers(schema: Schema) -> dict[str, str]:
    """Every capture trigger by name, as SQL."""
    sql = blocks("sqlite.sql")
    triggers: dict[str, str] = {}
    for table in schema.values():
        same = {
            "prefix": quote(_prefix(table))[:-1],
            "table": quote(table.name),
            "name": literal(table.name),
            "now": _NOW,
            "new_key": key_sql.logging_on_sqlite(table, "NEW."),
            "old_key": key_sql.logging_on_sqlite(table, "OLD."),
            "row_key": key_sql.logging_on_sqlite(table),
            "key_moved": key_sql.moved(table),
            "is_old_row": key_sql.is_old_row(table),
        }
        for event in ("insert", "update", "delete"):
            triggers[f"{_prefix(table)}_{event}"] = _fill(sql[event], f"_{event}", same)
        for n, (watched, same_values) in enumerate(_collisions(table)):
            of = f"OF {names} " if (names := ", ".join(watched)) else ""
            values = {**same, "n": str(n), "of": of, "same_values": same_values}
            for event in ("collide_insert", "collide_update"):
                triggers[f"{_prefix(table)}_{event}{n}"] = _fill(sql[event], f"_{event}{{n}}", values)
    return triggers


def _collisions(table: Table) -> Iterator[tuple[Iterable[str], str]]:
    """For each unique key the columns whose update may make a row collide, and which rows are in the new one's way."""
    defaults = dict(table.replaced.defaults)
    for unique in table.uniques:
        yield map(quote, unique.watched), _same_values(unique, defaults)
    if rowids := table.replaced.rowids:
        yield rowids, f"{rowids[0]} = NEW.{rowids[0]}"


def _same_values(unique: Unique, defaults: Mapping[str, str]) -> str:
    """Whether a row collides with the new one in a unique key, as the key compares.

    An expression is worked out a second time, over one row that has the new values under the columns' own names.
    """

    def new(name: str) -> str:
        value = f"NEW.{quote(name)}"
        return f"coalesce({value}, {defaults[name]})" if name in defaults else value

    row = ", ".join(f"{new(name)} AS {quote(name)}" for name in unique.row)
    same = [
        f"{quote(part)} = {new(part)}{'' if collation == 'BINARY' else f' COLLATE {collation}'}"
        if collation
        else f"{bracketed(part)} = (SELECT {bracketed(part)} FROM (SELECT {row}))"
        for part, collation in unique.parts
    ]
    return " AND ".join([*same, bracketed(unique.condition)] if unique.condition else same)


def _fill(block: str, suffix: str, values: dict[str, str]) -> str:
    """A trigger's SQL without its comment; the quoted name closes after the suffix."""
    text = "\n".join(line for line in block.splitlines() if not line.startswith("--"))
    return text.replace("{prefix}" + suffix, "{prefix}" + suffix + '"').format(**values)


def _existing(connection: sqlite3.Connection) -> dict[str, str]:
    return dict(
        connection.execute(
            f"SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND {OURS_ON_SQLITE} "
            "AND name NOT GLOB 'st_retired_*'"
        ).fetchall()
    )


def _standing(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Every trigger and the table that it stands on."""
    return connection.execute("SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger'").fetchall()


def install_sqlite(
    connection: sqlite3.Connection, schema: Schema, message: str, *, only_these: bool = False
) -> bool:
    """Put every capture trigger and the fence in place, in the caller's write transaction.

    Args:
        only_these: leave triggers that stand on other tables alone, instead of removing them. A renamed table
            keeps those of its former name, which would go on logging that name: they go.

    Returns:
        Whether anything had to be changed.

    Raises:
        SchemaDrift: a trigger that is not ours has the name of one of ours.
    """
    wanted = sqlite_triggers(schema)
    existing = _existing(connection)
    wanted["st_fence"] = _fence(message)
    kept = existing if only_these else {}
    on_these = {name for name, table in _standing(connection) if table in schema}
    stale = [
        name
        for name, sql in existing.items()
        if wanted.get(name, None if name in on_these else kept.get(name)) != sql
    ]
    for name in stale:
        connection.execute(f"DROP TRIGGER {quote(name)}")
        existing.pop(name)
    missing = [name for name in wanted if name not in existing]
    for name, _ in _standing(connection):
        if name in missing:
            raise SchemaDrift(
                f"trigger {name} on SQLite has the name of a capture trigger, and is none",
                hint=f"DROP TRIGGER {quote(name)} (on SQLite), then st-migrate schema upgrade and verify",
            )
    for name in missing:
        connection.execute(wanted[name])
    return bool(stale or missing)


def _fence(message: str) -> str:
    return _fill(blocks("sqlite.sql")["fence"], "\0", {"message": literal(message)})


def set_fence_message(connection: sqlite3.Connection, message: str) -> None:
    """Change what a refused writer reads, in the caller's write transaction."""
    connection.execute("DROP TRIGGER IF EXISTS st_fence")
    connection.execute(_fence(message))


def remove_sqlite(connection: sqlite3.Connection) -> None:
    """Remove every trigger and bookkeeping table, in the caller's write transaction."""
    for name in _existing(connection):
        connection.execute(f"DROP TRIGGER {quote(name)}")
    release_sqlite(connection)
    for name in tables.names(Side.SQLITE):
        connection.execute(f"DROP TABLE IF EXISTS {quote(name)}")
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'st_change_log'")


def uncaptured(connection: sqlite3.Connection, schema: Schema, *, entirely: bool = False) -> list[str]:
    """Tables of which a trigger is missing on SQLite, or is not the one that belongs there.

    Args:
        entirely: only those that have none at all.
    """
    existing = _existing(connection)
    found = []
    for name, table in schema.items():
        wanted = sqlite_triggers({name: table})
        right = [existing.get(trigger) == sql for trigger, sql in wanted.items()]
        if not any(trigger in existing for trigger in wanted) if entirely else not all(right):
            found.append(name)
    return found


def has_fence(connection: sqlite3.Connection) -> bool:
    """Whether SQLite's fence is in place, raised or not."""
    return "st_fence" in _existing(connection)


def check_inventory(connection: sqlite3.Connection, schema: Schema) -> None:
    """Make sure that every write on SQLite is captured.

    Raises:
        CaptureLost: a trigger is missing or is not the one that belongs there.
    """
    existing = _existing(connection)
    wrong = [name for name, sql in sqlite_triggers(schema).items() if existing.get(name) != sql]
    if "st_fence" not in existing:
        wrong.append("st_fence")
    if wrong:
        raise CaptureLost(
            f"{counted(len(wrong), 'capture trigger is', 'capture triggers are')} missing or changed on SQLite, {wrong[0]} among them",
            hint="run st-migrate schema upgrade, which puts them back, then st-migrate verify",
        )


def postgres_function(table: Table) -> str:
    """Name of a table's capture function, within PostgreSQL's 63 bytes."""
    return function_name(table.name)


def install_postgres(connection: psycopg.Connection[Any], schema: Schema, *, inserts: bool = True) -> None:
    """Put functions and triggers in place, in the caller's transaction.

    Args:
        inserts: whether inserts are captured, too. Nobody but copy and apply may insert while PostgreSQL is
            being filled. Handing every row to a trigger takes a third of the server's time.
    """
    follow_renames(connection)
    values = _postgres_values(connection)
    sql = blocks("postgres.sql")
    for block in ("admit", "may_write", "fence_function", "open_round", "resume_round"):
        connection.execute(_statement(sql[block], values))
    kinds = ("insert", "update", "delete", "truncate") if inserts else ("update", "delete", "truncate")
    for table in schema.values():
        for block in ("fence", "capture", *kinds):
            connection.execute(_statement(sql[block], {**values, **_of_table(table, values)}))
        _fire_always(connection, table, "st_fence", *(f"st_capture_{kind}" for kind in kinds))


def capture_inserts(connection: psycopg.Connection[Any], schema: Schema) -> None:
    """Put in place what `install_postgres` left out, in the caller's transaction."""
    values = _postgres_values(connection)
    block = blocks("postgres.sql")["insert"]
    with connection.pipeline():
        for table in schema.values():
            connection.execute(_statement(block, {**values, **_of_table(table, values)}))
            _fire_always(connection, table, "st_capture_insert")


def _fire_always(connection: psycopg.Connection[Any], table: Table, *triggers: str) -> None:
    """Let triggers fire in every session, whatever `session_replication_role` says."""
    actions = ", ".join(f"ENABLE ALWAYS TRIGGER {trigger}" for trigger in triggers)
    connection.execute(f"ALTER TABLE {quote(table.name)} {actions}".encode())


def _postgres_values(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """What all blocks are filled with."""
    row = connection.execute("SELECT current_schema()").fetchone()
    assert row is not None
    return {
        "schema": quote(row[0]),
        "lock_class": str(WRITER_LOCK[0]),
        "lock_object": str(WRITER_LOCK[1]),
        "fenced": FENCED_SQLSTATE,
        "overtaken": OVERTAKEN_SQLSTATE,
    }


def _of_table(table: Table, values: dict[str, str]) -> dict[str, str]:
    """What the blocks of one table are filled with besides."""
    return {
        "function": quote(postgres_function(table)),
        "table": f"{values['schema']}.{quote(table.name)}",
        "name": literal(table.name),
        "key": key_sql.logging_on_postgres(table),
        "settings": _FORMS if key_sql.needs_settings(table) else "",
    }


def _statement(block: str, values: dict[str, str]) -> bytes:
    """A block filled in one pass, so that braces in the name of a table stay what they are.

    The quote around a function's body is made longer until no name holds it.
    """
    text = "\n".join(line for line in block.splitlines() if not line.startswith("--"))
    tag = "body"
    while any(f"${tag}$" in value for value in values.values()):
        tag += "_"
    text = text.replace("$body$", f"${tag}$")
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], text).encode()


_FORMS = "SET datestyle = 'ISO' SET timezone = 'UTC' SET extra_float_digits = '1' SET bytea_output = 'hex'"
# Besides one capture function for each table.
FUNCTIONS = ("st_admit", "st_fence", "st_may_write", "st_open_round", "st_resume_round", "st_retired")
_POSTGRES_OBJECTS = """
SELECT format('DROP FUNCTION %s CASCADE', p.oid::regprocedure)
FROM pg_proc p WHERE p.pronamespace = current_schema()::regnamespace
AND (p.proname IN ('st_admit', 'st_may_write', 'st_fence', 'st_open_round', 'st_resume_round')
     OR p.proname LIKE 'st\\_capture\\_%' AND p.prosrc LIKE '%st\\_admit()%')
"""


def remove_postgres(connection: psycopg.Connection[Any]) -> None:
    """Remove every trigger, function and bookkeeping table, in the caller's transaction."""
    for (statement,) in connection.execute(_POSTGRES_OBJECTS.encode()).fetchall():
        connection.execute(statement.encode())
    for name in tables.names(Side.POSTGRES):
        connection.execute(f"DROP TABLE IF EXISTS {quote(name)}".encode())
