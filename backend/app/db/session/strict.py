"""Strict mode: the shadow takes a transaction's rows before the primary commits it.

Just before the primary's commit the transaction's rows are written to the shadow, durably, together with
their keys in `st_pending`. Then the primary commits, and an ordinary round of apply clears the keys. If
the primary does not commit after all, the keys make a later round set these rows back to what the
primary holds. So the shadow is never behind an acknowledged transaction, and ahead of the primary only
until that round. If the shadow cannot take the rows, the transaction is rolled back and the caller told.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
from sqlalchemy import Connection

from app.db.apply.carry import same_epoch
from app.db.apply.round import Applier
from app.db.common.deadline import at_most
from app.db.common.errors import (
    ConfigurationError,
    NotPrepared,
    SchemaDrift,
    ShadowUnavailable,
    SwitchError,
    first_line,
)
from app.db.common.failpoints import Failpoint, failpoint
from app.db.common.urls import Side
from app.db.rows.catalog import Schema, Table
from app.db.rows.keys import RawKey, findable
from app.db.sides.contract import Source, Target
from app.db.sides.phase import Phase
from app.db.sides.stores import Stores

SILENCE_S = 8.0  # longer than lock_timeout: how long a commit waits for a shadow that does not answer


class StrictWriter:
    """Announces the transactions of one process to the shadow, one at a time.

    Args:
        open_stores: opens the pair of connections that this writer keeps for itself.
    """

    def __init__(self, open_stores: Callable[[str], Stores]) -> None:
        self._open_stores = open_stores
        self._applier: Applier | None = None
        self._lock = threading.Lock()

    def announce(self, connection: Connection) -> None:
        """Write the shadow first. Called by a session that has flushed and is about to commit.

        Args:
            connection: the one that holds the transaction on the primary.

        Raises:
            ShadowUnavailable: the shadow did not take the rows; the transaction must be rolled back.
        """
        raw: Any = connection.connection.dbapi_connection
        if isinstance(raw, sqlite3.Connection) and not raw.in_transaction:
            return
        until = time.monotonic() + at_most(SILENCE_S)
        if not self._lock.acquire(timeout=until - time.monotonic()):
            raise ShadowUnavailable(
                "strict mode: the shadow was busy with other transactions for too long",
                hint="it was rolled back; send the request again",
            )
        try:
            try:
                self._announce(raw, until)
            except (NotPrepared, ConfigurationError) as error:
                # The other side is not this one's shadow, an older copy stands there, or it refuses connections.
                raise ShadowUnavailable(
                    f"strict mode: {error.message}", hint=error.hint or "run st-migrate status"
                ) from error
            except (psycopg.Error, sqlite3.Error) as error:
                self.close()
                raise ShadowUnavailable(
                    f"strict mode: the shadow did not take the transaction ({first_line(error)})",
                    hint="it was rolled back; ST_DUAL_WRITE=sync would have gone on without the shadow",
                ) from error
            finally:
                if self._applier is not None:
                    self._applier.stores.finish_by(None)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close this writer's connections."""
        if self._applier is not None:
            self._applier.stores.close()
            self._applier = None

    @property
    def uses_sqlite(self) -> bool:
        return self._applier is not None

    def rest(self, patience: float) -> bool:
        """Close this writer's connections and use none until `go_on`. False: a thread uses them all those seconds."""
        if not self._lock.acquire(timeout=patience):
            return False
        self.close()
        return True

    def go_on(self) -> None:
        """Take transactions again."""
        self._lock.release()

    def _opened(self, until: float) -> Applier:
        if self._applier is None:
            self._applier = Applier(self._open_stores("st-strict"))
            self._applier.stores.sqlite.mends = False  # the announced transaction may hold the write lock
        self._applier.stores.finish_by(until)
        return self._applier

    def _asked(self, until: float) -> tuple[Applier, Phase | None]:
        """The applier and the phase. A connection from before a restart of the server is replaced, as nothing was written."""
        kept = self._applier is not None
        applier = self._opened(until)
        try:
            return applier, applier.stores.postgres.read_control().phase
        except psycopg.OperationalError:
            if not kept or time.monotonic() >= until:
                raise
            self.close()
            applier = self._opened(until)
            return applier, applier.stores.postgres.read_control().phase

    def _announce(self, raw: Any, until: float) -> None:
        try:
            applier, phase = self._asked(until)
        except NotPrepared:
            return  # there is no shadow yet
        if phase != Phase.REPLICATING:
            return
        side = Side.SQLITE if isinstance(raw, sqlite3.Connection) else Side.POSTGRES
        writing = applier.stores.store(side)
        source, logged = writing.reader(raw), writing.in_flight(raw)
        if not logged.raws:
            return
        applier.round()  # what was committed before this transaction cannot stand in its way
        schema = applier.schema()
        _, shadow = applier.stores.directions()
        with shadow.target(durable=True) as target:
            same_epoch(source.control, target.control)
            source.require_mark(target.mark)
            applier.shed_foreign_keys(target)
            applier.recall(target)
            # Rows are read through the writer's own connection while the shadow is locked. So a writer that
            # was killed meanwhile fails here, and nothing of it is announced.
            for name, raws in logged.raws.items():
                table = _known(schema, name)
                if side is Side.SQLITE:
                    raws = [findable(table, raw) for raw in raws]
                _bring(table, raws, source, target, logged.token)
        failpoint(Failpoint.STRICT_ANNOUNCED)


def _known(schema: Schema, name: str) -> Table:
    if name not in schema:
        raise SchemaDrift(
            f"strict mode: the log names table {name}, which the sides do not share",
            hint="see st-migrate status",
        )
    return schema[name]


def _bring(table: Table, keys: list[RawKey], source: Source, target: Target, token: str) -> None:
    """Bring a table's keys on the shadow to what the transaction has made of them. None is the whole table."""
    if None in keys:
        target.announce_all(table, token)  # the rows that go
        target.clear(table)
        refused = target.insert(table, source.all_rows(table))
        target.announce_all(table, token)  # and those that came
    else:
        target.delete(table, keys)
        refused = target.insert(table, [source.rows_of(table, keys)])
        target.announce(table, keys, token)
    if refused:
        raise SwitchError(
            f"strict mode: the shadow cannot hold a row of {table.name}", hint="see st-migrate preflight"
        )
