"""The database that is moved in the demo, the load runs, the benchmarks and the tests. It is made, never found.

It has the backend's own schema at its head, about 180,000 rows in all tables, and what makes a real file hard to
move. `surprises` counts that; `people`, `trading` and `strategies` say what a row of each table holds, and
`values` fills in the columns that they leave out. Equal seeds make equal rows.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from app.db.revisions.chain import upgrade_head
from loadtests.stage.sample import people, strategies, trading
from loadtests.stage.sample.people import ADMIN_PASSWORD, CRYPTO_KEY, PASSWORD, WEBHOOK_SECRET
from loadtests.stage.sample.surprises import (
    GONE,
    LONG_TEXTS,
    ORPHANS,
    ROWS,
    SEEDED,
    VERY_LONG,
    WIDE_INTEGERS,
)
from loadtests.stage.sample.values import TABLES, Place, Row, ids_of, moment, sentence, usual

__all__ = ["ADMIN_PASSWORD", "CRYPTO_KEY", "PASSWORD", "WEBHOOK_SECRET", "make", "rows_of", "users_of"]

ROOMS: dict[str, Callable[[Place], Row]] = people.ROOM | trading.ROOM | strategies.ROOM
Change = Callable[[Row], None]
FEW = 2


def make(path: Path, *, seed: int = 1) -> None:
    """Make the database at `path`, which must not exist yet. This takes a few seconds."""
    upgrade_head(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -200000")  # 200 MB: no page is written twice
        _settle_seeds(connection)
        for table in ROWS:
            columns = [column.name for column in TABLES[table].columns]
            names, marks = ", ".join(f'"{name}"' for name in columns), ", ".join("?" * len(columns))
            connection.executemany(
                f'INSERT INTO "{table}" ({names}) VALUES ({marks})',
                ([row[name] for name in columns] for row in rows_of(table, seed=seed)),
            )
        connection.commit()


def users_of(path: Path) -> list[str]:
    """Names of the stored users, the administrator last: senders name their own user."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT username FROM users ORDER BY role = 'ADMIN', id").fetchall()
    return [name for (name,) in rows]


def _settle_seeds(connection: sqlite3.Connection) -> None:
    """Take what differs from run to run out of the rows that the chain has put there."""
    for table in SEEDED:
        stamps = [name for name in ("created_at", "updated_at") if name in TABLES[table].columns]
        fraction = table != "users"
        sets = ", ".join(f"{name} = ?" for name in stamps)
        connection.execute(f'UPDATE "{table}" SET {sets}', [moment(0, fraction=fraction)] * len(stamps))
    connection.execute("UPDATE users SET password_hash = ?", (people.hashed(ADMIN_PASSWORD),))


def rows_of(table: str, *, seed: int = 1) -> Iterator[Row]:
    """The rows of a table after the seeded ones, with their surprises, as SQLite stores them."""
    draw = random.Random(f"{seed} {table}")
    room = ROOMS.get(table, lambda at: {})
    columns = [(column.name, column) for column in TABLES[table].columns]
    ids = ids_of(table)
    changes = _changes(table)
    for number in range(SEEDED.get(table, 0), ROWS[table]):
        at = Place(number, ids[number], draw)
        own = room(at)
        row = {name: own[name] if name in own else usual(column, at) for name, column in columns}
        for change in changes.get(number, ()):
            change(row)
        yield row


def _changes(table: str) -> dict[int, list[Change]]:
    """Row number -> what is done to the row, for every surprise of a table."""
    found: dict[int, list[Change]] = {}

    def spread(rows: int, change: Change) -> None:
        """A few stand at the end of the table, many all over it."""
        step = (ROWS[table] - SEEDED.get(table, 0)) // rows if rows > FEW else 1
        for place in range(ROWS[table] - 1, ROWS[table] - 1 - rows * step, -step):
            found.setdefault(place, []).append(change)

    for long in LONG_TEXTS:
        if long.table == table:
            spread(long.rows, _lengthen(long.column, long.longest))
    for wide in WIDE_INTEGERS:
        if wide.table == table:
            spread(wide.rows, _set(wide.column, wide.largest))
    for orphans in ORPHANS:
        if orphans.table == table:
            spread(orphans.rows, _set(orphans.column, GONE[orphans.parent][0]))
    for (where, column), length in VERY_LONG.items():
        if where == table:
            found.setdefault(ROWS[table] // 2, []).append(_lengthen(column, length))
    return found


def _set(column: str, value: Any) -> Change:
    def change(row: Row) -> None:
        row[column] = value

    return change


def _lengthen(column: str, length: int) -> Change:
    def change(row: Row) -> None:
        if column.endswith("_encrypted"):
            row[column] = people.encrypted_text(length)
        elif column == "action":
            row[column] = "BUY_QUANTITY"
        else:
            row[column] = sentence(str(row[column] or column), length)

    return change
