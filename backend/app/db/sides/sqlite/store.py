"""SQLite as primary and as shadow: log positions are plain sequence numbers, the write lock is the lock."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from app.db.common.errors import NotPrepared
from app.db.common.urls import Side
from app.db.sides.contract import InFlight
from app.db.sides.control import Control, sqlite_control, sqlite_primary
from app.db.sides.locks import applying_sqlite
from app.db.sides.sqlite.bulletin import Bulletin
from app.db.sides.sqlite.connection import log_end, log_numbers, log_tip, marks_copies, open_sqlite
from app.db.sides.sqlite.files import FileWatch
from app.db.sides.sqlite.source import SqliteSource
from app.db.sides.sqlite.target import SqliteTarget
from app.db.sides.sqlite.turn import turn_at


class SqliteStore:
    """The SQLite side, through one connection."""

    side = Side.SQLITE

    def __init__(self, path: Path, *, busy_timeout_ms: int) -> None:
        self.path = path
        self.watch = FileWatch(path)
        self.watch.begin()
        self.connection = open_sqlite(path, busy_timeout_ms=busy_timeout_ms)
        self.bulletin = Bulletin(path)
        self._busy_timeout_ms = busy_timeout_ms
        self._turn = turn_at(path)
        self._deadline: float | None = None
        self.mends = True  # whether `mend_log` may take the write lock

    def renew(self) -> None:
        """Open the file anew. After a `schema_version` that was set back a connection believes in objects that are gone."""
        former, self.connection = self.connection, self.another()
        former.close()

    def another(self) -> sqlite3.Connection:
        """A connection beside this store's own, for one more thread. The caller closes it."""
        return open_sqlite(self.path, busy_timeout_ms=self._busy_timeout_ms)

    def finish_by(self, until: float | None) -> None:
        """Wait for the write lock no longer than to this moment of `time.monotonic`; None: as usual."""
        self._deadline = until

    @contextmanager
    def source(self, after: str | None = None, mark: str | None = None) -> Iterator[SqliteSource]:
        self.watch.check()
        self.connection.execute("BEGIN")
        try:
            yield SqliteSource(self.connection)
        finally:
            self.connection.rollback()  # nothing where a damaged file or a full disk has ended it

    @contextmanager
    def target(self, *, durable: bool = False, careful: bool = False) -> Iterator[SqliteTarget]:
        """The applier's transaction; every commit is as durable as the file's journal mode makes it."""
        with self.write() as connection, applying_sqlite(connection):
            yield SqliteTarget(connection, self.reader, careful=careful)

    def reader(self, connection: sqlite3.Connection | None = None) -> SqliteSource:
        return SqliteSource(connection or self.connection)

    def writer(self) -> SqliteTarget:
        return SqliteTarget(self.connection, self.reader)

    def in_flight(self, connection: sqlite3.Connection) -> InFlight:
        """What the connection sees beyond what is committed; the token is its last log entry."""
        rows = connection.execute(
            "SELECT tbl, k, max(seq) FROM st_change_log WHERE seq > ? GROUP BY tbl, k", (int(self.log_end()),)
        ).fetchall()
        return InFlight.of((row[:2] for row in rows), str(max((row[2] for row in rows), default=0)))

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction under the write lock: committed on a normal exit, else rolled back.

        Raises:
            FileReplaced: the path leads to another file than the one that is open.
        """
        self.watch.check()
        patience = self._busy_timeout_ms
        if self._deadline is not None:
            patience = max(0, min(patience, int((self._deadline - time.monotonic()) * 1000)))
        self._turn.begin(self.connection, patience)
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
        """SQLite's control row.

        Raises:
            FileReplaced: the path leads to another file than the one that is open. Whoever opens that one may
                cut the memory that both files' connections share, and reading it then ends the process.
            NotPrepared: there is no such row.
        """
        self.watch.check()
        return sqlite_control(self.connection)

    def read_primary(self) -> Side:
        """Who is primary by that row, for a question that comes with every round. Raises the same."""
        self.watch.check()
        try:
            return sqlite_primary(self.connection)
        except (sqlite3.OperationalError, TypeError):  # the whole row is asked, to say what is wrong
            return sqlite_control(self.connection).primary

    def read_position(self) -> str:
        return self.read_watermark()[0]

    def read_watermark(self) -> tuple[str, float]:
        row = self.connection.execute("SELECT position, applied_at FROM st_watermark WHERE id = 1").fetchone()
        if row is None:
            raise NotPrepared("the SQLite file carries no watermark", hint="run st-migrate prepare")
        return str(row[0]), row[1] or 0.0

    def read_mark(self) -> str | None:
        if not marks_copies(self.connection):
            return None
        row = self.connection.execute("SELECT mark FROM st_watermark WHERE id = 1").fetchone()
        return None if row is None else row[0]

    def log_end(self) -> str:
        return str(log_end(self.connection))

    def log_tip(self) -> str:
        """The highest number in use, see the function."""
        return str(log_tip(self.connection))

    def mend_log(self) -> str:
        """Count entries that a statement left uncounted, so that their numbers are not given out again.

        A position beyond the count would cover the entries that get those numbers once these are trimmed.
        Returns the highest number in use.
        """
        counted, newest = log_numbers(self.connection)
        if newest <= counted or not self.mends:
            return str(max(counted, newest))
        with self.write() as connection:
            tip = log_tip(connection)
            if not connection.execute(
                "UPDATE sqlite_sequence SET seq = ? WHERE name = 'st_change_log'", (tip,)
            ).rowcount:
                connection.execute(
                    "INSERT INTO sqlite_sequence (name, seq) VALUES ('st_change_log', ?)", (tip,)
                )
        return str(tip)

    def trim(self, covered_by: Sequence[str], limit: int) -> int:
        """Delete at most `limit` log entries that all these positions cover. Returns how many went.

        The newest of them stays: it tells this file from an older copy, see `SqliteSource.require_mark`.
        How far it went is remembered: it tells an older copy of PostgreSQL, see `SqliteSource.require_mark`.
        """
        with self.write() as connection:
            (last,) = connection.execute(
                "SELECT max(seq) FROM (SELECT seq FROM st_change_log WHERE seq < "
                "(SELECT max(seq) FROM st_change_log WHERE seq <= ?) ORDER BY seq LIMIT ?)",
                (min(map(int, covered_by)), limit),
            ).fetchone()
            if last is None:
                return 0
            if marks_copies(connection):
                connection.execute("UPDATE st_watermark SET trimmed = ? WHERE id = 1", (last,))
            return connection.execute("DELETE FROM st_change_log WHERE seq <= ?", (last,)).rowcount

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
        self.bulletin.close()
