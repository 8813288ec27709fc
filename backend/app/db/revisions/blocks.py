"""What a revision may do with its transaction on a live pair, watched while it runs.

A revision leaves its transaction in one way only, `op.get_context().autocommit_block()`. On PostgreSQL the
hooks first bring the side to a state that may be committed. The fence is up inside the block, and the hooks
open the side again after the block. On SQLite there is nothing that needs such a block: it stays in the one
transaction. An index that is built in a block may be built already when a killed migration is repeated, and
is left then.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa
from sqlalchemy import event

from app.db.common.errors import Refused
from app.db.common.failpoints import Failpoint, failpoint
from app.db.common.logs import logger
from app.db.revisions.commits import ends_transaction, statements, writes_rows

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext

log = logger("sigma.db")
_TRANSACTION = 22  # SQLITE_TRANSACTION, the action that an authorizer is asked about
_VACUUM = re.compile(r"VACUUM\b", re.I)
_NEW_LABEL = re.compile(r"ALTER\s+TYPE\b.*\bADD\s+VALUE\b", re.I | re.S)
_LEAD = r"((?:\s|--[^\n]*\n|/\*.*?\*/)*"
# What a repeated migration may find done: a statement in a block is durable before its revision is.
_REPEATABLE = (
    (r"CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+)(?!IF\b)", "IF NOT EXISTS "),
    (r"DROP\s+INDEX\s+CONCURRENTLY\s+)(?!IF\b)", "IF EXISTS "),
    (r'ALTER\s+TYPE\s+(?:"(?:[^"]|"")*"|[^\s"])+\s+ADD\s+VALUE\s+)(?!IF\b)', "IF NOT EXISTS "),
)


class OpensAndCloses(Protocol):
    """The part of the hooks that stands around a block."""

    def before_block(self, connection: sa.Connection) -> None:
        """Bring the side to a state that may be committed, within the transaction that the block ends."""

    def after_block(self, connection: sa.Connection) -> None:
        """Open the side again, in the transaction that follows."""


class Watch:
    """Watches one connection of a pair while revisions run on it.

    Args:
        connection: the migrating one.
        context: Alembic's, whose `autocommit_block` is replaced.
        hooks: what surrounds a block on this side.
    """

    def __init__(self, connection: sa.Connection, context: MigrationContext, hooks: OpensAndCloses) -> None:
        self._connection = connection
        self._hooks = hooks
        self._sqlite = connection.dialect.name == "sqlite"
        self._inside = False  # a revision is running and has not left its transaction
        self._in_block = False
        self._denied = False
        self.new_label = False  # a label was added to an enum, which can be used after a commit only
        self._original = context.autocommit_block
        context.autocommit_block = self.block  # type: ignore[method-assign]
        event.listen(connection, "before_cursor_execute", self._before, retval=True)
        event.listen(connection, "commit", self._on_commit)

    def revision(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A revision's function, watched."""

        def run(**options: Any) -> Any:
            self._inside = True
            self._authorize(self._may_not_commit)
            try:
                return function(**options)
            except Exception as error:
                if self._denied:
                    raise _refused("a revision commits by itself") from error
                raise
            finally:
                self._inside = False
                self._authorize(None)

        return run

    @contextmanager
    def block(self) -> Iterator[None]:
        """Alembic's autocommit block, on a pair."""
        if self._sqlite:
            self._in_block = self._inside
            try:
                yield
            finally:
                self._in_block = False
            return
        self._hooks.before_block(self._connection)
        inside, self._inside = self._inside, False
        try:
            with self._original():
                failpoint(Failpoint.SCHEMA_BLOCK)
                self._in_block = inside
                try:
                    yield
                finally:
                    self._in_block = False
            self._hooks.after_block(self._connection)
            failpoint(Failpoint.SCHEMA_RESUMED)
        finally:
            self._inside = inside

    def between_revisions(self) -> None:
        """Commit where the next revision needs it."""
        if self.new_label:
            self.new_label = False
            with self.block():
                pass

    def _before(
        self, _: sa.Connection, __: Any, statement: str, parameters: Any, ___: Any, ____: bool
    ) -> tuple[str, Any]:
        parts = statements(statement)
        if self._inside and (ending := next(filter(ends_transaction, parts), None)):
            raise _refused(f"a revision executes {ending}")
        if self._in_block:
            if any(map(writes_rows, parts)):
                raise _refused("a revision writes rows in an autocommit block")
            for pattern, addition in _REPEATABLE:
                whole = re.match(_LEAD + pattern, statement, re.I | re.S)
                statement = statement if whole is None else f"{whole[1]}{addition}{statement[whole.end() :]}"
        if any(map(_NEW_LABEL.match, parts)):
            self.new_label = not self._sqlite
        if self._sqlite and self._inside and any(map(_VACUUM.match, parts)):
            log.warning("VACUUM is left out: the migration of a pair is one transaction on SQLite")
            statement = "SELECT 1 WHERE 0"
        return statement, parameters

    def _on_commit(self, _: sa.Connection) -> None:
        if self._inside:
            raise _refused("a revision commits by itself")

    def _authorize(self, answer: Callable[..., int] | None) -> None:
        """Let SQLite itself refuse a COMMIT, by whatever means it comes."""
        raw = self._connection.connection.dbapi_connection
        if isinstance(raw, sqlite3.Connection):
            raw.set_authorizer(answer)

    def _may_not_commit(self, action: int, argument: str | None, *_: Any) -> int:
        if (action, argument) != (_TRANSACTION, "COMMIT"):
            return sqlite3.SQLITE_OK
        self._denied = True
        return sqlite3.SQLITE_DENY


def _refused(what: str) -> Refused:
    return Refused(
        f"{what}, which a prepared pair cannot take: its fence and its lock last as long as the transaction",
        hint="put statements that run outside of transactions into op.get_context().autocommit_block(), "
        "rows into a revision without one, and leave commits to the migration",
    )
