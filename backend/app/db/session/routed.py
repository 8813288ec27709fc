"""Sessions: the only place where they are made, and where each is routed, admitted and waited for.

    read  -> the side that is primary when the transaction begins; the control row is read once, there
    first write -> admit: on the primary's own connection take what blocks a fence (SQLite: the write
                   lock, PostgreSQL: the shared writers' lock) and look at the fence; if it is up, let go,
                   wait at the fence, and try again wherever the primary is then
    commit -> on the primary; then, in sync mode, wait until the shadow has it

So a transaction that has only read may begin on one side and write on the other. At the moment of a switch
both hold the same. With no shadow configured `SessionLocal` makes plain SQLAlchemy sessions.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from typing import Any

from psycopg import Rollback
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction, sessionmaker

from app.db.common.deadline import at_most, serving
from app.db.common.failpoints import Failpoint, failpoint
from app.db.common.settings import DualWrite
from app.db.common.settings import ShadowReads as ShadowReadMode
from app.db.common.urls import Side
from app.db.session.at_start import begin_with_first_session
from app.db.session.engines import begin_in_turn, commits_each, is_write, named_by_sqlalchemy
from app.db.session.runtime import Runtime, runtime
from app.db.sides.control import sqlite_takes_writes

_LIMIT_POSTGRES = b"SELECT set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true)"
_FLUSHES = 100  # a listener may add to each; SQLAlchemy itself gives up after as many
_ADMIT_POSTGRES = "SELECT st_may_write()"


class RoutedSession(Session):
    """A session of a pair of databases.

    Args:
        elsewhere: it is bound to another database, or to a connection, and is left alone.
    """

    def __init__(self, *arguments: Any, pair: Runtime, elsewhere: bool = False, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if not elsewhere:
            pair.check_fork()
        self._pair = pair
        self._elsewhere = elsewhere
        self._side: Side | None = None
        self._prepared = False
        self._admitted = False
        self._handed_out = False  # the connection, to a caller whose statements no event of a session sees
        self._wrote = False
        self._compare_reads = pair.settings.shadow_reads is ShadowReadMode.COMPARE
        if pair.settings.dual_write is DualWrite.STRICT:
            # A session's own listeners come after those of its class: an application's may still write.
            event.listen(self, "before_commit", _about_to_commit)

    def get_bind(self, mapper: Any = None, **options: Any) -> Engine | Connection:
        """The engine of the primary; the same one for the whole transaction unless a write had to move."""
        if self._elsewhere:
            return super().get_bind(mapper, **options)
        return self._pair.engine(self._side or self._routed())

    @property
    def bind(self) -> Engine | Connection | None:
        """What an application asks for the dialect or the URL: the engine that this session has now."""
        return self._own_bind if self._elsewhere else self._pair.engine(self._side or self._routed())

    @bind.setter
    def bind(self, value: Engine | Connection | None) -> None:
        self._own_bind = value

    @property
    def is_routed(self) -> bool:
        """Whether the present transaction has a side, and so a connection or a place among those that wait for one."""
        return self._side is not None

    def _routed(self) -> Side:
        self._side, self._prepared = self._pair.router.route()
        return self._side

    def admit(self) -> None:
        """Make sure that this transaction may write where it is, or move it to where it may.

        Raises:
            PrimaryUnavailable: the fence stayed up for longer than a transaction may be held.
        """
        if self._admitted or self._elsewhere:
            return
        side = self._side or self._routed()
        if not self._prepared:
            side = self._routed()  # it may have become a pair since this transaction began to read
        if not self._prepared:
            return
        deadline: float | None = None
        while not self._try():
            deadline = deadline or time.monotonic() + self._pair.settings.hold_s()
            self._pair.router.hold(side, self._try, deadline)
            side = self._routed()
        self._admitted = True

    def _try(self) -> bool:
        return admit_connection(super().connection(), self._pair)

    def connection(self, *arguments: Any, **options: Any) -> Connection:
        """The connection of this transaction; what is written through it counts as written by the session."""
        self._handed_out = True
        return super().connection(*arguments, **options)

    def wrote(self) -> bool:
        """Whether this transaction may have changed something, by whatever way."""
        if self._admitted or not (self._handed_out and self._prepared):
            return self._admitted
        return has_written(super().connection())

    def begin_nested(self) -> SessionTransaction:
        self.admit()
        return super().begin_nested()

    def bulk_save_objects(self, *arguments: Any, **options: Any) -> None:
        self.admit()
        super().bulk_save_objects(*arguments, **options)

    def bulk_insert_mappings(self, *arguments: Any, **options: Any) -> None:
        self.admit()
        super().bulk_insert_mappings(*arguments, **options)

    def bulk_update_mappings(self, *arguments: Any, **options: Any) -> None:
        self.admit()
        super().bulk_update_mappings(*arguments, **options)


def begin_write(session: Session, patience_s: float) -> None:
    """Begin a transaction that writes, its waits for locks and statements limited to so many seconds.

    On SQLite it holds the write lock from here on, so that what it reads stays true until it writes.

    Raises:
        PrimaryUnavailable: the fence stayed up.
        OperationalError: others held a lock for that long.
    """
    if isinstance(session, RoutedSession):
        with serving(max(1, int(patience_s * 1000))):
            session.admit()
    connection = session.connection()
    raw: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "postgresql":
        limit_waits(connection, patience_s)
    elif not raw.in_transaction:
        begin_in_turn(connection, max(1, int(patience_s * 1000)))


def limit_waits(connection: Connection, patience_s: float) -> None:
    """Limit what the rest of a transaction on PostgreSQL waits for a lock, and what a statement of it takes."""
    limit = f"{max(1, int(patience_s * 1000))}ms"
    raw: Any = connection.connection.dbapi_connection
    with named_by_sqlalchemy():
        raw.execute(_LIMIT_POSTGRES, (limit, limit))


def admit_connection(connection: Connection, pair: Runtime) -> bool:
    """Take what blocks a fence on this connection's side, then look at the fence.

    A SQLite file that another one has replaced is refused before anything is taken.

    On a refusal everything taken is let go again, so that nobody waits for a transaction that waits.
    A result that is still read from PostgreSQL stays open meanwhile.
    """
    raw: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite":
        pair.router.watch.check()
        if not raw.in_transaction:
            if not connection.info.get("st_foreign_keys"):
                raw.execute("PRAGMA foreign_keys = ON")  # from prepare on, as PostgreSQL will
                connection.info["st_foreign_keys"] = True
            if not commits_each(connection):
                patience = int(at_most(pair.settings.sqlite_busy_timeout_ms / 1000) * 1000)
                with named_by_sqlalchemy():
                    pair.write_turn.begin(raw, patience)
        if sqlite_takes_writes(raw):
            return True
        raw.rollback()
        pair.write_turn.let_go()
        return False
    if any(not stream.closed for stream in raw.streams):
        with raw.transaction() as aside:
            if not (admitted := bool(connection.scalar(text(_ADMIT_POSTGRES)))):
                raise Rollback(aside)
        return admitted
    if connection.execute(text(_ADMIT_POSTGRES)).scalar_one():
        return True
    raw.rollback()
    return False


def has_written(connection: Connection) -> bool:
    """Whether a connection's open transaction has begun to write."""
    raw: Any = connection.connection.dbapi_connection
    if isinstance(raw, sqlite3.Connection):
        return raw.in_transaction  # reads open none, see `engines`
    return bool(connection.scalar(text("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")))


@event.listens_for(RoutedSession, "before_flush")
def _admit_flush(session: RoutedSession, context: Any, instances: Any) -> None:
    if session.new or session.deleted or any(map(session.is_modified, session.dirty)):
        session.admit()


@event.listens_for(RoutedSession, "do_orm_execute")
def _admit_statement(state: ORMExecuteState) -> None:
    session = state.session
    assert isinstance(session, RoutedSession)
    if state.is_insert or state.is_update or state.is_delete:
        session.admit()
    elif state.is_select:
        if getattr(state.statement, "_for_update_arg", None) is not None:
            session.admit()
        elif session._compare_reads:
            session._pair.shadow_reads.offer(state.statement, state.parameters)
    elif is_write(getattr(state.statement, "text", None) or str(state.statement)):
        session.admit()


@event.listens_for(RoutedSession, "before_commit")
def _before_commit(session: RoutedSession) -> None:
    if session._pair.settings.dual_write is not DualWrite.STRICT:
        _about_to_commit(session)


def _about_to_commit(session: RoutedSession) -> None:
    if session.in_nested_transaction():
        return
    mode = session._pair.settings.dual_write
    if session._admitted and session._side is Side.SQLITE:
        session._pair.router.watch.check()  # again: the file may have been replaced since the first write
    if mode is DualWrite.STRICT:
        _flush_all(session)
    session._wrote = session.wrote() if mode in (DualWrite.SYNC, DualWrite.STRICT) else session._admitted
    if mode is DualWrite.STRICT and session._wrote:
        session._pair.strict.announce(Session.connection(session))
    failpoint(Failpoint.COMMIT_BEFORE)


def _flush_all(session: RoutedSession) -> None:
    """Flush as often as the commit itself would: what it flushed after the announcement nobody would announce."""
    for _ in range(_FLUSHES):
        if not (session.new or session.deleted or session.dirty):
            return
        session.flush()


@event.listens_for(RoutedSession, "after_commit")
def _wait_for_shadow(session: RoutedSession) -> None:
    # What a commit flushes is admitted after `before_commit`.
    if (session._admitted or session._wrote) and not session.in_nested_transaction():
        failpoint(Failpoint.COMMIT_AFTER)
        session._pair.write_turn.let_go()  # now, not when the shadow has it too
        session._pair.replicator.committed()


@event.listens_for(RoutedSession, "after_transaction_end")
def _forget(session: RoutedSession, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        if session._admitted:
            session._pair.write_turn.let_go()
        session._side = None
        session._admitted = session._handed_out = session._wrote = False


class SessionFactory(sessionmaker[Session]):
    """Makes sessions of whatever runtime the process has, routed ones when there is a pair."""

    def __call__(self, **local: Any) -> Session:
        if "bind" in local or self.kw.get("bind") is not None:
            return super().__call__(**local)
        current = runtime()
        options: Mapping[str, Any] = {k: v for k, v in self.kw.items() if k != "bind"} | local
        if current.pair is None:
            return Session(bind=current.engine(current.desired), **options)
        begin_with_first_session(current)
        return RoutedSession(pair=current, **options)


SessionLocal = SessionFactory(autoflush=False, expire_on_commit=False)


def get_db() -> Iterator[Session]:
    """Request dependency: one session, closed afterwards; no commit, no rollback."""
    with SessionLocal() as session:
        yield session
