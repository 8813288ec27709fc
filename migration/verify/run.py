"""Verify: every row of every table compared on both sides, while the application goes on writing.

Range by range, in this order:

1. `verify_chunks` reads the range on both sides without a lock and compares the lists as they are;
2. keys that differ are suspects. `recheck` decides on them at one instant, after they were applied;
3. at a table's end the rows of both sides are counted at one instant;
4. what really differs goes to `st_mismatch`, together with how far the run has come, in one transaction.

The run's position is how much of the primary's log the shadow had before the first row was read. The switch
compares again whatever changed since, inside the fence. So a clean verify and that check together cover every
row. The log is not trimmed beyond the position. A killed run goes on where its last transaction left it. A
run that is restricted to some tables keeps no record, because the switch may not rely on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from psycopg import errors as pg_errors

from app.db.apply.compare import Mismatch
from app.db.apply.round import Applier
from app.db.common.errors import ConfigurationError, Refused, SchemaDrift
from app.db.common.failpoints import Failpoint, failpoint
from app.db.common.urls import Side
from app.db.rows.catalog import Schema, Table, keep_spellings, spellings
from app.db.rows.keys import Key
from app.db.sides.control import Control
from app.db.sides.phase import Phase
from app.db.sides.sqlite.spellings import learn_since
from app.db.switch.state.readiness import fingerprint, verify_mark
from app.db.switch.state.writable import forget, strangers
from migration.common.pace import keep_within, stored_limits
from migration.verify import state as verify_state
from migration.verify.chunks import ChunkReader
from migration.verify.recheck import COUNTED, Recheck
from migration.verify.repair import repair

__all__ = ["Verify", "VerifyProgress", "VerifyResult", "repair"]

CHUNK_ROWS = 10_000
SAVE_EVERY_S = 0.2
SUSPECTS = 500  # settled at once from so many on


@dataclass(frozen=True)
class VerifyProgress:
    """How far a run is, after each chunk.

    `rows` and `mismatches` are those of the whole run; `expected` is the planner's estimate of all rows.
    """

    table: str
    tables_done: int
    tables: int
    rows: int
    expected: int
    mismatches: int


@dataclass(frozen=True)
class VerifyResult:
    """What a finished run found.

    `rows` counts the primary's rows without those set aside. The counted rows stand on both sides if the run
    is clean. `set_aside` counts the rows in quarantine. `mismatches` holds the first `verify_state.LISTED`,
    told as seen on the shadow, and `per_table` counts all. `full`: whether every table was compared, as the
    switch demands. `resumed`: whether an earlier process began the run. `seconds` are this process's own.
    """

    run: str
    tables: tuple[str, ...]
    rows: int
    mismatches: tuple[Mismatch, ...]
    per_table: dict[str, int]
    seconds: float
    full: bool
    resumed: bool
    set_aside: int = 0

    @property
    def clean(self) -> bool:
        return not self.per_table


@dataclass
class _Tally:
    """Counts of the run so far."""

    rows: int
    mismatches: int
    tables_done: int
    expected: int


class Verify:
    """Compares the two sides.

    Args:
        applier: the pair, through connections of this verify's own.
        chunk_rows: rows per read at most.
        tables: only these. None for all.
        rate: rows per second at most, None for no limit; a stored limit takes its place.
    """

    def __init__(
        self,
        applier: Applier,
        *,
        chunk_rows: int = CHUNK_ROWS,
        tables: list[str] | None = None,
        rate: float | None = None,
    ) -> None:
        self._applier = applier
        self._chunk_rows = chunk_rows
        self._only = tables
        self._rate = rate
        self._stored_rate: tuple[float, float | None] = (float("-inf"), None)
        self._recheck = Recheck(applier)

    def run(self, report: Callable[[VerifyProgress], None] = lambda progress: None) -> VerifyResult:
        """Compare everything, or go on with the run that an earlier process left.

        Raises:
            Refused: the pair is not in a phase in which both sides hold everything.
            ConfigurationError: there is no such table.
            StaleAttempt: the sides were switched meanwhile, or the run was ended by somebody else.
            SchemaDrift: the tables changed meanwhile.
        """
        started = time.monotonic()
        control = self._applier.stores.postgres.read_control()
        if control.phase != Phase.REPLICATING:
            raise Refused(f"the pair is in phase {control.phase}", hint="run st-migrate backfill first")
        self._applier.mend()
        schema = self._applier.schema()
        found_before = strangers(self._applier.stores)
        names = self._names(list(schema))
        if self._only is None:
            record = verify_state.begin(self._applier.stores, control, schema)
        else:
            record = verify_state.partial(self._applier.stores, control, names)
        self._recheck = Recheck(self._applier, record.position)
        tally = _Tally(
            record.rows,
            record.mismatches,
            len(record.done),
            verify_state.expected(self._applier.stores, names),
        )
        for name in names:
            if name not in record.done:
                for _ in self._table(schema[name], control, record, tally):
                    report(
                        VerifyProgress(
                            name, tally.tables_done, len(names), tally.rows, tally.expected, tally.mismatches
                        )
                    )
        # A spelling that was learnt meanwhile is no change of the tables: the fingerprint leaves it out.
        changed = fingerprint(self._applier.schema()) != fingerprint(schema)
        if changed or (record.full and not record.run.endswith(verify_mark(self._applier.stores, schema))):
            raise SchemaDrift("the tables changed during the verify", hint="run st-migrate verify again")
        record.finish(tally.rows, tally.mismatches)
        listed, per_table = verify_state.found(self._applier.stores, schema, names)
        if record.full and control.primary is Side.SQLITE:
            self._learn(schema)
        if record.full and not record.resumed and not per_table:
            forget(self._applier.stores, found_before, "every row is equal on both sides")
        return VerifyResult(
            run=record.run,
            tables=tuple(names),
            rows=tally.rows,
            mismatches=listed,
            per_table=per_table,
            seconds=time.monotonic() - started,
            full=record.full,
            resumed=record.resumed,
            set_aside=verify_state.set_aside(self._applier.stores, names),
        )

    def _learn(self, schema: Schema) -> None:
        """How values are spelt by now: what comes back after a switch has to be found, and to be read."""
        stores = self._applier.stores
        with suppress(pg_errors.InsufficientPrivilege), stores.postgres.write() as connection:
            known = spellings(connection)
            learnt = learn_since(stores.sqlite.connection, schema, known)
            if any(known.get(column) != spelling for column, spelling in learnt.items()):
                keep_spellings(connection, learnt, and_others=True)

    def _names(self, existing: list[str]) -> list[str]:
        if self._only is None:
            return sorted(existing)
        if unknown := sorted(set(self._only) - set(existing)):
            raise ConfigurationError(f"there is no table {', '.join(unknown)}", hint="see st-migrate status")
        return sorted(set(self._only))

    def _table(
        self, table: Table, control: Control, record: verify_state.Record, tally: _Tally
    ) -> Iterator[None]:
        """Compare one table from where the record stands, yielding after each chunk."""
        reader = ChunkReader(self._applier.stores, table, control.primary, self._chunk_rows)
        after, of_table = record.cursor(table.name)
        keys: set[Key] = set()
        unkeyed: set[tuple[Side, Key]] = set()
        saved = time.monotonic()
        while True:
            began = time.monotonic()
            upto = reader.end(after)
            chunk = reader.read(after, upto)
            rows = len(chunk.sqlite if control.primary is Side.SQLITE else chunk.postgres)
            suspected = reader.suspects(chunk, after, upto)
            keys |= suspected.keys
            unkeyed |= suspected.unkeyed
            of_table += rows
            tally.rows += rows
            after = upto
            if upto is None or len(keys) >= SUSPECTS or time.monotonic() - saved >= SAVE_EVERY_S:
                differing = self._recheck.confirm(table, keys) + self._recheck.unkeyed(table, unkeyed)
                keys.clear()
                unkeyed.clear()
                if upto is None:
                    present, uneven = self._count(table, record, bool(differing))
                    differing += uneven
                    tally.rows += present - of_table
                    of_table = present
                tally.mismatches += len(differing)
                tally.tables_done += upto is None
                record.save(table.name, after, of_table, differing, tally.rows, tally.mismatches)
                saved = time.monotonic()
            failpoint(Failpoint.VERIFY_CHUNK)
            yield
            keep_within(self._limit, rows, began)
            if upto is None:
                return

    def _limit(self) -> float | None:
        """Rows per second at this moment, None for no limit. PostgreSQL is asked some times a second."""
        asked_at, stored = self._stored_rate
        if (now := time.monotonic()) - asked_at >= SAVE_EVERY_S:
            stored = stored_limits(self._applier.stores.postgres).verify_rate
            self._stored_rate = now, stored
        return stored or self._rate

    def _count(
        self, table: Table, record: verify_state.Record, differing: bool
    ) -> tuple[int, list[Mismatch]]:
        """How many rows stand on both sides, and a mismatch if the numbers differ and no key tells why."""
        counted = self._recheck.count(table)
        if counted.primary == counted.shadow or differing or record.has_mismatches(table.name):
            return counted.present, []
        told = (f"{counted.primary} on the primary", f"{counted.shadow} on the shadow")
        return counted.present, [Mismatch(table.name, (COUNTED,), "count", told)]
