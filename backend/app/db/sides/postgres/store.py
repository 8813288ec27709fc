"""The PostgreSQL side of the pair.

As shadow: one row lock (`st_watermark`) is the applier's lock, and it is taken before the primary is read.
The control row is read after the lock was granted, so a round that waited behind a promotion sees the
promotion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from psycopg import errors as pg_errors
from sqlalchemy import URL

from app.db.common.errors import NotPrepared, ShadowUnavailable
from app.db.common.settings import ShimSettings
from app.db.common.urls import Side
from app.db.sides.contract import START, InFlight
from app.db.sides.control import Control, control_from_row, postgres_control
from app.db.sides.postgres.connection import BoundedConnection, Connection, give_up, open_postgres
from app.db.sides.postgres.forms import begin_patiently, why_read_only
from app.db.sides.postgres.source import PostgresSource
from app.db.sides.postgres.target import PostgresTarget

# The mark of the newest entry that was applied, and whether this pair keeps marks at all.
_MARK = b"SELECT to_jsonb(w) ->> 'mark', to_jsonb(w) ? 'mark' FROM st_watermark w WHERE id = 1"


class PostgresStore:
    """The PostgreSQL side, through one connection that is made anew when it was lost."""

    side = Side.POSTGRES

    def __init__(self, url: URL, settings: ShimSettings, *, application_name: str = "st-shim") -> None:
        self._url = url
        self._settings = settings
        self._name = application_name
        self._connection: BoundedConnection | None = None
        self._patience: float | None = None
        self._deadline: float | None = None

    @property
    def connection(self) -> Connection:
        """The connection, opened if it is not.

        Raises:
            ShadowUnavailable, ConfigurationError: see `open_postgres`.
        """
        if self._connection is None or self._connection.closed or self._connection.broken:
            self._connection = open_postgres(self._url, self._settings, application_name=self._name)
            self._connection.patience, self._connection.deadline = self._patience, self._deadline
        return self._connection

    def another(self) -> PostgresStore:
        """The same side through a connection of its own, which the caller closes."""
        return PostgresStore(self._url, self._settings, application_name=self._name)

    def limit_silence(self, seconds: float | None) -> None:
        """Give the connection up when a statement has no answer for so long; None: wait for ever."""
        self._patience = seconds
        if self._connection is not None:
            self._connection.patience = seconds

    def finish_by(self, until: float | None) -> None:
        """Give the connection up when a statement has no answer by this moment of `time.monotonic`."""
        self._deadline = until
        if self._connection is not None:
            self._connection.deadline = until

    @contextmanager
    def source(self, after: str | None = None, mark: str | None = None) -> Iterator[PostgresSource]:
        connection = self.connection
        try:
            yield PostgresSource.begin(connection, self._settings, after, mark)
        except BaseException:
            give_up(connection)
            raise
        connection.execute("ROLLBACK")

    @contextmanager
    def target(self, *, durable: bool = False, careful: bool = False) -> Iterator[PostgresTarget]:
        """The applier's transaction.

        Args:
            durable: wait for the disk at commit. Otherwise a crash of the server may undo the last rounds
                together with the watermark that covers them. The log still has these rounds.
            careful: see `PostgresTarget`.
        """
        connection = self.connection
        try:
            with ExitStack() as burst:
                target = self._locked(connection, durable, careful)
                target.stack = burst
                yield target
                connection.execute("COMMIT")
        except BaseException:
            give_up(connection)
            raise

    def begin(self) -> None:
        """What a transaction that was opened on the connection otherwise has to begin with."""
        begin_patiently(self.connection, self._settings)

    def _locked(self, connection: Connection, durable: bool, careful: bool) -> PostgresTarget:
        try:
            with connection.pipeline():
                connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
                begin_patiently(connection, self._settings)
                cursor = connection.execute("SELECT * FROM st_open_round(%s)", (durable,))
                marked = connection.execute(_MARK)
            row, mark = cursor.fetchone(), marked.fetchone()
        except pg_errors.UndefinedFunction:
            row = mark = None
        except pg_errors.ReadOnlySqlTransaction:
            give_up(connection)
            if (why := why_read_only(connection)) is None:
                raise
            raise ShadowUnavailable(why[0], hint=why[1]) from None
        if row is None or mark is None:
            raise NotPrepared("the PostgreSQL database carries no control row", hint="run st-migrate prepare")
        position, quarantined, announced, *control = row
        target = self.writer(
            control_from_row(control),
            position=position,
            quarantined=quarantined,
            announced=announced,
            careful=careful,
        )
        target.mark, target.marks = mark
        return target

    def reader(self, connection: Connection | None = None) -> PostgresSource:
        return PostgresSource(connection or self.connection)

    def writer(
        self,
        control: Control | None = None,
        *,
        position: str = "",
        quarantined: bool = False,
        announced: bool = False,
        careful: bool = False,
    ) -> PostgresTarget:
        """Writes within the transaction that the store's connection is in; the caller has the right to.

        Args:
            control: the control row, if it has been read.
            position: the watermark, if it is known.
            quarantined, announced: whether rows may stand in quarantine or announced.
            careful: see `PostgresTarget`.
        """
        connection = self.connection
        if careful:  # a deferred constraint would refuse the commit, and nobody would know for which row
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        return PostgresTarget(
            connection,
            position,
            control or postgres_control(connection),
            quarantined=quarantined,
            announced=announced,
            careful=careful,
        )

    def in_flight(self, connection: Connection) -> InFlight:
        """What the transaction has logged; the token is its id."""
        rows = connection.execute(
            "SELECT DISTINCT tbl, k, xid::text FROM st_change_log WHERE xid = pg_current_xact_id_if_assigned()"
        ).fetchall()
        return InFlight.of((row[:2] for row in rows), rows[0][2] if rows else "")

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: committed on a normal exit, else rolled back."""
        with self.connection.transaction():
            begin_patiently(self.connection, self._settings)
            yield self.connection

    def read_control(self) -> Control:
        return postgres_control(self.connection)

    def read_position(self) -> str:
        return self.read_watermark()[0]

    def read_watermark(self) -> tuple[str, float]:
        row = self.connection.execute("SELECT position, applied_at FROM st_watermark WHERE id = 1").fetchone()
        if row is None:
            raise NotPrepared("the PostgreSQL database carries no watermark", hint="run st-migrate prepare")
        return str(row[0]), row[1] or 0.0

    def read_mark(self) -> str | None:
        """The mark of the newest entry that was applied. None if it is not known."""
        row = self.connection.execute(_MARK).fetchone()
        return None if row is None else row[0]

    def log_end(self) -> str:
        row = self.connection.execute("SELECT pg_current_snapshot()::text").fetchone()
        assert row is not None
        return str(row[0])

    def mend_log(self) -> None:
        """A sequence gives no number twice, and snapshots have no order."""

    def trim(self, covered_by: Sequence[str], limit: int) -> int:
        """Delete at most `limit` log entries that all these positions cover. Returns how many went.

        The newest of them stays: it tells this database from an older copy, see `PostgresSource.require_mark`.
        """
        if START in covered_by:
            return 0
        covered = " AND ".join(["pg_visible_in_snapshot(l.xid, %s::pg_snapshot)"] * len(covered_by))
        return self.connection.execute(
            f"WITH newest AS (SELECT l.seq FROM st_change_log l WHERE {covered} ORDER BY l.seq DESC LIMIT 1) "
            "DELETE FROM st_change_log WHERE seq IN (SELECT l.seq FROM st_change_log l, newest n "
            f"WHERE l.seq < n.seq AND {covered} LIMIT %s)".encode(),
            (*covered_by, *covered_by, limit),
        ).rowcount

    def log_size(self, limit: int) -> int:
        """Log entries, counted up to a limit."""
        row = self.connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM st_change_log LIMIT %s) AS entries", (limit,)
        ).fetchone()
        return int(row[0]) if row else 0

    def has_changes(self, after: str) -> bool:
        """Whether the log holds anything beyond a position."""
        return (
            self.connection.execute(
                f"SELECT 1 FROM st_change_log WHERE {PostgresSource.NEW} LIMIT 1".encode(),
                PostgresSource.parameters(after),
            ).fetchone()
            is not None
        )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
