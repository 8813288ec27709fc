"""The quarantine as the operator handles it: look, accept by name, or try a row again."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from app.db.apply.round import Applier, Standing
from app.db.common.errors import ConfigurationError, Refused
from app.db.common.urls import Side
from app.db.rows import keys
from app.db.rows.catalog import Table
from app.db.rows.keys import RawKey
from app.db.sides.postgres.store import PostgresStore

_COLUMNS = "tbl, k, col, reason, content, at, accepted_by, accepted_at"


@dataclass(frozen=True)
class Held:
    """One row in quarantine; `key` as bookkeeping spells it, `content` every value with its storage class."""

    table: str
    key: str
    column: str
    reason: str
    content: dict[str, Any]
    at: float
    accepted_by: str | None
    accepted_at: float | None

    def summary(self) -> dict[str, Any]:
        """Without the content."""
        return {name: value for name, value in asdict(self).items() if name != "content"}


def held_rows(postgres: PostgresStore, table: str | None = None, key: str | None = None) -> list[Held]:
    """Rows in quarantine, of one table or one key where given."""
    rows = postgres.connection.execute(
        f"SELECT {_COLUMNS} FROM st_quarantine WHERE (%(t)s::text IS NULL OR tbl = %(t)s) "
        "AND (%(k)s::text IS NULL OR k = %(k)s) ORDER BY tbl, k".encode(),
        {"t": table, "k": key},
    ).fetchall()
    return [Held(t, k, col, reason, json.loads(content), *rest) for t, k, col, reason, content, *rest in rows]


def chosen(postgres: PostgresStore, table: str | None, key: str | None, *, everything: bool) -> list[Held]:
    """The rows that TABLE KEY or --all name.

    Raises:
        ConfigurationError: neither or both were given, or that row is not in quarantine.
    """
    if everything == (table is not None) or (table is None) != (key is None):
        raise ConfigurationError("name one row by TABLE and KEY, or all of them by --all")
    rows = held_rows(postgres, table, key)
    if not rows and not everything:
        raise ConfigurationError(f"{table} {key} is not in quarantine", hint="see st-migrate quarantine list")
    return rows


def accept(postgres: PostgresStore, rows: list[Held], by: str) -> int:
    """Let the cutover go without these rows; returns how many were not accepted before."""
    with postgres.write() as connection:
        return sum(
            connection.execute(
                "UPDATE st_quarantine SET accepted_by = %s, accepted_at = %s "
                "WHERE tbl = %s AND k = %s AND at = %s AND accepted_by IS NULL",
                (by, time.time(), row.table, row.key, row.at),
            ).rowcount
            for row in rows
        )


def retry(applier: Applier, rows: list[Held]) -> None:
    """Log the keys anew and apply, so that the rows are taken up as they are now.

    Raises:
        Refused: PostgreSQL is primary: it does not have the rows, so apply would delete them on SQLite;
            or apply stands still; or a key cannot be held by PostgreSQL.
    """
    if applier.stores.directions()[0].side is Side.POSTGRES:
        raise Refused(
            "PostgreSQL is the primary and never had these rows",
            hint="insert them there by hand from `quarantine show`, or roll back first",
        )
    schema = applier.schema()
    entries = [(row.table, _logged_key(schema[row.table], row), time.time()) for row in rows]
    with applier.stores.sqlite.write() as connection:
        connection.executemany("INSERT INTO st_change_log (tbl, k, at) VALUES (?, ?, ?)", entries)
    outcome = applier.round(durable=True)
    if isinstance(outcome, Standing):
        raise Refused(f"apply stands still: {outcome.reason}", hint="see st-migrate status")


def _logged_key(table: Table, row: Held) -> RawKey:
    """The key as SQLite's triggers would log it."""
    try:
        return keys.logged_on_sqlite(table, keys.from_text(table, row.key))
    except (ValueError, TypeError):
        raise Refused(
            f"{row.table} {row.key}: the key itself is what PostgreSQL cannot hold",
            hint="correct the key on SQLite; that is a change, and is applied by itself",
        ) from None
