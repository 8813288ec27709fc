"""Complete and abort: back to one database, the current primary, with nothing of ours left on it.

Safety order: PostgreSQL's control row goes to `completing` first. So no switch can begin, and a second call
knows what was under way. Then SQLite is cleaned in one transaction. It also puts up the permanent fence if
SQLite is the side that is left behind. Then the same happens on PostgreSQL. A crash in between leaves both
sides fenced as they were, and the same command goes on.

The side that is left behind keeps its data and, if it ever was primary, a permanent fence (`retired`).
A PostgreSQL that never was primary is nothing but a copy: abort leaves it as prepare found it. Tables that were
made since are dropped, and those that were found stand there empty.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors as pg_errors
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random

from app.db.apply.round import Applier
from app.db.common.errors import NotPrepared, Refused, ShadowUnavailable, StaleAttempt
from app.db.common.failpoints import Failpoint, failpoint
from app.db.common.urls import Side
from app.db.rows.catalog import postgres_columns, quote, sqlite_columns
from app.db.sides.capture import triggers as capture
from app.db.sides.control import Control, advance, note_ending, postgres_control
from app.db.sides.phase import Phase
from app.db.sides.postgres import deferred
from app.db.sides.postgres.store import PostgresStore
from app.db.sides.sqlite.bulletin import remove_bulletin
from app.db.sides.sqlite.store import SqliteStore
from app.db.sides.stores import Stores
from app.db.switch.recover import Recovered, recover
from app.db.switch.state.readiness import open_points
from migration.common.trail import keep_events
from migration.fill.before import origin, paired
from migration.switch import retired

LOCKS_WITHIN_S = 60.0
Report = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is to be ended; kept in PostgreSQL's control row until all is done.

    `verb`: complete or abort. `primary`, `epoch`: what stays. `fence`: whether the other side keeps a
    permanent fence. `drop_copy`: whether PostgreSQL's tables go.
    """

    verb: str
    primary: Side
    epoch: int
    fence: bool
    drop_copy: bool


@dataclass(frozen=True)
class Ended:
    """What was done; `plan` is None where nothing of a move was found on either side."""

    plan: Plan | None
    journal_mode: str | None = None
    not_standing: tuple[str, ...] = ()  # indexes and keys that PostgreSQL, now alone, does not have


def end(stores: Stores, verb: str, *, unfence: bool, report: Report) -> Ended:
    """End dual-write on the current primary, or finish what an earlier call began.

    Raises:
        Refused: for both, a switch or another command of this kind is under way. For complete, the shadow is not equal, or not known to be.
        NotPrepared: only one side carries a control row, or they belong to different pairs.
        SwitchError: the history cannot be kept. Nothing of PostgreSQL's bookkeeping is gone.
    """
    with paired.alone(stores.postgres):
        return _end(stores, verb, unfence, report)


def _end(stores: Stores, verb: str, unfence: bool, report: Report) -> Ended:
    ours, theirs = controls(stores)
    if ours is None and theirs is None:
        if unfence:
            _unfence(stores)
        return Ended(None)
    if theirs is not None and theirs.phase == Phase.COMPLETING:
        plan = _plan_under_way(theirs, verb)
    else:
        plan = _begin(stores, ours, theirs, verb, unfence)
    report(f"{plan.primary} stays, at epoch {plan.epoch}")
    mode = clean_sqlite(stores.sqlite, plan)
    report("SQLite is clean")
    failpoint(Failpoint.COMPLETE_SQLITE)
    keep_events(stores)
    not_standing = _clean_postgres(stores, plan)
    report("PostgreSQL is clean")
    return Ended(plan, mode, not_standing)


def controls(stores: Stores) -> tuple[Control | None, Control | None]:
    """Both control rows, None where there is none."""
    return _control(stores.sqlite), _control(stores.postgres)


def _control(store: SqliteStore | PostgresStore) -> Control | None:
    try:
        return store.read_control()
    except NotPrepared:
        return None


def _plan_under_way(theirs: Control, verb: str) -> Plan:
    stored: dict[str, Any] = json.loads(theirs.note or "{}")
    if stored["verb"] != verb:
        raise Refused(
            f"{stored['verb']} is under way",
            hint=f"run st-migrate {stored['verb']} again, it finishes the work",
        )
    return Plan(**{**stored, "primary": Side(stored["primary"])})


def _begin(stores: Stores, ours: Control | None, theirs: Control | None, verb: str, unfence: bool) -> Plan:
    """Decide what stays and put it on record."""
    if theirs is None:
        raise NotPrepared(
            "the PostgreSQL database carries no control row, the SQLite file does",
            hint="check --postgres; if that database is lost: st-migrate abort --without-postgres",
        )
    if ours is None and theirs.phase != Phase.PREPARING:
        raise NotPrepared(
            "the SQLite file carries no control row, the PostgreSQL database does", hint="check --sqlite"
        )
    if ours is not None:
        if ours.pair != theirs.pair:
            raise NotPrepared("the two databases belong to different pairs", hint="check both URLs")
        if recover(stores) is Recovered.WAIT:
            raise Refused("a switch is under way", hint="wait for it to end, see st-migrate status")
        ours, theirs = stores.sqlite.read_control(), stores.postgres.read_control()
    superseded = ours is not None and ours.epoch > theirs.epoch
    primary, epoch = (Side.SQLITE, ours.epoch) if ours and superseded else (theirs.primary, theirs.epoch)
    if verb == "complete":
        points = (
            ["PostgreSQL was left behind by a forced rollback"]
            if superseded
            else open_points(Applier(stores))
        )
        if points:
            raise Refused(
                "the shadow is not known to be equal",
                reasons=tuple(points),
                hint="settle that and repeat, or give the move up with st-migrate abort",
            )
    never_primary = epoch == 1 and verb == "abort"
    plan = Plan(verb, primary, epoch, fence=not (unfence or never_primary), drop_copy=never_primary)
    _mark(stores.postgres, theirs, plan)
    return plan


def _mark(postgres: PostgresStore, seen: Control, plan: Plan) -> None:
    with postgres.write() as connection:
        now = postgres_control(connection, lock=True)
        if now.attempt is not None or (now.epoch, now.phase) != (seen.epoch, seen.phase):
            raise StaleAttempt("the pair changed meanwhile", hint="see st-migrate status, then repeat")
        assert now.phase is not None
        advance(connection, now.phase, Phase.COMPLETING, now.epoch)
        note_ending(connection, now.epoch, json.dumps(vars(plan)))


def clean_sqlite(sqlite: SqliteStore, plan: Plan) -> str | None:
    """Remove everything of ours in one transaction. Returns the journal mode that is in force then."""
    control = _control(sqlite)
    if control is None:
        return None
    with sqlite.write() as connection:
        if plan.primary is Side.POSTGRES and plan.fence:
            retired.retire_sqlite(connection, plan.epoch)
        capture.remove_sqlite(connection)
    remove_bulletin(sqlite.path)
    return _restore_journal_mode(sqlite.connection, control.note)


def _restore_journal_mode(connection: sqlite3.Connection, note: str | None) -> str:
    """Needs the file for itself for a moment; where it cannot have that, the mode stays: harmless."""
    wanted = (note or "").removeprefix("journal_mode=")
    try:
        if wanted.isalpha():
            connection.execute(f"PRAGMA journal_mode = {wanted}")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
    return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def _clean_postgres(stores: Stores, plan: Plan) -> tuple[str, ...]:
    """Remove everything of ours in one transaction, giving way to whoever holds a table.

    Returns:
        Indexes and foreign keys that PostgreSQL, now alone, does not have.
    """
    not_standing: tuple[str, ...] = ()
    if plan.primary is Side.POSTGRES:
        found = deferred.missing(stores.postgres.connection, "index", "constraint", "foreign_key")
        not_standing = tuple(f"{table}.{name}" for name, table, *_ in found)
    ours = set(sqlite_columns(stores.sqlite.connection))
    attempts = Retrying(
        retry=retry_if_exception_type((pg_errors.LockNotAvailable, pg_errors.DeadlockDetected)),
        wait=wait_random(0.1, 0.5),
        stop=stop_after_delay(LOCKS_WITHIN_S),
        reraise=True,
    )
    attempts(_remove_postgres, stores.postgres, plan, ours)
    return not_standing


def _remove_postgres(postgres: PostgresStore, plan: Plan, ours: set[str]) -> None:
    with postgres.write() as connection:
        tables = list(postgres_columns(connection))
        if tables:
            with deferred.giving_way(connection):
                connection.execute(
                    f"LOCK TABLE {', '.join(map(quote, tables))} IN ACCESS EXCLUSIVE MODE".encode()
                )
        if plan.drop_copy:
            origin.restore(connection, ours)
        elif plan.primary is Side.SQLITE:
            deferred.add_foreign_keys(connection)
            if plan.fence:
                retired.retire_postgres(connection, plan.epoch)
        capture.remove_postgres(connection)
        if plan.primary is Side.POSTGRES:
            retired.mark_served(connection, plan.epoch)


def _unfence(stores: Stores) -> None:
    with stores.sqlite.write() as sqlite:
        retired.unfence_sqlite(sqlite)
    with stores.postgres.write() as postgres:
        retired.unfence_postgres(postgres)


def end_without_postgres(stores: Stores) -> Ended:
    """Back to SQLite alone while PostgreSQL cannot be asked.

    Raises:
        Refused: SQLite is not the primary, or may not be, or PostgreSQL answers after all.
    """
    control = stores.sqlite.read_control()
    try:
        answers = stores.postgres.read_control().pair == control.pair
    except (ShadowUnavailable, NotPrepared, psycopg.OperationalError):
        answers = False
    if answers:
        raise Refused("PostgreSQL answers", hint="run st-migrate abort without --without-postgres")
    if control.attempt is not None:
        recover(stores)
        control = stores.sqlite.read_control()
    if control.primary is not Side.SQLITE or not control.writable:
        raise Refused(
            "the primary is not SQLite, as far as SQLite knows",
            hint="bring PostgreSQL back, or see st-migrate rollback --force",
        )
    plan = Plan("abort", Side.SQLITE, control.epoch, fence=False, drop_copy=False)
    return Ended(plan, clean_sqlite(stores.sqlite, plan))
