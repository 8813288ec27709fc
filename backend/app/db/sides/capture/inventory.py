"""Whether PostgreSQL still has every capture trigger; `capture.check_inventory` says so for SQLite."""

from __future__ import annotations

import sqlite3
from typing import Any

import psycopg

from app.db.common.errors import CaptureLost, counted
from app.db.rows.catalog import ENUM_LABELS, POSTGRES_COLUMNS, UNFIT, Schema, literal, quote, spellings
from app.db.sides.capture.triggers import postgres_function

_INSERT = "st_capture_insert"
# Trigger name to the event bit of pg_trigger.tgtype; AFTER and FOR EACH STATEMENT are zero there.
_EVENTS = {_INSERT: 4, "st_capture_delete": 8, "st_capture_update": 16, "st_capture_truncate": 32}
# The phase comes with each trigger, so that both are of one instant. The last step of the copy puts the
# insert triggers in place and changes the phase in one transaction.
_TRIGGERS = """
SELECT c.relname, t.tgname, (SELECT phase FROM st_control WHERE id = 1) IN ('preparing', 'copying'),
       t.tgtype::int, t.tgenabled IN ('O', 'A'), p.proname, p.prosrc
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
WHERE c.relnamespace = current_schema()::regnamespace AND p.pronamespace = c.relnamespace
AND t.tgname LIKE 'st\\_capture\\_%' AND NOT t.tgisinternal
"""


# What triggers, sessions and rounds call; the first of them that is missing.
_CALLED = ("st_admit", "st_fence", "st_may_write", "st_open_round")
_FUNCTIONS = b"""
SELECT min(name) FROM unnest(%s::text[]) AS wanted(name) WHERE NOT EXISTS (
  SELECT FROM pg_proc p WHERE p.proname = name AND p.pronamespace = current_schema()::regnamespace)
"""

_STAMP = f"""
SELECT md5(concat(
  (SELECT string_agg(c::text, ' ') FROM ({POSTGRES_COLUMNS}) AS c),
  (SELECT string_agg(l::text, ' ') FROM ({ENUM_LABELS}) AS l),
  (SELECT string_agg(u::text, ' ') FROM ({UNFIT}) AS u),
  (SELECT string_agg(t::text, ' ' ORDER BY t.relname, t.tgname) FROM ({_TRIGGERS}) AS t),
  (SELECT count(*) FROM pg_proc p WHERE p.proname IN {_CALLED} AND p.pronamespace = current_schema()::regnamespace),
  (SELECT count(*) FROM pg_constraint f WHERE f.contype = 'f' AND f.connamespace = current_schema()::regnamespace)))
"""


# `schema_version` counts SQLite's changes, unless somebody sets it back or writes to `sqlite_master`.
_TRIGGERS_OF_SQLITE = "SELECT count(*), total(length(sql)) FROM sqlite_master WHERE type = 'trigger'"


def stamp_of(sqlite: sqlite3.Connection, postgres: psycopg.Connection[Any]) -> str:
    """A text that changes with PostgreSQL's tables, keys, capture or known spellings, and with SQLite's triggers; in some ms."""
    row = postgres.execute(_STAMP.encode()).fetchone()
    assert row is not None
    triggers = sqlite.execute(_TRIGGERS_OF_SQLITE).fetchone()
    return f"{row[0]} {hash(frozenset(spellings(postgres).items()))} {triggers}"


def check_postgres_inventory(connection: psycopg.Connection[Any], schema: Schema) -> None:
    """Make sure that every write on PostgreSQL is captured.

    While it is being filled the insert triggers may be absent: nobody else may insert then.

    Raises:
        CaptureLost: a trigger is missing, disabled, or does not call the function that belongs to its table.
    """
    rows = connection.execute(_TRIGGERS.encode()).fetchall()
    found = {(row[0], row[1]): tuple(row[3:]) for row in rows}
    present = connection.execute(_FUNCTIONS, (list(_CALLED),)).fetchone()
    if present is not None and present[0]:
        raise CaptureLost(
            f"function {present[0]}() is missing on PostgreSQL, so nothing can be written or applied there",
            hint="run st-migrate schema upgrade, which puts it back, then st-migrate verify",
        )
    being_filled = any(row[2] for row in rows)
    wrong = []
    for table in schema.values():
        for trigger, event in _EVENTS.items():
            if being_filled and trigger == _INSERT and (table.name, trigger) not in found:
                continue
            kind, enabled, function, body = found.get((table.name, trigger), (0, False, "", ""))
            captures = "st_admit()" in body and f"SELECT {literal(table.name)}, " in body
            captures = captures and all(quote(name) in body for name in table.key_names)
            if not (kind == event and enabled and function == postgres_function(table) and captures):
                wrong.append(f"{trigger} on {table.name}")
    if wrong:
        raise CaptureLost(
            f"{counted(len(wrong), 'capture trigger is', 'capture triggers are')} missing or changed on PostgreSQL, {wrong[0]} among them",
            hint="run st-migrate schema upgrade, which puts them back, then st-migrate verify",
        )
