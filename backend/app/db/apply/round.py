"""Apply: bring the shadow to a consistent state of the primary, one round at a time.

A round, in this order, because the order is what makes it safe:

1. open the shadow's transaction and take the applier's lock (one applier at a time, on any host);
2. check that this shadow still is the shadow, at the epoch both control rows name;
3. open one read transaction on the primary. Read the log beyond the watermark, and the present rows of the
   keys that the log names;
4. on the shadow bring those keys to those rows. A few are updated or inserted. Where they collide (rows that
   swap unique values) or are many, all of them are deleted first. Many changes of one row are one write, and
   doing it twice is harmless;
5. advance the watermark in the same transaction, commit.

The primary is read after the lock, so no two rounds can overtake each other. A round takes all of the log up
to its snapshot, so the shadow is always exactly some committed state of the primary. A crash at any
instruction leaves the shadow at the previous round. After a commit whose answer was lost, the next round
finds nothing to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from psycopg import errors as pg_errors

from app.db.apply.carry import (
    announced_keys,
    carry_few,
    carry_table,
    collided,
    learn_spellings,
    recall,
    same_epoch,
    set_aside,
)
from app.db.apply.heal import heal, lost_capture, require_gone
from app.db.apply.outcome import SWITCHED, TOO_MUCH, Round, Skipped
from app.db.apply.small import Beginning, ResumePoint, age, small_round
from app.db.common.errors import CaptureLost, NotPrepared, SchemaDrift
from app.db.common.failpoints import Failpoint, failpoint
from app.db.common.urls import Side
from app.db.rows.catalog import Schema, read_schema
from app.db.sides.capture.inventory import check_postgres_inventory, stamp_of
from app.db.sides.capture.triggers import check_inventory
from app.db.sides.contract import Backlog, Source, Target
from app.db.sides.control import Control
from app.db.sides.phase import APPLYING_PHASES, Phase
from app.db.sides.postgres.connection import ROW_ERRORS
from app.db.sides.postgres.target import COPY_FROM
from app.db.sides.sqlite.connection import ROW_ERRORS as SQLITE_ROW_ERRORS
from app.db.sides.stores import Stores

REFUSALS = (*ROW_ERRORS, pg_errors.CardinalityViolation, *SQLITE_ROW_ERRORS)  # either shadow's answer to rows
SCHEMA_S = 5.0  # how long a schema that was read is believed


class Applier:
    """Carries changes from the primary to the shadow, for one thread at a time.

    Args:
        stores: the two sides, through connections of this applier's own; its owner closes them.
    """

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self._schema: Schema = {}
        self._schema_version: int | None = None
        self._schema_stamp: tuple[int, str] | None = None
        self._schema_until = 0.0
        self._shed_epoch: int | None = None
        self._position: str | None = None
        self._beginning = Beginning(stores.sqlite.bulletin)
        self._disturbed_at = time.monotonic()
        self.phase: str | None = None
        self.primary: Side | None = None
        self.epoch = 0

    def round(
        self,
        *,
        durable: bool = False,
        even_if_paused: bool = False,
        settle: bool = False,
        at_most: int | None = None,
    ) -> Round | Skipped:
        """Apply everything that the primary has committed by now.

        Args:
            durable: the shadow's commit waits for its disk.
            even_if_paused: the cutover drains a paused applier too.
            settle: no transaction is in flight on the primary, so whatever strict mode announced and
                nobody committed is undone.
            at_most: leave a backlog of more entries alone; the answer is then `TOO_MUCH`.

        Raises:
            SchemaDrift: the sides differ, or capture is lost and cannot be put back. Nothing was applied.
            ApplyFailed: the shadow refused the round for a reason that waiting does not mend.
            ShadowUnavailable, psycopg.OperationalError, sqlite3.OperationalError: try again later.
        """
        options = (durable, even_if_paused, settle, at_most)
        try:
            if not any(options[:3]) and (outcome := self._resume()) is not None:
                return outcome
            return self._round(*options, careful=False)
        except REFUSALS:
            return self._round(*options, careful=True)
        except (pg_errors.UndefinedColumn, pg_errors.UndefinedTable):
            self.forget_schema()  # it was changed a moment ago: where the sides differ now, that is the error
            self.mend()
            return self._round(*options, careful=False)
        except CaptureLost:
            if not heal(self.stores):
                raise
            self.forget_schema()
            return self._round(*options, careful=False)

    def _resume(self) -> Round | None:
        """A small round from where the last one ended. None if it takes an ordinary one."""
        begin = self._beginning.take()
        if begin is None:
            return None
        started = time.monotonic()
        if begin.position != self._position:
            self._disturbed_at = started
        self.stores.sqlite.mend_log()
        try:
            done = small_round(self.stores.sqlite, self.stores.postgres, self.schema, begin)
        except NotPrepared:
            if not begin.heard:
                raise
            done = None  # after a loss of power the file may lack what the bulletin has kept
        if done is None:
            self._disturbed_at = started
            self._beginning.overtaken()
            return None
        self._beginning.succeeded()
        self._position = done.position
        if not done.refused:
            self._beginning.keep(replace(begin, position=done.position, mark=done.mark, heard=False))
        return Round(done.changes, done.refused, done.position, age(done.oldest), time.monotonic() - started)

    def _round(
        self, durable: bool, even_if_paused: bool, settle: bool, at_most: int | None, *, careful: bool
    ) -> Round | Skipped:
        started = time.monotonic()
        self._beginning.forget()
        primary, shadow = self.stores.directions()
        tip = primary.mend_log()
        # Behind the lock another process may just have carried what this round was called for.
        wanted = None if durable or settle else tip
        with shadow.target(durable=durable, careful=careful) as target:
            failpoint(Failpoint.APPLY_LOCKED)
            if others := target.position != self._position:
                self._disturbed_at = started
            switched = target.control.primary is shadow.side
            # Between a commit record and the following, this is the position of a side that is no shadow any more.
            self._note(target.control, None if switched else target.position)
            if switched:
                return SWITCHED
            if shadow.side is Side.POSTGRES and target.control.phase not in APPLYING_PHASES:
                return Skipped(f"phase {target.control.phase} does not apply")
            if target.control.paused and not even_if_paused:
                return Skipped("paused")
            self.shed_foreign_keys(target)
            # Not beyond the log's end now: a file that was put back from a backup is found out below.
            if others and wanted is not None and target.covers(wanted, primary.log_end()):
                primary.reader().require_mark(target.mark)
                self._keep_resume_point(target, target.position)
                return Round(0, 0, target.position, 0.0, time.monotonic() - started)
            with primary.source(target.position, target.mark) as source:
                same_epoch(source.control, target.control)
                source.require_mark(target.mark, target.position)
                schema = self.schema()
                if self._shed_epoch is None:
                    # Nothing is remembered here: this round may yet be rolled back, and the drop with it.
                    target.shed_foreign_keys()
                backlog = source.backlog(target.position)
                announced = announced_keys(source, target, settle)
                if at_most is not None and backlog.entries > at_most:
                    return TOO_MUCH
                if not backlog.counts and not announced and backlog.upto == target.position:
                    self._keep_resume_point(target, target.position)
                    return Round(0, 0, target.position, 0.0, time.monotonic() - started)
                failpoint(Failpoint.APPLY_READ)
                self.recall(target)
                refused = self._carry(schema, source, target, backlog, announced)
            set_aside(self.stores, target)
            failpoint(Failpoint.APPLY_BEFORE_COMMIT)
        failpoint(Failpoint.APPLY_AFTER_COMMIT)
        self._position = backlog.upto
        self._keep_resume_point(target, backlog.upto)
        return Round(backlog.entries, refused, backlog.upto, age(backlog.oldest), time.monotonic() - started)

    def _keep_resume_point(self, target: Target, position: str) -> None:
        """Remember where a round left the shadow, if a small one may begin from there."""
        control = target.control
        if target.is_clean and control.phase == Phase.REPLICATING and self._shed_epoch == control.epoch:
            point = ResumePoint(position, control.pair, control.epoch, target.mark, target.marks)
            self._beginning.keep(point)

    def _note(self, control: Control, position: str | None) -> None:
        """Remember what the shadow said; its phase counts only where PostgreSQL said it."""
        if control.primary is not self.primary:
            self.forget_schema()  # spellings that others have learnt count from the first row that comes back
        self.primary, self.epoch, self._position = control.primary, control.epoch, position
        self.phase = control.phase if control.phase in APPLYING_PHASES else Phase.REPLICATING

    def finish_by(self, until: float | None) -> None:
        """Give a round up if it is not done at this moment of `time.monotonic`. None: wait as long as usual."""
        self.stores.finish_by(until)

    def has_news(self) -> bool:
        """Whether the primary holds changes beyond the last known watermark; cheap, takes no lock."""
        primary, _ = self.stores.directions()
        return (
            self._position is None or primary.side is not self.primary or primary.has_changes(self._position)
        )

    def was_disturbed(self, within: float) -> bool:
        """Whether another applier has come between this one's rounds in the last so many seconds."""
        return time.monotonic() - self._disturbed_at < within

    def is_followed(self, within: float) -> bool:
        """Whether another applier has brought changes to the shadow in the last so many seconds."""
        _, shadow = self.stores.directions()
        position, applied_at = shadow.read_watermark()
        return position != self._position and abs(time.time() - applied_at) < within

    def behind(self) -> tuple[int, float]:
        """Entries beyond the last known watermark, and the oldest's age in seconds. Asks the primary only."""
        primary, _ = self.stores.directions()
        if self._position is None or primary.side is not self.primary:
            return 0, 0.0
        with primary.source() as source:
            backlog = source.backlog(self._position)
        return backlog.entries, age(backlog.oldest)

    def recall(self, target: Target) -> None:
        """Tell a target what stands in quarantine, before rows are written."""
        recall(self.stores, target)

    def shed_foreign_keys(self, target: Target) -> None:
        """Drop the foreign keys of a side that has just become the shadow, before any row is replaced there."""
        if self._shed_epoch == target.control.epoch:
            return
        # Remembered only once none stood: the drop itself may yet be rolled back with its round.
        if not target.shed_foreign_keys():
            self._shed_epoch = target.control.epoch

    def _carry(
        self,
        schema: Schema,
        source: Source,
        target: Target,
        backlog: Backlog,
        announced: dict[str, list[str]],
    ) -> int:
        refused = 0
        position, table_name, op = target.position, None, "read"
        try:
            entries = backlog.entries + sum(map(len, announced.values()))
            carry = carry_few if entries < COPY_FROM else carry_table
            target.burst(entries)
            if carry is carry_few:
                source.foresee([schema[name] for name in backlog.counts if name in schema], position)
            for table_name in sorted(backlog.counts.keys() | announced.keys()):
                table = schema.get(table_name)
                if table is None:
                    require_gone(self.stores, table_name)
                    continue
                op = "write"
                if target.control.primary is Side.SQLITE and learn_spellings(
                    self.stores, table, source, position
                ):
                    self.forget_schema()
                refused += carry(table, source, target, position, announced.get(table_name, []))
            target.forget_announced(announced)
            op = "advance"
            target.advance(backlog.upto, backlog.entries, source.mark(backlog.upto))
        except (pg_errors.UniqueViolation, pg_errors.ForeignKeyViolation, *SQLITE_ROW_ERRORS) as error:
            if not isinstance(error, pg_errors.ForeignKeyViolation) and not target.careful:
                raise
            raise collided(error, op, table_name, f"{position}, {backlog.upto}") from error
        return refused

    def schema(self) -> Schema:
        """The tables of the pair.

        They are read again, and capture is checked on both sides, when either side's schema has changed.
        SQLite counts its changes; PostgreSQL has no counter, so its catalog is stamped every few seconds.
        """
        version = int(self.stores.sqlite.connection.execute("PRAGMA schema_version").fetchone()[0])
        if version != self._schema_version or time.monotonic() > self._schema_until:
            stamp = (version, stamp_of(self.stores.sqlite.connection, self.stores.postgres.connection))
            if stamp != self._schema_stamp:
                self._read_schema()
            self._schema_stamp, self._schema_version = stamp, version
            self._schema_until = time.monotonic() + SCHEMA_S
        return self._schema

    def mend(self) -> None:
        """Read the schema, and put capture back where it is lost.

        Raises:
            SchemaDrift: the sides differ, or capture cannot be put back.
        """
        try:
            self.schema()
        except CaptureLost:
            if not heal(self.stores):
                raise
            self.forget_schema()

    def _read_schema(self) -> None:
        if self._schema:
            self._shed_epoch = None  # a migration that died may have left foreign keys behind
        try:
            schema = read_schema(self.stores.sqlite.connection, self.stores.postgres.connection)
        except SchemaDrift as drift:
            if any(lost_capture(self.stores).values()):
                raise CaptureLost(f"{drift.message}; capture is lost, too", hint=drift.hint) from drift
            raise
        check_inventory(self.stores.sqlite.connection, schema)
        check_postgres_inventory(self.stores.postgres.connection, schema)
        if schema != self._schema:  # statements are remembered by table: an equal one may stay
            self._schema = schema

    def forget_resume_point(self) -> None:
        """Take an ordinary round next, which asks the shadow where it is."""
        self._beginning.forget()

    def forget_schema(self) -> None:
        """Read the schema again at the next round."""
        self._schema_version = self._schema_stamp = None

    def drain(self, until: Callable[[], bool] = lambda: False) -> Round | Skipped:
        """Rounds for as long as each leaves less to do, or until `until` says so.

        The last one took everything committed before it; under steady writes none would find nothing.
        """
        before: int | None = None
        while True:
            outcome = self.round(durable=True, even_if_paused=True)
            if isinstance(outcome, Skipped) or outcome.changes == 0 or until():
                return outcome
            if before is not None and outcome.changes >= before:
                return outcome
            before = outcome.changes
