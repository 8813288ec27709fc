"""PostgreSQL as shadow and as primary.

As shadow: one row lock (`st_watermark`) is the applier's lock; it is taken before the primary is read,
and the control row is read after it was granted, so a round that waited behind a promotion sees it.
As primary: sequence numbers are not commit order, so a position is a `pg_snapshot`: the changes of every
transaction that it can see have been applied. The next round takes what is visible now and was not
visible then, whatever the order of sequence numbers, and no long transaction holds it back.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import psycopg
from psycopg import errors as pg_errors
from psycopg import pq
from sqlalchemy import URL

from app.db.canonical import Kind, encode, encode_column
from app.db.catalog import Column, Table, quote, quote_with_parameters
from app.db.errors import ConfigurationError, NotPrepared, ShadowUnavailable, UnsupportedValue
from app.db.policy import encode_cell
from app.db.quarantine import Rejected, content_of, join_key, key_part
from app.db.settings import Pooler, ShimSettings
from app.db.store import START, Backlog, Control, RawKey, Row
from app.db.store_sqlite import FETCH, control_from_row, split_key
from app.db.urls import Side, connect_arguments, shown

Connection = psycopg.Connection[Any]

COPY_FROM = 500  # rows from which COPY is faster than one INSERT with array parameters
_CONTROL = (
    "SELECT pair, primary_side, epoch, phase, writable, paused, attempt, attempt_state, attempt_deadline, note "
    "FROM st_control WHERE id = 1"
)
_RETRYABLE = (
    pg_errors.OperationalError,
    pg_errors.InterfaceError,
    pg_errors.ReadOnlySqlTransaction,
    pg_errors.QueryCanceled,
    pg_errors.LockNotAvailable,
    pg_errors.SerializationFailure,
    pg_errors.DeadlockDetected,
    pg_errors.DiskFull,
)
# What the server answers to a single row that it cannot hold; the last is a text too long for an index.
ROW_ERRORS = (pg_errors.DataError, pg_errors.IntegrityError, pg_errors.ProgramLimitExceeded)
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def open_postgres(url: URL, settings: ShimSettings, *, application_name: str) -> Connection:
    """Connect in autocommit mode, marked as ours, with a UTC session and limits on waiting.

    Raises:
        ShadowUnavailable: the server cannot be reached now.
        ConfigurationError: it can, and says no (user, password, database).
    """
    arguments = connect_arguments(url)
    arguments.setdefault("connect_timeout", settings.pg_connect_timeout_s)
    arguments.setdefault("application_name", application_name)
    if settings.pg_pooler is Pooler.NONE:
        ours = (
            f"-c TimeZone=UTC -c DateStyle=ISO -c extra_float_digits=1 "
            f"-c lock_timeout={settings.pg_lock_timeout_ms} -c idle_in_transaction_session_timeout=60000"
        )
        arguments["options"] = f"{arguments.get('options', '')} {ours}".strip()
    else:
        arguments["prepare_threshold"] = None
    try:
        return psycopg.connect(autocommit=True, **arguments)
    except psycopg.OperationalError as error:
        text = str(error).strip().splitlines()[-1]
        state = error.sqlstate or ""
        if state.startswith(("28", "3D")) or "authentication failed" in text or "does not exist" in text:
            raise ConfigurationError(
                f"{shown(url)} refuses the connection: {text}", hint="check user, password and database name"
            ) from None
        raise ShadowUnavailable(
            f"{shown(url)} cannot be reached: {text}", hint="start PostgreSQL or check host and port"
        ) from None


def is_retryable(error: BaseException) -> bool:
    """Whether waiting may mend an error, by SQLSTATE class, never by its text."""
    return isinstance(error, (*_RETRYABLE, ShadowUnavailable)) and not isinstance(error, ROW_ERRORS)


def postgres_control(connection: Connection, *, lock: bool = False) -> Control:
    """The control row of the PostgreSQL side, optionally locked for the rest of the transaction.

    Raises:
        NotPrepared: there is none.
    """
    try:
        row = connection.execute(_CONTROL + (" FOR UPDATE" if lock else "")).fetchone()
    except (pg_errors.UndefinedTable, pg_errors.InvalidSchemaName):
        row = None
    if row is None:
        raise NotPrepared("the PostgreSQL database carries no control row", hint="run st-migrate prepare")
    return control_from_row(row)


def copy_text(columns: Sequence[Sequence[str | None]]) -> str:
    """Rows of canonical columns in COPY's text format."""
    escaped = [_escaped(column) for column in columns]
    return "\n".join(map("\t".join, zip(*escaped, strict=True))) + "\n"


def _escaped(column: Sequence[str | None]) -> Sequence[str]:
    if None in column:
        return ["\\N" if text is None else text.translate(_ESCAPES) for text in column]
    joined = "".join(column)  # type: ignore[arg-type]  # no None in it, as just seen
    if any(mark in joined for mark in "\\\t\n\r"):
        return [text.translate(_ESCAPES) for text in column]  # type: ignore[union-attr]
    return column  # type: ignore[return-value]


def encode_rows(table: Table, rows: Sequence[Row]) -> tuple[list[Sequence[str | None]], list[Rejected]]:
    """Rows as SQLite holds them, as canonical columns; those that have no canonical form come apart.

    Returns:
        The columns of the good rows, and the refused rows.
    """
    columns = list(zip(*rows, strict=True))
    encoded: list[Sequence[str | None]] = []
    refused: dict[int, UnsupportedValue] = {}
    for column, values in zip(table.columns, columns, strict=True):
        texts = encode_column(column.kind, values)
        if texts is None:
            texts = []
            for n, value in enumerate(values):
                try:
                    texts.append(encode_cell(table, column, value))
                except UnsupportedValue as error:
                    refused.setdefault(n, error)
                    texts.append(None)
        if not column.nullable and None in texts:
            for n, text in enumerate(texts):
                if text is None:
                    refused.setdefault(n, UnsupportedValue(column.name, "NULL in a column that takes none"))
        encoded.append(texts)
    if not refused:
        return encoded, []
    rejected = [Rejected(table, rows[n], error.column, error.reason) for n, error in sorted(refused.items())]
    return [[text for n, text in enumerate(column) if n not in refused] for column in encoded], rejected


class PostgresTarget:
    """One transaction of the applier on PostgreSQL, or of the backfill.

    Args:
        careful: write every row under its own savepoint, so that a row which only the server can tell
            is bad (a check, a value out of range) is quarantined instead of failing the round. Slow;
            used to repeat a round that failed.
    """

    def __init__(
        self,
        connection: Connection,
        position: str,
        control: Control,
        *,
        quarantined: bool,
        careful: bool,
        announced: bool = True,
    ) -> None:
        self._announced = announced
        self.connection = connection
        self.control = control
        self.position = position
        self._quarantined = quarantined
        self.careful = careful

    def burst(self, entries: int) -> AbstractContextManager[object]:
        """Send a small round's statements in one go; a large one uses COPY, which cannot be pipelined."""
        return self.connection.pipeline() if entries < COPY_FROM and not self.careful else nullcontext()

    def announced(self) -> list[tuple[str, RawKey, str]]:
        if not self._announced:
            return []
        return self.connection.execute("SELECT tbl, k, token FROM st_pending").fetchall()

    def clear(self, table: Table) -> None:
        self.connection.execute(f"DELETE FROM {quote(table.name)}".encode())
        if self._quarantined:
            self.connection.execute("DELETE FROM st_quarantine WHERE tbl = %s", (table.name,))

    def delete(self, table: Table, keys: Sequence[RawKey]) -> None:
        known = [parts for key in keys if (parts := canonical_parts(table, key)) is not None]
        self._delete(table, known)
        self._release(table, keys)

    def _delete(self, table: Table, keys: Sequence[Sequence[str | None]]) -> None:
        if keys:
            self.connection.execute(
                statements(table).delete, [array_text(column) for column in zip(*keys, strict=True)]
            )

    def _release(self, table: Table, keys: Sequence[RawKey]) -> None:
        """What was quarantined under these keys is judged anew."""
        if self._quarantined:
            self.connection.execute(
                "DELETE FROM st_quarantine WHERE tbl = %s AND k = ANY(%s::text[])",
                (table.name, [_key_text(table, key) for key in keys]),
            )

    def replace(self, table: Table, keys: Sequence[RawKey], rows: list[Row]) -> int:
        """Bring a few keys to the rows given: update or insert those, delete the keys that have none.

        Rows that swap unique values collide here; the round is then repeated carefully, deletes first.
        """
        if self.careful:
            self.delete(table, keys)
            return self.insert(table, [rows] if rows else [])
        self._release(table, keys)
        columns, rejected = encode_rows(table, rows) if rows else ([], [])
        present = set(zip(*(columns[n] for n in table.key_positions), strict=True)) if rows else set()
        parts = (canonical_parts(table, key) for key in keys)
        self._delete(table, [key for key in parts if key is not None and key not in present])
        if present:
            self.connection.execute(statements(table).upsert, list(map(array_text, columns)))
        self.quarantine(rejected)
        return len(rejected)

    def insert(self, table: Table, rows: Iterable[list[Row]]) -> int:
        refused = 0
        for batch in rows:
            columns, rejected = encode_rows(table, batch)
            if rejected:
                self.quarantine(rejected)
                refused += len(rejected)
                gone = {id(item.row) for item in rejected}
                batch = [row for row in batch if id(row) not in gone]
            if self.careful:
                refused += self._one_by_one(table, batch)
            elif batch:
                self._put(table, columns)
        return refused

    def _one_by_one(self, table: Table, rows: list[Row]) -> int:
        """Write rows each under a savepoint, and quarantine those that the server itself refuses."""
        refused: list[Rejected] = []
        for row in rows:
            columns, _ = encode_rows(table, [row])
            try:
                with self.connection.transaction():
                    self._put(table, columns)
            except pg_errors.ForeignKeyViolation:
                raise  # not the row's fault: the shadow is not what apply may assume
            except ROW_ERRORS as error:
                if isinstance(error, pg_errors.UniqueViolation) and _shares_keys(table):
                    raise
                column = error.diag.column_name or error.diag.constraint_name or ""
                refused.append(Rejected(table, row, column, _server_reason(error)))
        self.quarantine(refused)
        return len(refused)

    def _put(self, table: Table, columns: list[Sequence[str | None]]) -> None:
        if len(columns[0]) >= COPY_FROM and self._may_copy():
            names = ", ".join(quote(column.name) for column in table.columns)
            with self.connection.cursor().copy(
                f"COPY {quote(table.name)} ({names}) FROM STDIN".encode()
            ) as copy:
                copy.write(copy_text(columns))
            return
        self.connection.execute(statements(table).insert, list(map(array_text, columns)))

    def _may_copy(self) -> bool:
        """Not within a pipeline: one log entry may stand for a whole table, so a small round can be large."""
        return self.connection.pgconn.pipeline_status == pq.PipelineStatus.OFF

    def quarantine(self, rejected: Sequence[Rejected]) -> None:
        """Keep refused rows with their exact content and the reason; they block the cutover."""
        for item in rejected:
            self.connection.execute(
                "INSERT INTO st_quarantine (tbl, k, col, reason, content, at) VALUES (%s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (tbl, k) DO UPDATE SET col = excluded.col, reason = excluded.reason, "
                "content = excluded.content, at = excluded.at, accepted_by = NULL, accepted_at = NULL",
                (item.table.name, item.key_text(), item.column, item.reason, content_of(item), time.time()),
            )
            self._quarantined = True

    def forget_announced(self, keys: dict[str, list[RawKey]]) -> None:
        for table, of_table in keys.items():
            self.connection.execute(
                "DELETE FROM st_pending WHERE tbl = %s AND k = ANY(%s::text[])", (table, of_table)
            )

    def announce(self, table: Table, keys: Sequence[RawKey], token: str) -> None:
        """Remember keys that strict mode writes here before the primary commits them."""
        self.connection.execute(
            "INSERT INTO st_pending (tbl, k, token) SELECT %s, k, %s FROM unnest(%s::text[]) AS k "
            "ON CONFLICT (tbl, k) DO UPDATE SET token = excluded.token",
            (table.name, token, [str(key) for key in keys]),
        )

    def advance(self, position: str, changes: int) -> None:
        self.connection.execute(
            "UPDATE st_watermark SET position = %s, changes = changes + %s, applied_at = %s WHERE id = 1",
            (position, changes, time.time()),
        )


def canonical_parts(table: Table, key: RawKey) -> tuple[str | None, ...] | None:
    """A logged key in canonical form; None if it has none, so that PostgreSQL cannot hold its row."""
    try:
        return tuple(
            encode(column.kind, _number(column, value), column.name)
            for column, value in zip(table.key, split_key(table, key), strict=True)
        )
    except UnsupportedValue:
        return None


def _number(column: Column, value: Any) -> Any:
    """An integer of a key that was stored as text, as strict mode's announcements are."""
    if column.kind is Kind.INTEGER and type(value) is str and value.lstrip("-").isdecimal():
        return int(value)
    return value


def _key_text(table: Table, key: RawKey) -> str:
    """A logged key as quarantine stores it."""
    parts = split_key(table, key)
    return join_key([key_part(c, _number(c, value)) for c, value in zip(table.key, parts, strict=True)])


def _shares_keys(table: Table) -> bool:
    """Whether two rows of SQLite may have one key here: only a uuid has several spellings."""
    return any(column.kind is Kind.UUID for column in table.key)


def _server_reason(error: psycopg.Error) -> str:
    detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
    return f"PostgreSQL: {error.diag.message_primary}{detail}"[:500]


def array_text(column: Sequence[str | None]) -> str:
    """A column of texts as PostgreSQL spells an array; much cheaper than the driver's array parameters."""
    return "{" + ",".join("NULL" if text is None else _array_item(text) for text in column) + "}"


def _array_item(text: str) -> str:
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


@dataclass(frozen=True)
class Statements:
    """One table's statements with array parameters."""

    delete: bytes
    insert: bytes
    upsert: bytes


@cache
def statements(table: Table) -> Statements:
    """The statements of a table, made once."""
    name = quote_with_parameters(table.name)
    match = " AND ".join(
        f"t.{quote_with_parameters(c.name)} = u.c{n}::{c.cast}" for n, c in enumerate(table.key)
    )
    names = [quote_with_parameters(column.name) for column in table.columns]
    fields = ", ".join(f"u.c{n}::{column.cast}" for n, column in enumerate(table.columns))
    insert = (
        f"INSERT INTO {name} ({', '.join(names)}) OVERRIDING SYSTEM VALUE "
        f"SELECT {fields} FROM {_unnested(len(names))}"
    )
    key = ", ".join(quote_with_parameters(column) for column in table.key_names)
    others = ", ".join(
        f"{quote_with_parameters(c.name)} = excluded.{quote_with_parameters(c.name)}"
        for c in table.columns
        if c not in table.key
    )
    action = f"DO UPDATE SET {others}" if others else "DO NOTHING"
    return Statements(
        delete=f"DELETE FROM {name} AS t USING {_unnested(len(table.key))} WHERE {match}".encode(),
        insert=insert.encode(),
        upsert=f"{insert} ON CONFLICT ({key}) {action}".encode(),
    )


def _unnested(columns: int) -> str:
    """Array parameters as a row source `u` with columns c0, c1, ..."""
    arrays = ", ".join(["%s::text[]"] * columns)
    return f"unnest({arrays}) AS u({', '.join(f'c{n}' for n in range(columns))})"


class PostgresSource:
    """One read transaction (REPEATABLE READ) on PostgreSQL."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.control = postgres_control(connection)

    # What a round after snapshot %(after)s has to look at; the first comparison can use the index.
    NEW = "(%(after)s = '0' OR xid >= pg_snapshot_xmin(%(snap)s::pg_snapshot) AND NOT pg_visible_in_snapshot(xid, %(snap)s::pg_snapshot))"

    @staticmethod
    def parameters(after: str, **more: Any) -> dict[str, Any]:
        return {"after": after, "snap": None if after == START else after, **more}

    def backlog(self, after: str) -> Backlog:
        rows = self._connection.execute(
            f"SELECT tbl, count(*), min(at) FROM st_change_log WHERE {self.NEW} GROUP BY tbl".encode(),
            self.parameters(after),
        ).fetchall()
        if not rows:
            self._check_not_older(after)
            return Backlog(after, {}, None)
        snapshot = self._connection.execute("SELECT pg_current_snapshot()::text").fetchone()
        assert snapshot is not None
        return Backlog(snapshot[0], {row[0]: row[1] for row in rows}, min(row[2] for row in rows))

    def _check_not_older(self, after: str) -> None:
        row = self._connection.execute(
            "SELECT pg_snapshot_xmax(%s::pg_snapshot) > pg_snapshot_xmax(pg_current_snapshot())",
            (None if after == START else after,),
        ).fetchone()
        if row is not None and row[0]:
            raise NotPrepared(
                "PostgreSQL is older than what has been applied from it: a backup was put back",
                hint="decide which side is right, then st-migrate abort on it, prepare and backfill anew",
            )

    def changed_keys(self, table: Table, after: str) -> Iterator[list[RawKey]]:
        keys = self._stream(
            f"SELECT DISTINCT k FROM st_change_log WHERE {self.NEW} AND tbl = %(tbl)s",
            self.parameters(after, tbl=table.name),
        )
        integer = table.integer_key
        for rows in keys:
            yield [int(row[0]) if integer and row[0] is not None else row[0] for row in rows]

    def changed_rows(self, table: Table, after: str) -> Iterator[list[Row]]:
        names = ", ".join(map(quote_with_parameters, table.key_names))
        yield from self._stream(
            f"{select_list(table)} WHERE ({names}) IN (SELECT {logged_key_fields(table)} FROM st_change_log "
            f"WHERE {self.NEW} AND tbl = %(tbl)s AND k IS NOT NULL)",
            self.parameters(after, tbl=table.name),
        )

    def rows_of(self, table: Table, keys: Sequence[RawKey]) -> list[Row]:
        known = (canonical_parts(table, key) for key in keys)
        return rows_by_key(self._connection, table, [parts for parts in known if parts is not None])

    def has_ended(self, token: str) -> bool:
        """A token is a transaction id; what the snapshot can judge has committed or rolled back."""
        row = self._connection.execute(
            "SELECT pg_visible_in_snapshot(%s::xid8, pg_current_snapshot())", (token,)
        ).fetchone()
        return row is not None and bool(row[0])

    def announced_keys(self) -> dict[str, set[str]]:
        keys: dict[str, set[str]] = {}
        for table, key in self._connection.execute("SELECT tbl, k FROM st_pending").fetchall():
            keys.setdefault(table, set()).add(str(key))
        return keys

    def all_rows(self, table: Table) -> Iterator[list[Row]]:
        yield from self._stream(select_list(table), {})

    def _stream(self, statement: str, parameters: dict[str, Any]) -> Iterator[list[Row]]:
        with self._connection.cursor() as cursor:
            rows: list[Row] = []
            for row in cursor.stream(statement.encode(), parameters):
                rows.append(row)
                if len(rows) == FETCH:
                    yield rows
                    rows = []
            if rows:
                yield rows


def logged_key_fields(table: Table) -> str:
    """A key logged on PostgreSQL taken apart into its typed columns."""
    if len(table.key) == 1:
        return f"k::{table.key[0].cast}"
    return ", ".join(f"(k::jsonb ->> {n})::{column.cast}" for n, column in enumerate(table.key))


def select_list(table: Table) -> str:
    """SELECT of all columns in the form that `canonical.to_sqlite` takes: the time kinds as text.

    For execution with parameters, be there none: percent signs in names are doubled.
    """
    as_text = (Kind.TIMESTAMP, Kind.DATE, Kind.TIME, Kind.NUMERIC, Kind.UUID)
    fields = ", ".join(
        f"{quote_with_parameters(column.name)}::text"
        if column.kind in as_text or column.cast == "json"
        else quote_with_parameters(column.name)
        for column in table.columns
    )
    return f"SELECT {fields} FROM {quote_with_parameters(table.name)}"


def rows_by_key(connection: Connection, table: Table, keys: Sequence[tuple[Any, ...]]) -> list[Row]:
    """The rows of some keys, in no particular order; keys hold one value per key column."""
    if not keys:
        return []
    columns = [[None if v is None else str(v) for v in column] for column in zip(*keys, strict=True)]
    arrays = ", ".join(["%s::text[]"] * len(table.key))
    aliases = ", ".join(f"c{n}" for n in range(len(table.key)))
    typed = ", ".join(f"c{n}::{column.cast}" for n, column in enumerate(table.key))
    names = ", ".join(map(quote_with_parameters, table.key_names))
    return connection.execute(
        f"{select_list(table)} WHERE ({names}) IN (SELECT {typed} FROM unnest({arrays}) AS u({aliases}))".encode(),
        columns,
    ).fetchall()


class PostgresStore:
    """The PostgreSQL side, through one connection that is made anew when it was lost."""

    side = Side.POSTGRES

    def __init__(self, url: URL, settings: ShimSettings, *, application_name: str = "st-shim") -> None:
        self._url = url
        self._settings = settings
        self._name = application_name
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """The connection, opened if it is not.

        Raises:
            ShadowUnavailable, ConfigurationError: see `open_postgres`.
        """
        if self._connection is None or self._connection.closed or self._connection.broken:
            self._connection = open_postgres(self._url, self._settings, application_name=self._name)
        return self._connection

    @contextmanager
    def source(self) -> Iterator[PostgresSource]:
        connection = self.connection
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            yield PostgresSource(connection)
        finally:
            if not connection.broken:
                connection.execute("ROLLBACK")

    @contextmanager
    def target(self, *, durable: bool = False, careful: bool = False) -> Iterator[PostgresTarget]:
        """The applier's transaction.

        Args:
            durable: wait for the disk at commit. Otherwise a crash of the server may undo the last
                rounds together with the watermark that covers them, and the log still has them.
            careful: see `PostgresTarget`.
        """
        connection = self.connection
        try:
            yield self._locked(connection, durable, careful)
            connection.execute("COMMIT")
        except BaseException:
            if not connection.broken and not connection.closed:
                connection.execute("ROLLBACK")
            raise

    @staticmethod
    def _locked(connection: Connection, durable: bool, careful: bool) -> PostgresTarget:
        try:
            with connection.pipeline():
                connection.execute("BEGIN")
                cursor = connection.execute("SELECT * FROM st_open_round(%s)", (durable,))
            row = cursor.fetchone()
        except pg_errors.UndefinedFunction:
            row = None
        if row is None:
            raise NotPrepared("the PostgreSQL database carries no control row", hint="run st-migrate prepare")
        position, quarantined, announced, *control = row
        return PostgresTarget(
            connection,
            position,
            control_from_row(control),
            quarantined=quarantined,
            careful=careful,
            announced=announced,
        )

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: committed on a normal exit, else rolled back."""
        with self.connection.transaction():
            yield self.connection

    def read_control(self) -> Control:
        return postgres_control(self.connection)

    def read_position(self) -> str:
        row = self.connection.execute("SELECT position FROM st_watermark WHERE id = 1").fetchone()
        if row is None:
            raise NotPrepared("the PostgreSQL database carries no watermark", hint="run st-migrate prepare")
        return str(row[0])

    def log_end(self) -> str:
        row = self.connection.execute("SELECT pg_current_snapshot()::text").fetchone()
        assert row is not None
        return str(row[0])

    def trim(self, covered_by: Sequence[str], limit: int) -> int:
        """Delete at most `limit` log entries that all these positions cover; returns how many went."""
        if START in covered_by:
            return 0
        covered = " AND ".join(["pg_visible_in_snapshot(xid, %s::pg_snapshot)"] * len(covered_by))
        return self.connection.execute(
            f"DELETE FROM st_change_log WHERE seq IN (SELECT seq FROM st_change_log WHERE {covered} LIMIT %s)".encode(),
            (*covered_by, limit),
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
