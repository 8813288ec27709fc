"""SQLite as primary and as shadow: log positions are plain sequence numbers, the write lock is the lock."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from app.db.common.errors import ConfigurationError, NotPrepared
from app.db.common.urls import Side
from app.db.rows import key_sql, keys
from app.db.rows.canonical import to_sqlite_column
from app.db.rows.catalog import Row, Table, quote
from app.db.rows.keys import RawKey
from app.db.sides.contract import CONTROL_QUERY, Backlog, Control
from app.db.sides.sqlite.turn import turn_at

FETCH = 2_000  # rows per step of a stream: memory stays constant whatever the table holds
LONG_ROW = 32_768  # characters from which rows are taken a few at a time
_PIECE = 25


class Entry(NamedTuple):
    """One entry of the log; `at` is its time in seconds since 1970."""

    seq: int
    table: str
    key: RawKey
    at: float


def open_sqlite(path: Path, *, busy_timeout_ms: int, read_only: bool = False) -> sqlite3.Connection:
    """Open the existing file in autocommit mode, for use by one thread at a time.

    Foreign keys are off on this connection: what it writes has been checked by the other side.

    Raises:
        ConfigurationError: no such file, or not a SQLite database.
    """
    if not path.is_file():
        raise ConfigurationError(f"there is no SQLite file {path}", hint="check ST_DATABASE_URL")
    mode = "ro" if read_only else "rw"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=busy_timeout_ms / 1000,
        cached_statements=512,
    )
    try:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        raise ConfigurationError(f"{path} cannot be read: {error}", hint="is it a SQLite database?") from None
    return connection


def is_missing_table(error: sqlite3.Error) -> bool:
    """Whether a statement failed because a table does not exist; SQLite has no code of its own for it."""
    return getattr(error, "sqlite_errorname", "") == "SQLITE_ERROR" and "no such table" in str(error)


def control_from_row(row: Sequence[Any]) -> Control:
    """The control row as either side's select list yields it."""
    pair, primary, epoch, phase, writable, paused, attempt, state, deadline, note = row
    return Control(
        pair, Side(primary), int(epoch), phase, bool(writable), bool(paused), attempt, state, deadline, note
    )


def sqlite_control(connection: sqlite3.Connection) -> Control:
    """The control row of the SQLite side.

    Raises:
        NotPrepared: there is none.
    """
    try:
        row = connection.execute(CONTROL_QUERY).fetchone()
    except sqlite3.OperationalError as error:
        if not is_missing_table(error):
            raise
        row = None
    if row is None:
        raise NotPrepared("the SQLite file carries no control row", hint="run st-migrate prepare")
    return control_from_row(row)


def log_end(connection: sqlite3.Connection) -> int:
    """The last number that the log has given out; it outlives the entries themselves."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'st_change_log'").fetchone()
    return int(row[0]) if row else 0


def log_tip(connection: sqlite3.Connection) -> int:
    """The highest number in use: `log_end`, or that of entries which a statement left beyond it.

    SQLite counts AUTOINCREMENT on at the end of a statement. One that stops halfway without undoing what
    it did (OR FAIL) leaves entries whose numbers have not been counted, see `SqliteStore.mend_log`.
    """
    return max(_log_numbers(connection))


def _log_numbers(connection: sqlite3.Connection) -> tuple[int, int]:
    """What SQLite has counted, and the newest entry's number."""
    row = connection.execute(
        "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'st_change_log'), 0), "
        "coalesce((SELECT max(seq) FROM st_change_log), 0)"
    ).fetchone()
    return int(row[0]), int(row[1])


@cache
def _select(table: Table) -> str:
    return f"SELECT {', '.join(quote(column.name) for column in table.columns)} FROM {quote(table.name)}"


@cache
def _select_changed(table: Table) -> str:
    return (
        f"{_select(table)} WHERE {key_sql.in_list(table)} IN "
        f"(SELECT {key_sql.logged_on_sqlite(table)} FROM st_change_log WHERE seq > ? AND tbl = ?)"
    )


def tolerant_text(raw: bytes) -> str:
    """Text of a column whose bytes may not be UTF-8; the bad ones survive as lone surrogates."""
    return raw.decode("utf-8", "surrogateescape")


class SqliteSource:
    """One read transaction on SQLite."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.control = sqlite_control(connection)

    def backlog(self, after: str) -> Backlog:
        rows = self._connection.execute(
            "SELECT tbl, count(*), min(at) FROM st_change_log WHERE seq > ? GROUP BY tbl",
            (int(after),),
        ).fetchall()
        end = log_end(self._connection)
        if end < int(after):
            raise NotPrepared(
                f"the SQLite file's log ends before {after}, which has been applied: an older file was put back",
                hint="run st-migrate abort, then prepare and backfill anew",
            )
        oldest = min((row[2] for row in rows), default=None)
        return Backlog(str(end), {row[0]: row[1] for row in rows}, oldest)

    def entries(self, after: str, limit: int) -> list[Entry]:
        """The next entries of the log, whole."""
        rows = self._connection.execute(
            "SELECT seq, tbl, k, at FROM st_change_log WHERE seq > ? ORDER BY seq LIMIT ?",
            (int(after), limit),
        )
        return list(map(Entry._make, rows.fetchall()))

    def log_end(self) -> str:
        """The position that covers everything in the log."""
        return str(log_end(self._connection))

    def changed_keys(self, table: Table, after: str) -> Iterator[list[RawKey]]:
        for rows in self._stream(
            "SELECT DISTINCT k FROM st_change_log WHERE seq > ? AND tbl = ?", (int(after), table.name)
        ):
            yield [keys.findable(table, row[0]) for row in rows]

    def changed_rows(self, table: Table, after: str) -> Iterator[list[Row]]:
        yield from self._stream(_select_changed(table), (int(after), table.name))

    def rows_of(self, table: Table, raws: Sequence[RawKey]) -> list[Row]:
        statement = f"{_select(table)} WHERE {key_sql.match_on_sqlite(table)}"
        found = (self._stream(statement, keys.on_sqlite(table, raw)) for raw in raws)
        return [row for of_key in found for rows in of_key for row in rows]

    def has_ended(self, token: str) -> bool:
        """A token is the last log entry of its transaction; one that is beyond the log has not committed."""
        return int(token) <= log_end(self._connection)

    def announced_keys(self) -> dict[str, set[str]]:
        announced: dict[str, set[str]] = {}
        for table, key in self._connection.execute("SELECT tbl, k FROM st_pending").fetchall():
            announced.setdefault(table, set()).add(str(key))
        return announced

    def all_rows(self, table: Table) -> Iterator[list[Row]]:
        yield from self._stream(_select(table), ())

    def _stream(self, statement: str, parameters: tuple[Any, ...]) -> Iterator[list[Row]]:
        return stream(self._connection, statement, parameters)


def stream(
    connection: sqlite3.Connection, statement: str, parameters: tuple[Any, ...], *, fetch: int = FETCH
) -> Iterator[list[Row]]:
    """Rows of a query in lists; text that is not UTF-8 comes with lone surrogates instead of an error.

    sqlite3 decodes text strictly and fast, or by a Python function and slowly, so the slow way is taken
    only from the first bad row on.
    """
    done = 0
    try:
        for rows in _in_portions(connection.execute(statement, parameters), fetch):
            yield rows
            done += len(rows)
        return
    except sqlite3.OperationalError as error:
        if "decode to UTF-8" not in str(error):
            raise
    tolerant = connection.cursor()
    connection.text_factory = tolerant_text
    try:
        tolerant.execute(statement, parameters)
        while done > 0:
            done -= len(tolerant.fetchmany(min(done, _PIECE)))
        yield from _in_portions(tolerant, fetch)
    finally:
        connection.text_factory = str


def _in_portions(cursor: sqlite3.Cursor, fetch: int) -> Iterator[list[Row]]:
    """Lists of at most `fetch` rows, cut short where rows are long: a table of large texts must fit too."""
    rows: list[Row] = []
    step = _PIECE
    while piece := cursor.fetchmany(min(step, fetch - len(rows))):
        rows += piece
        step = 2 if _is_long(piece[0]) or _is_long(piece[-1]) else _PIECE
        if len(rows) >= fetch or step < _PIECE:
            yield rows
            rows = []
    if rows:
        yield rows


def _is_long(row: Row) -> bool:
    return sum(len(value) for value in row if type(value) in (str, bytes)) > LONG_ROW


class SqliteTarget:
    """One write transaction of the applier on SQLite."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.control = sqlite_control(connection)
        self.position: str = connection.execute("SELECT position FROM st_watermark WHERE id = 1").fetchone()[
            0
        ]

    def covers(self, position: str, end: str) -> bool:
        """Not asked: PostgreSQL's positions have no order."""
        return False

    def burst(self, entries: int) -> None:
        """Nothing to gain on a local file."""

    def announced(self) -> list[tuple[str, RawKey, str]]:
        return self._connection.execute("SELECT tbl, k, token FROM st_pending").fetchall()

    def clear(self, table: Table) -> None:
        self._connection.execute(f"DELETE FROM {quote(table.name)}")

    def delete(self, table: Table, raws: Sequence[RawKey]) -> None:
        self._connection.executemany(
            f"DELETE FROM {quote(table.name)} WHERE {key_sql.match_on_sqlite(table)}",
            [keys.on_sqlite(table, raw) for raw in raws],
        )

    def replace(self, table: Table, raws: Sequence[RawKey], rows: list[Row]) -> int:
        self.delete(table, raws)
        return self.insert(table, [rows] if rows else [])

    def insert(self, table: Table, rows: Iterable[list[Row]]) -> int:
        columns = ", ".join(quote(column.name) for column in table.columns)
        marks = ", ".join("?" * len(table.columns))
        kinds = [column.kind for column in table.columns]
        for batch in filter(None, rows):
            self._connection.executemany(
                f"INSERT INTO {quote(table.name)} ({columns}) VALUES ({marks})",
                zip(*map(to_sqlite_column, kinds, zip(*batch, strict=True)), strict=True),
            )
        return 0

    def forget_announced(self, raws: dict[str, list[RawKey]]) -> None:
        for table, of_table in raws.items():
            self._connection.executemany(
                "DELETE FROM st_pending WHERE tbl = ? AND k = ?", [(table, key) for key in of_table]
            )

    def announce(self, table: Table, raws: Sequence[RawKey], token: str) -> None:
        """Remember keys that strict mode writes here before the primary commits them."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO st_pending (tbl, k, token) VALUES (?, ?, ?)",
            [(table.name, str(raw), token) for raw in raws],
        )

    def advance(self, position: str, changes: int) -> None:
        self._connection.execute(
            "UPDATE st_watermark SET position = ?, changes = changes + ?, applied_at = ? WHERE id = 1",
            (position, changes, time.time()),
        )


class SqliteStore:
    """The SQLite side, through one connection."""

    side = Side.SQLITE

    def __init__(self, path: Path, *, busy_timeout_ms: int) -> None:
        self.connection = open_sqlite(path, busy_timeout_ms=busy_timeout_ms)
        self._busy_timeout_ms = busy_timeout_ms
        self._turn = turn_at(path)
        self._deadline: float | None = None
        self.pressing = False  # whether others wait for what is written here

    def hurry(self, until: float | None) -> None:
        """Wait for the write lock no longer than to this moment of `time.monotonic`; None: as usual."""
        self._deadline = until

    @contextmanager
    def source(self) -> Iterator[SqliteSource]:
        self.connection.execute("BEGIN")
        try:
            yield SqliteSource(self.connection)
        finally:
            self.connection.execute("ROLLBACK")

    @contextmanager
    def target(self, *, durable: bool = False, careful: bool = False) -> Iterator[SqliteTarget]:
        """The applier's transaction; every commit is as durable as the file's journal mode makes it."""
        with self.write() as connection:
            connection.execute("UPDATE st_control SET applying = 1 WHERE id = 1")
            yield SqliteTarget(connection)
            connection.execute("UPDATE st_control SET applying = 0 WHERE id = 1")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction under the write lock: committed on a normal exit, else rolled back."""
        patience = self._busy_timeout_ms
        if self._deadline is not None:
            patience = max(0, min(patience, int((self._deadline - time.monotonic()) * 1000)))
        self._turn.begin(self.connection, patience, pressing=self.pressing)
        try:
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise
        finally:
            self._turn.let_go()

    def read_control(self) -> Control:
        return sqlite_control(self.connection)

    def read_position(self) -> str:
        return self.read_watermark()[0]

    def read_watermark(self) -> tuple[str, float]:
        row = self.connection.execute("SELECT position, applied_at FROM st_watermark WHERE id = 1").fetchone()
        return str(row[0]), row[1] or 0.0

    def log_end(self) -> str:
        return str(log_end(self.connection))

    def log_tip(self) -> str:
        """The highest number in use, see the function."""
        return str(log_tip(self.connection))

    def mend_log(self) -> None:
        """Count entries that a statement left uncounted, so that their numbers are not given out again.

        A position beyond the count would cover the entries that get those numbers once these are trimmed.
        """
        counted, newest = _log_numbers(self.connection)
        if newest <= counted:
            return
        with self.write() as connection:
            tip = log_tip(connection)
            if not connection.execute(
                "UPDATE sqlite_sequence SET seq = ? WHERE name = 'st_change_log'", (tip,)
            ).rowcount:
                connection.execute(
                    "INSERT INTO sqlite_sequence (name, seq) VALUES ('st_change_log', ?)", (tip,)
                )

    def trim(self, covered_by: Sequence[str], limit: int) -> int:
        """Delete at most `limit` log entries that all these positions cover; returns how many went."""
        return self.connection.execute(
            "DELETE FROM st_change_log WHERE seq IN "
            "(SELECT seq FROM st_change_log WHERE seq <= ? ORDER BY seq LIMIT ?)",
            (min(map(int, covered_by)), limit),
        ).rowcount

    def log_size(self, limit: int) -> int:
        """Log entries, counted up to a limit."""
        return int(
            self.connection.execute(
                "SELECT count(*) FROM (SELECT 1 FROM st_change_log LIMIT ?)", (limit,)
            ).fetchone()[0]
        )

    def has_changes(self, after: str) -> bool:
        """Whether the log stands anywhere else than at a position."""
        return self.log_tip() != after

    def close(self) -> None:
        self.connection.close()
