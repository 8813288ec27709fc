"""Connections to SQLite: how they are opened, what every part reads from them, and rows in a stream."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.db.common.errors import ConfigurationError
from app.db.rows import key_sql, keys
from app.db.rows.catalog import Row
from app.db.sides.contract import FETCH

LONG_ROW = 32_768  # characters from which rows are taken a few at a time
_PIECE = 25
# A large backlog touches indexes all over the file; SQLite would keep two megabytes of it.
_CACHE_KIB = 64 * 1024
# What SQLite answers to a single row that it cannot hold. The last is a value too long for it.
ROW_ERRORS = (sqlite3.IntegrityError, sqlite3.DataError)

# A file that somebody holds, or whose disk is full or broken, is no wrong file.
_NO_WRONG_FILE = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)


def open_sqlite(path: Path, *, busy_timeout_ms: int, read_only: bool = False) -> sqlite3.Connection:
    """Open the existing file in autocommit mode, for use by one thread at a time.

    Foreign keys are off on this connection: what it writes has been checked by the other side.

    Raises:
        ConfigurationError: no such file, or not a SQLite database.
    """
    if not path.is_file():
        what = f"{path} is a folder" if path.is_dir() else f"there is no SQLite file {path}"
        raise ConfigurationError(what, hint="name the application's file: --sqlite, or ST_DATABASE_URL")
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
        connection.create_function(key_sql.PART, 2, keys.part_of, deterministic=True)
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _NO_WRONG_FILE:
            raise
        hint = "is it a SQLite database?"
        if code == sqlite3.SQLITE_CANTOPEN:
            hint = f"let this user write in {path.parent}: SQLite keeps the files -wal and -shm there"
        raise ConfigurationError(f"{path} cannot be read: {error}", hint=hint) from None
    return connection


def log_end(connection: sqlite3.Connection) -> int:
    """The last number that the log has given out; it outlives the entries themselves."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'st_change_log'").fetchone()
    return int(row[0]) if row else 0


def log_tip(connection: sqlite3.Connection) -> int:
    """The highest number in use: `log_end`, or that of entries which a statement left beyond it.

    SQLite counts AUTOINCREMENT on at the end of a statement. One that stops halfway without undoing what
    it did (OR FAIL) leaves entries whose numbers have not been counted, see `SqliteStore.mend_log`.
    """
    return max(log_numbers(connection))


def log_numbers(connection: sqlite3.Connection) -> tuple[int, int]:
    """What SQLite has counted, and the newest entry's number."""
    row = connection.execute(
        "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'st_change_log'), 0), "
        "coalesce((SELECT max(seq) FROM st_change_log), 0)"
    ).fetchone()
    return int(row[0]), int(row[1])


def marks_copies(connection: sqlite3.Connection) -> bool:
    """Whether this file's pair keeps what tells older copies; one of an earlier version does not."""
    (columns,) = connection.execute(
        "SELECT count(*) FROM pragma_table_info('st_watermark') WHERE name IN ('mark', 'trimmed')"
    ).fetchone()
    return bool(columns == 2)


def trimmed_to(connection: sqlite3.Connection) -> int:
    """The number up to which the log was trimmed. 0 if that is not known."""
    try:
        (number,) = connection.execute("SELECT coalesce(max(trimmed), 0) FROM st_watermark").fetchone()
    except sqlite3.OperationalError:
        if marks_copies(connection):
            raise
        return 0
    return int(number)


def tolerant_text(raw: bytes) -> str:
    """Text of a column whose bytes may not be UTF-8; the bad ones survive as lone surrogates."""
    return raw.decode("utf-8", "surrogateescape")


def is_utf8(value: str) -> bool:
    """Whether a text that `tolerant_text` read can be bound as a text."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def stream(
    connection: sqlite3.Connection, statement: str, parameters: tuple[Any, ...], *, fetch: int = FETCH
) -> Iterator[list[Row]]:
    """Rows of a query in lists. Text that is not UTF-8 comes with lone surrogates instead of an error.

    sqlite3 decodes text strictly and fast, or by a Python function and slowly. So the slow way is taken only
    from the first bad row on.
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
