"""The control row: who is primary, at which epoch, whether a side takes writes, which attempt is under way.

Each side has one row in `st_control`. PostgreSQL's row is the arbiter: the commit of a switch is one
UPDATE of that row. SQLite's row follows it and is the local routing hint.

Every statement on these rows stands here, and no other module writes them. An UPDATE names what its
caller believes in its WHERE clause: the attempt's token, or the pair, epoch or phase. A process that was
declared dead and wakes up therefore changes nothing. A function that returns a Boolean says whether the
row was changed. The statements of the triggers and of PostgreSQL's functions are in `capture/*.sql`; they
only read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors as pg_errors

from app.db.common.errors import NotPrepared
from app.db.common.urls import Side
from app.db.sides.phase import Phase

Postgres = psycopg.Connection[Any]
# What SQLite's row holds where PostgreSQL's has the phase, from `prepare` to the end of the move. The phase
# stands on the arbiter's row alone, so this word is read as "no phase". Pairs of every version have it.
NO_PHASE = "prepared"
_SELECT = (
    "SELECT pair, primary_side, epoch, phase, writable, paused, attempt, attempt_state, attempt_deadline, note "
    "FROM st_control WHERE id = 1"
)


@dataclass(frozen=True)
class Control:
    """The control row of one side, as it was read.

    `phase` is None on SQLite, see `NO_PHASE`. `attempt_deadline` is in seconds since 1970, by the clock of
    the row's own side.
    """

    pair: str
    primary: Side
    epoch: int
    phase: Phase | None
    writable: bool
    paused: bool
    attempt: str | None
    attempt_state: str | None
    attempt_deadline: float | None
    note: str | None

    @property
    def ahead(self) -> str:
        """How SQLite's row, which this is, has come to a later epoch than PostgreSQL's."""
        older = "an older copy of the PostgreSQL database was put back"
        if self.primary is Side.POSTGRES:
            return f"{older}, from before epoch {self.epoch}"
        return f"a forced rollback left this PostgreSQL behind, or {older}"


def control_from_row(row: Sequence[Any]) -> Control:
    """The control row as either side's select list yields it."""
    pair, primary, epoch, phase, writable, paused, *attempt = row
    return Control(pair, Side(primary), int(epoch), _phase(phase), bool(writable), bool(paused), *attempt)


def _phase(text: str) -> Phase | None:
    if text == NO_PHASE:
        return None
    try:
        return Phase(text)
    except ValueError:
        raise NotPrepared(
            f"this version knows no phase {text}", hint="use the version that prepared the pair"
        ) from None


def sqlite_control(connection: sqlite3.Connection) -> Control:
    """The control row of the SQLite side.

    Raises:
        NotPrepared: there is none.
    """
    try:
        row = connection.execute(_SELECT).fetchone()
    except sqlite3.OperationalError as error:
        # SQLite has no code of its own for a missing table.
        if error.sqlite_errorname != "SQLITE_ERROR" or "no such table" not in str(error):
            raise
        row = None
    if row is None and is_retired(connection):
        raise NotPrepared(
            "this SQLite file was retired when its move was completed: it is only an archive",
            hint="name PostgreSQL in ST_DATABASE_URL, and leave ST_SHADOW_DATABASE_URL out",
        )
    if row is None:
        raise NotPrepared("the SQLite file carries no control row", hint="run st-migrate prepare")
    return control_from_row(row)


def is_retired(sqlite: sqlite3.Connection) -> bool:
    """Whether the move was completed and this file is the archive that it left."""
    row = sqlite.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name GLOB 'st_retired_*' LIMIT 1"
    ).fetchone()
    return row is not None


def postgres_control(connection: Postgres, *, lock: bool = False, share: bool = False) -> Control:
    """The control row of the PostgreSQL side.

    Args:
        lock: nobody else may lock or change the row for the rest of the transaction.
        share: nobody else may change the row for the rest of the transaction.

    Raises:
        NotPrepared: there is none.
    """
    clause = " FOR UPDATE" if lock else " FOR SHARE" if share else ""
    with or_not_prepared():
        row = connection.execute((_SELECT + clause).encode()).fetchone()
    return _there(row)


def ask_postgres_control(connection: Postgres) -> Callable[[], Control]:
    """Ask for the control row as one statement of a pipeline, within `or_not_prepared`.

    Returns:
        What tells the row once the pipeline has ended; NotPrepared if there is none.
    """
    cursor = connection.execute(_SELECT.encode())
    return lambda: _there(cursor.fetchone())


@contextmanager
def or_not_prepared() -> Iterator[None]:
    """NotPrepared instead of the server's error where the table of the control row is missing."""
    try:
        yield
    except (pg_errors.UndefinedTable, pg_errors.InvalidSchemaName):
        _there(None)


def _there(row: Sequence[Any] | None) -> Control:
    if row is None:
        raise NotPrepared("the PostgreSQL database carries no control row", hint="run st-migrate prepare")
    return control_from_row(row)


def is_prepared_sqlite(connection: sqlite3.Connection) -> bool:
    """Whether the bookkeeping in the file is ours, and not an application's table of the same name."""
    columns = {row[1] for row in connection.execute("PRAGMA table_info(st_control)").fetchall()}
    return {"pair", "primary_side", "epoch", "phase"} <= columns


def is_prepared_postgres(connection: Postgres) -> bool:
    """Whether the bookkeeping there is ours, and not an application's table of the same name."""
    row = connection.execute(
        "SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass('st_control') "
        "AND attname IN ('pair', 'primary_side', 'epoch', 'phase')"
    ).fetchone()
    return row == (4,)


def sqlite_primary(connection: sqlite3.Connection) -> Side:
    """The primary by SQLite's row; the cheapest question there is, asked by every transaction.

    Raises:
        sqlite3.Error, TypeError: there is no row, or it cannot be read.
    """
    return Side(connection.execute("SELECT primary_side FROM st_control WHERE id = 1").fetchone()[0])


def sqlite_takes_writes(connection: sqlite3.Connection) -> bool:
    """Whether SQLite's fence is down; asked by a session that holds the write lock."""
    return bool(connection.execute("SELECT writable FROM st_control WHERE id = 1").fetchone()[0])


def is_claimed_postgres(connection: Postgres) -> bool:
    """Whether an earlier `prepare` has claimed the database; the table has to exist."""
    return connection.execute("SELECT 1 FROM st_control").fetchone() is not None


def sqlite_is_open(connection: sqlite3.Connection) -> bool:
    """Whether SQLite takes writes of anybody: its fence is down, or a mark that lets writes pass was committed."""
    row = connection.execute(
        "SELECT writable = 1 OR (applying <> 0 AND primary_side <> 'sqlite') FROM st_control WHERE id = 1"
    ).fetchone()
    return bool(row and row[0])
