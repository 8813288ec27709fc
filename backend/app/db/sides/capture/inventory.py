"""Whether PostgreSQL still has every capture trigger; `capture.check_inventory` says so for SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import psycopg

from app.db.common.errors import CaptureLost
from app.db.common.urls import Side
from app.db.rows.catalog import ENUM_LABELS, POSTGRES_COLUMNS, Schema, literal, spellings, takes_part
from app.db.sides.capture.foreign import OURS_ON_POSTGRES, OURS_ON_SQLITE
from app.db.sides.capture.triggers import postgres_function
from app.db.sides.locks import QUIET

_INSERT = "st_capture_insert"
# Trigger name to the event bit of pg_trigger.tgtype; AFTER and FOR EACH STATEMENT are zero there.
_EVENTS = {_INSERT: 4, "st_capture_delete": 8, "st_capture_update": 16, "st_capture_truncate": 32}
# The phase comes with each trigger, so that both are of one instant: the last step of the copy puts the
# insert triggers in place and changes the phase in one transaction.
_TRIGGERS = """
SELECT c.relname, t.tgname, (SELECT phase FROM st_control WHERE id = 1) IN ('preparing', 'copying'),
       t.tgtype::int, t.tgenabled IN ('O', 'A'), p.proname, p.prosrc
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
WHERE c.relnamespace = current_schema()::regnamespace AND p.pronamespace = c.relnamespace
AND t.tgname LIKE 'st\\_capture\\_%' AND NOT t.tgisinternal
"""


_STAMP = f"""
SELECT md5(concat(
  (SELECT string_agg(c::text, ' ') FROM ({POSTGRES_COLUMNS}) AS c),
  (SELECT string_agg(l::text, ' ') FROM ({ENUM_LABELS}) AS l),
  (SELECT string_agg(t::text, ' ' ORDER BY t.relname, t.tgname) FROM ({_TRIGGERS}) AS t),
  (SELECT count(*) FROM pg_constraint f WHERE f.contype = 'f' AND f.connamespace = current_schema()::regnamespace)))
"""


def postgres_stamp(connection: psycopg.Connection[Any]) -> str:
    """A text that changes whenever PostgreSQL's tables, keys, capture or known spellings change; in some ms."""
    row = connection.execute(_STAMP.encode()).fetchone()
    assert row is not None
    return f"{row[0]} {hash(frozenset(spellings(connection).items()))}"


def check_postgres_inventory(connection: psycopg.Connection[Any], schema: Schema) -> None:
    """Make sure that every write on PostgreSQL is captured.

    While it is being filled the insert triggers may be absent: nobody else may insert then.

    Raises:
        CaptureLost: a trigger is missing, disabled, or does not call the function that belongs to its table.
    """
    rows = connection.execute(_TRIGGERS.encode()).fetchall()
    found = {(row[0], row[1]): tuple(row[3:]) for row in rows}
    being_filled = any(row[2] for row in rows)
    wrong = []
    for table in schema.values():
        for trigger, event in _EVENTS.items():
            if being_filled and trigger == _INSERT and (table.name, trigger) not in found:
                continue
            kind, enabled, function, body = found.get((table.name, trigger), (0, False, "", ""))
            captures = "st_admit()" in body and f"SELECT {literal(table.name)}, " in body
            if not (kind == event and enabled and function == postgres_function(table) and captures):
                wrong.append(f"{trigger} on {table.name}")
    if wrong:
        raise CaptureLost(
            f"{len(wrong)} capture triggers are missing or changed on PostgreSQL, {wrong[0]} among them",
            hint="run st-migrate schema upgrade, which puts them back, then st-migrate verify",
        )


# Triggers that are not ours and fire, rules included. A condition on st.applying keeps one still while
# apply writes.
_FOREIGN = f"""
SELECT c.relname, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
WHERE c.relnamespace = current_schema()::regnamespace AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
AND NOT {OURS_ON_POSTGRES} AND pg_get_triggerdef(t.oid) NOT LIKE '%st.applying%'
UNION ALL
SELECT c.relname, r.rulename FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND r.ev_enabled IN ('O', 'A')
ORDER BY 1, 2
"""


@dataclass(frozen=True)
class ForeignTrigger:
    """A trigger or rule of the application's own that fires while apply writes, and may change what it writes."""

    side: Side
    table: str
    name: str

    @property
    def place(self) -> str:
        """Its name, its table and its side, as people read them."""
        side = "SQLite" if self.side is Side.SQLITE else "PostgreSQL"
        return f"{self.name} on {self.table} ({side})"

    def __str__(self) -> str:
        return f"trigger {self.place} fires on what apply writes; {self.remedy}"

    @property
    def remedy(self) -> str:
        """What to do about it, on a pair that is prepared."""
        return f"create it again with WHEN ({QUIET[self.side]}), or drop it for the time of the move"


def foreign_triggers(
    sqlite: sqlite3.Connection, postgres: psycopg.Connection[Any], tables: Collection[str]
) -> list[ForeignTrigger]:
    """The application's own triggers on some tables of either side that apply would set off."""
    ours = sqlite.execute(
        f"SELECT tbl_name, name FROM sqlite_master WHERE type = 'trigger' AND NOT {OURS_ON_SQLITE} "
        "AND sql NOT LIKE '%applying%' ORDER BY 1, 2"
    ).fetchall()
    return [ForeignTrigger(Side.SQLITE, *row) for row in ours if row[0] in tables] + [
        item for item in foreign_on_postgres(postgres) if item.table in tables
    ]


def foreign_on_postgres(connection: psycopg.Connection[Any]) -> list[ForeignTrigger]:
    """The same for PostgreSQL, on all tables."""
    rows = connection.execute(_FOREIGN.encode()).fetchall()
    return [ForeignTrigger(Side.POSTGRES, *row) for row in rows if takes_part(row[0])]
