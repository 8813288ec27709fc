"""What has to hold for a move to go on, found out by reading alone: one answer for everybody who asks.

The gates of a switch, `st-migrate status`, `/health/ready` and the metrics take it from here. So none of them
says "go on" where another refuses. Each check is cheap: some milliseconds on a schema of fifty tables. A
check that cannot be made does not hold.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

import psycopg

from app.db.common.errors import (
    ConfigurationError,
    NotPrepared,
    Refused,
    SwitchError,
    counted,
    first_line,
    mended_by,
)
from app.db.common.urls import Side
from app.db.revisions.ddl import narrow_columns
from app.db.revisions.source import SchemaSource
from app.db.rows.catalog import Schema, read_schema
from app.db.sides.capture.foreign import foreign_triggers
from app.db.sides.capture.inventory import check_postgres_inventory
from app.db.sides.capture.silence import check_silence
from app.db.sides.capture.triggers import check_inventory
from app.db.sides.control import Control
from app.db.sides.phase import Phase
from app.db.sides.postgres import deferred
from app.db.sides.postgres.forms import why_read_only
from app.db.sides.stores import Stores
from app.db.switch.state.newest import require_newest
from app.db.switch.state.readiness import MEND, last_verify, quarantined, verify_mark, verify_objection
from app.db.switch.state.space import rooms
from app.db.switch.state.writable import strangers, writable_sides

SHOWN = 5
_NO_REVISION = "none"
BY_HAND = "make both sides the same again by hand; nothing is lost meanwhile, changes wait in the log"
OWN_MIGRATION = (
    "run the application's own migration by st-migrate schema -- COMMAND, which changes both sides"
)
Verdict = tuple[bool, str]
_LOG_ENTRIES = "SELECT coalesce(max(seq) - min(seq) + 1, 0) FROM st_change_log"


@dataclass(frozen=True)
class Check:
    """One condition: whether it holds, what was found, what to do if not.

    `command` is the st-migrate command that settles it, None where there is none.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    command: str | None = None


class Checks:
    """Every check on one pair, as it is now.

    Args:
        stores: both sides, through connections of this caller's own.
        source: what tells the sides' schemas apart.

    Raises:
        NotPrepared: a side carries no control row.
        ShadowUnavailable: PostgreSQL cannot be reached.
    """

    def __init__(self, stores: Stores, source: SchemaSource) -> None:
        self._stores = stores
        self._source = source
        self._sqlite, self._postgres = stores.sqlite, stores.postgres
        self.arbiter = stores.postgres.read_control()
        self._ours = stores.sqlite.read_control()
        self._settles: str | None = None  # the command that answers what the last verify lacks

    def all(self) -> Iterator[Check]:
        """All of them, in the order in which they are settled."""
        yield self.phase()
        yield self.attempt()
        yield from self.sound()
        yield self.indexes()
        yield self.space()
        yield self.quarantine()
        yield self.verify()

    def sound(self) -> Iterator[Check]:
        """Those that say whether the pair is sound, whichever way a switch would go."""
        yield self.file()
        yield self.writable()
        yield self.schema()
        yield self.columns()
        yield self.capture()

    def standing(self) -> list[Check]:
        """Those that keep apply from going on."""
        return [check for check in (self.file(), self.schema(), self.capture()) if not check.ok]

    def phase(self) -> Check:
        phase = self.arbiter.phase
        return Check(
            "phase", phase == Phase.REPLICATING, f"phase {phase}", "run st-migrate backfill", "backfill"
        )

    def attempt(self) -> Check:
        return make("attempt", self._attempt, "run st-migrate recover", "recover")

    def file(self) -> Check:
        return make("file", self._file, "put the newer copy back", None)

    def writable(self) -> Check:
        return make("writable", self._writable, "run st-migrate recover", "recover")

    def schema(self) -> Check:
        by_hand = self._same_revision and isinstance(self._tables_or_error, SwitchError)
        if self._source.installed:
            return make("schema", self._schema, self._by_hand if by_hand else OWN_MIGRATION)
        if lost := self._lost_revision:
            return make("schema", self._schema, lost)
        remedy = self._by_hand if by_hand else "run st-migrate schema upgrade"
        return make("schema", self._schema, remedy, None if by_hand else "schema upgrade")

    def columns(self) -> Check:
        return make("columns", self._columns, "run st-migrate schema upgrade", "schema upgrade")

    def capture(self) -> Check:
        if isinstance(self._tables_or_error, SwitchError):
            return make("capture", self._inventory, self._by_hand, self.schema().command)
        remedy = "run st-migrate schema upgrade, then st-migrate verify"
        inventory = make("capture", self._inventory, remedy, "schema upgrade")
        return make("capture", self._undisturbed, remedy) if inventory.ok else inventory

    def indexes(self) -> Check:
        return make("indexes", self._indexes, "create what is named, as st_deferred_ddl has it", None)

    def space(self) -> Check:
        return make("space", self._space, "make room on that disk; nothing is lost meanwhile, then repeat")

    def quarantine(self) -> Check:
        return make("quarantine", self._quarantine, MEND, "quarantine list")

    def verify(self) -> Check:
        check = make("verify", self._verify, "run st-migrate verify", "verify")
        if check.ok or self._settles is None:
            return check
        return replace(check, remedy=f"run st-migrate {self._settles}", command=self._settles)

    def _attempt(self) -> Verdict:
        if attempt := self.arbiter.attempt or self._ours.attempt:
            return (
                False,
                f"attempt {attempt} by {self.arbiter.note or 'a process that is gone'} is on record",
            )
        if _roles(self.arbiter) != _roles(self._ours):
            return False, f"the control rows disagree (epochs {self._ours.epoch} and {self.arbiter.epoch})"
        if not self._stores.store(self.arbiter.primary).read_control().writable:
            return (
                False,
                f"{self.arbiter.primary} is primary and takes no writes: {self.arbiter.note or 'fenced'}",
            )
        return True, "none in progress"

    def _file(self) -> Verdict:
        require_newest(self._stores)
        return True, "each side is the newest that the other knows"

    def _writable(self) -> Verdict:
        if why := why_read_only(self._postgres.connection):
            raise ConfigurationError(why[0], hint=why[1])
        sides = writable_sides(self._stores)
        found = strangers(self._stores)
        if len(sides) > 1:
            return False, f"both sides take writes; {found or 'none has come yet'}"
        if found:
            raise Refused(
                str(found),
                hint="write those that are wanted on the primary, then run st-migrate verify --repair --discard-strangers",
            )
        return True, f"{sides[0] if sides else 'no side'} alone takes writes"

    def _columns(self) -> Verdict:
        narrow = narrow_columns(self._postgres.connection)
        if self._source.installed:
            return (
                True,
                f"as the application made them; {counted(len(narrow), 'takes', 'take')} less than SQLite, what does not fit is set aside",
            )
        if narrow:
            return (
                False,
                f"{counted(len(narrow), 'column is', 'columns are')} narrower on PostgreSQL than on SQLite: {some(narrow)}",
            )
        return True, "all accept what SQLite accepts"

    @cached_property
    def _versions(self) -> tuple[str, str]:
        return self._source.versions(self._sqlite.connection, self._postgres.connection)

    @property
    def _versions_or_none(self) -> tuple[str, ...]:
        with suppress(psycopg.Error, sqlite3.Error, SwitchError):
            return self._versions
        return ()

    @property
    def _same_revision(self) -> bool:
        return len(set(self._versions_or_none)) == 1

    @property
    def _lost_revision(self) -> str:
        """What to do about a side whose tables stand and whose revision is gone: no upgrade can go on from there."""
        found = self._versions_or_none
        if found.count(_NO_REVISION) != 1:
            return ""
        side, known = (Side.SQLITE, found[1]) if found[0] == _NO_REVISION else (Side.POSTGRES, found[0])
        return f"write the revision that the tables of {side} have into alembic_version there, {known} if both are alike"

    def _schema(self) -> Verdict:
        ours, theirs = self._versions
        if ours != theirs:
            if self._source.installed:
                return False, self._drift or f"schema {ours} on SQLite, {theirs} on PostgreSQL"
            return False, f"revision {ours} on SQLite, {theirs} on PostgreSQL"
        if isinstance(self._tables_or_error, SwitchError):
            # Both are at one revision, so no migration mends it.
            raise type(self._tables_or_error)(self._tables_or_error.message, hint=self._by_hand)
        word = "schema" if self._source.installed else "revision"
        return True, f"{counted(len(self.tables), 'table')}, {word} {ours}"

    @property
    def _drift(self) -> str:
        """What only one side has, where that is known."""
        return self._tables_or_error.message if isinstance(self._tables_or_error, SwitchError) else ""

    @property
    def _by_hand(self) -> str:
        """What a person has to do about tables that no migration mends: the statement, where it is known."""
        hint = self._tables_or_error.hint if isinstance(self._tables_or_error, SwitchError) else ""
        return BY_HAND if not hint or hint.startswith("run st-migrate") else hint

    @cached_property
    def _tables_or_error(self) -> Schema | SwitchError:
        try:
            return read_schema(self._sqlite.connection, self._postgres.connection)
        except SwitchError as error:
            return error

    @property
    def tables(self) -> Schema:
        """The tables of the pair.

        Raises:
            SchemaDrift: the sides differ.
        """
        if isinstance(self._tables_or_error, SwitchError):
            raise self._tables_or_error
        return self._tables_or_error

    def _inventory(self) -> Verdict:
        check_inventory(self._sqlite.connection, self.tables)
        check_postgres_inventory(self._postgres.connection, self.tables)
        return True, "complete"

    def _undisturbed(self) -> Verdict:
        """No setting switches the triggers off, and none of the application's fires with them; mended by hand."""
        schema = self.tables
        check_silence(self._postgres.connection)
        if foreign := foreign_triggers(self._sqlite.connection, self._postgres.connection, schema):
            named = some([trigger.place for trigger in foreign])
            raise Refused(
                f"triggers of the application fire for what apply writes: {named}", hint=foreign[0].remedy
            )
        return True, f"complete on both sides for {counted(len(schema), 'table')}"

    def _indexes(self) -> Verdict:
        missing = deferred.missing(self._postgres.connection, "index", "constraint")
        if not missing:
            return True, "all are there"
        return (
            False,
            f"{counted(len(missing), 'is', 'are')} missing: {some([f'{item.table}.{item.name}' for item in missing])}",
        )

    def _space(self) -> Verdict:
        on_sqlite = self.arbiter.primary is Side.SQLITE
        cursor = (self._sqlite if on_sqlite else self._postgres).connection.execute(_LOG_ENTRIES)
        (entries,) = cursor.fetchone() or (0,)
        found = rooms(self._sqlite.path, self._postgres.connection, entries)
        short = [room for room in found if not room.enough]
        return not short, "; ".join(map(str, short or found)) or "no disk can be seen from here"

    def _quarantine(self) -> Verdict:
        held = quarantined(self._postgres.connection)
        if held.unaccepted:
            return False, held.open_text()
        return True, f"{counted(held.rows, 'row')}, all accepted" if held.rows else "empty"

    def _verify(self) -> Verdict:
        verify = last_verify(self._postgres.connection)
        mark = verify_mark(self._stores, self.tables)
        if objection := verify_objection(verify, self.arbiter.epoch, self.tables, mark):
            self._settles = objection.command
            return False, objection.text
        assert verify is not None and verify.finished_at is not None
        return True, f"clean, {max(0, round(time.time() - verify.finished_at))} s ago"


def make(name: str, verdict: Callable[[], Verdict], remedy: str, command: str | None = None) -> Check:
    """Evaluate one condition; what keeps it from being evaluated means that it does not hold."""
    try:
        ok, detail = verdict()
    except ConfigurationError as error:
        return Check(name, False, error.message, error.hint or remedy)  # no command of ours settles it
    except SwitchError as error:
        if isinstance(error, NotPrepared) and (error.hint or "").startswith("run st-migrate prepare"):
            command = "prepare"
        return Check(name, False, error.message, error.hint or remedy, command)
    except (psycopg.Error, sqlite3.Error, TimeoutError) as error:
        remedy, command = mended_by(error) or (remedy, command)
        return Check(name, False, f"could not be evaluated: {first_line(error)}", remedy, command)
    return Check(name, ok, detail, "" if ok else remedy, None if ok else command)


def some(items: Sequence[str]) -> str:
    """The first few of many."""
    return ", ".join(items[:SHOWN]) + (" ..." if len(items) > SHOWN else "")


def _roles(control: Control) -> tuple[str, Side, int]:
    return control.pair, control.primary, control.epoch
