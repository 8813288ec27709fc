"""The quarantine as the operator handles it: look, accept by name, or try a row again."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from app.db.apply.outcome import Skipped
from app.db.apply.round import Applier
from app.db.common.errors import ConfigurationError, Refused
from app.db.common.urls import Side
from app.db.rows import keys
from app.db.rows.catalog import Table
from app.db.rows.keys import RawKey
from app.db.sides.postgres.aside import SIDE
from app.db.sides.postgres.store import PostgresStore
from app.db.sides.stores import Stores
from app.db.switch.state.readiness import MEND, quarantined
from migration.common.outcome import Exit, Outcome

_COLUMNS = f"q.tbl, q.k, {SIDE}, q.col, q.reason, q.content, q.at, q.accepted_by, q.accepted_at"


@dataclass(frozen=True)
class Held:
    """One row in quarantine.

    `key` is the key as bookkeeping spells it, `side` the one that holds the row, `content` every value with
    its storage class.
    """

    table: str
    key: str
    side: str
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
        f"SELECT {_COLUMNS} FROM st_quarantine q WHERE (%(t)s::text IS NULL OR q.tbl = %(t)s) "
        "AND (%(k)s::text IS NULL OR q.k = %(k)s) ORDER BY q.tbl, q.k".encode(),
        {"t": table, "k": key},
    ).fetchall()
    return [
        Held(table, key, side, column, reason, json.loads(content), *rest)
        for table, key, side, column, reason, content, *rest in rows
    ]


def ready(postgres: PostgresStore, data: dict[str, Any]) -> Outcome:
    """What is next when all rows but those in quarantine are equal."""
    held = quarantined(postgres.connection)
    if not held.unaccepted:
        return Outcome("ready", "both sides are equal; next: st-migrate cutover", data=data)
    return Outcome("set_aside", f"{held.open_text()}; all other rows are equal ({MEND})", Exit.FINDINGS, data)


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
    """Let a switch go without these rows. Returns how many were not accepted before."""
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
    """Log the keys anew on the primary and apply, so that the rows are taken up as they are now.

    Raises:
        Refused: the primary does not have a row, so apply would delete it where it is. Or apply stands still,
            or nobody can log the key.
    """
    primary, _ = applier.stores.directions()
    for row in rows:
        if row.side != primary.side:
            raise Refused(
                f"{row.table} {row.key} is a row of {row.side}, and the primary {primary.side} never had it",
                hint="insert it there by hand from `quarantine show`, or switch back first",
            )
    schema = applier.schema()
    _log(
        applier.stores,
        primary.side,
        [(schema[row.table], _logged_key(schema[row.table], row)) for row in rows],
    )
    outcome = applier.round(durable=True)
    if isinstance(outcome, Skipped):
        raise Refused(f"apply stands still: {outcome.reason}", hint="see st-migrate status")


def _log(stores: Stores, side: Side, entries: list[tuple[Table, RawKey]]) -> None:
    """Write keys to the log of a side that takes application writes now."""
    if side is Side.SQLITE:
        with stores.sqlite.write() as sqlite:
            sqlite.executemany(
                "INSERT INTO st_change_log (tbl, k, at) VALUES (?, ?, ?)",
                [(table.name, key, time.time()) for table, key in entries],
            )
        return
    with stores.postgres.write() as connection:
        if connection.execute("SELECT st_may_write()").fetchone() != (True,):
            raise Refused("postgres takes no application writes now", hint="wait for the switch, then repeat")
        for table, key in entries:
            connection.execute(
                "INSERT INTO st_change_log (tbl, k) VALUES (%s, %s)",
                (table.name, keys.text_on_postgres(table, key)),
            )


def _logged_key(table: Table, row: Held) -> RawKey:
    """The key as the triggers would log it. One without a place on the other side is in the content."""
    stored = [_stored(row.content[name]) for name in table.key_names]
    if row.side == Side.POSTGRES or keys.canonical(table, stored) is not None:
        return keys.join(stored)
    raw = keys.join(stored)
    if keys.to_text(keys.from_text(table, row.key)) not in keys.texts_of(table, raw) or not _is_text(stored):
        raise Refused(
            f"{row.table} {row.key}: the key itself is what PostgreSQL cannot hold",
            hint="correct the key on SQLite; that is a change, and is applied by itself",
        )
    return raw


def _is_text(values: list[Any]) -> bool:
    """Whether a statement can carry these values: bytes that are not UTF-8 cannot be bound as a text."""
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except (TypeError, UnicodeEncodeError):
        return False
    return True


def _stored(value: Any) -> Any:
    """A value of the content as SQLite holds it; the reverse of `canonical.storage`."""
    if not isinstance(value, dict):
        return value
    ((form, text),) = value.items()
    if form == "text_hex":
        return bytes.fromhex(text).decode("utf-8", "surrogateescape")
    if form == "blob_hex":
        return bytes.fromhex(text)
    return float(text) if form == "real" else text
