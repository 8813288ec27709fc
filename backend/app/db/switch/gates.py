"""The gates of a switch: everything that has to hold before the fence may go up, each with its remedy.

Every gate is evaluated, so that the operator sees all that is wrong at once, and nothing they do stays:
what has to be tried is tried in a transaction that is rolled back (`rehearsal`). The one thing that goes
on as ever is apply, because lag and pause are measured on its rounds. A gate that cannot be evaluated
is closed.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import psycopg

from app.db.apply.changed import DirtyKeys
from app.db.apply.round import Applier, Standing
from app.db.common.errors import Refused, SwitchError
from app.db.common.urls import Side
from app.db.revisions.source import Alembic, SchemaSource
from app.db.rows.catalog import Schema, read_schema
from app.db.sides.capture.inventory import check_postgres_inventory
from app.db.sides.capture.silence import check_silence
from app.db.sides.capture.triggers import check_inventory
from app.db.sides.control import Control
from app.db.sides.phase import Phase
from app.db.sides.postgres import deferred
from app.db.switch.readiness import last_verify, quarantined, verify_objection
from app.db.switch.rehearsal import key_seconds, rehearse

SHOWN = 5


@dataclass(frozen=True)
class Gate:
    """One condition: whether it holds, what was found, and what to do if it does not."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


Verdict = tuple[bool, str]


def evaluate(
    applier: Applier,
    to: Side,
    *,
    max_pause_ms: int,
    max_lag: int = 10_000,
    source: SchemaSource | None = None,
) -> list[Gate]:
    """Evaluate every gate of a switch to `to`.

    Args:
        applier: the pair, through connections of this caller's own.
        max_pause_ms: how long writers may be held.
        max_lag: log entries that the shadow may be behind.
        source: what tells the sides' schemas apart; None for the backend's Alembic chain.

    Raises:
        NotPrepared: a side carries no control row.
        ShadowUnavailable: PostgreSQL cannot be reached.
    """
    gates = _Gates(applier, to, max_pause_ms, max_lag, source or Alembic())
    return list(gates.all())


def require(gates: Sequence[Gate]) -> None:
    """Pass only if every gate does.

    Raises:
        Refused: with the reason of each gate that is closed.
    """
    closed = [gate for gate in gates if not gate.ok]
    if closed:
        raise Refused(
            f"{len(closed)} of {len(gates)} gates are closed: {', '.join(gate.name for gate in closed)}",
            reasons=tuple(f"{gate.name}: {gate.detail} ({gate.remedy})" for gate in closed),
            hint=closed[0].remedy,
        )


class _Gates:
    def __init__(
        self, applier: Applier, to: Side, max_pause_ms: int, max_lag: int, source: SchemaSource
    ) -> None:
        self._source = source
        self._applier = applier
        self._stores = applier.stores
        self._sqlite, self._postgres = applier.stores.sqlite, applier.stores.postgres
        self._to = to
        self._max_pause_ms = max_pause_ms
        self._max_lag = max_lag
        self._arbiter = self._postgres.read_control()
        self._ours = self._sqlite.read_control()
        self._dirty = DirtyKeys(applier)

    def all(self) -> Iterator[Gate]:
        yield _gate("phase", self._phase, "run st-migrate backfill")
        yield _gate("direction", self._direction, "name the other side")
        yield _gate("attempt", self._attempt, "run st-migrate recover")
        yield _gate("schema", self._schema, "run alembic upgrade head with both URLs set")
        yield _gate("capture", self._capture, "run st-migrate prepare, then st-migrate verify")
        yield _gate("indexes", self._indexes, "create what is named, as st_deferred_ddl has it")
        yield _gate(
            "quarantine", self._quarantine, "run st-migrate quarantine list, then fix or accept each row"
        )
        yield _gate("verify", self._verify, "run st-migrate verify")
        yield _gate("lag", self._lag, "let st-migrate worker catch up; st-migrate status shows the lag")
        yield _gate("changes", self._changes, "run st-migrate verify --repair, then st-migrate verify")
        yield _gate("pause", self._pause, "repeat at a quieter moment, or allow more with --max-pause-ms")
        yield _gate("reverse", self._reverse, "run st-migrate prepare, which installs capture again")

    def _phase(self) -> Verdict:
        phase = self._arbiter.phase
        return phase == Phase.REPLICATING, f"phase {phase}"

    def _direction(self) -> Verdict:
        primary, epoch = self._arbiter.primary, self._arbiter.epoch
        return primary is not self._to, f"{primary} is primary at epoch {epoch}"

    def _attempt(self) -> Verdict:
        if attempt := self._arbiter.attempt or self._ours.attempt:
            return (
                False,
                f"attempt {attempt} by {self._arbiter.note or 'a process that is gone'} is on record",
            )
        if _stand(self._arbiter) != _stand(self._ours):
            return False, f"the control rows disagree (epochs {self._ours.epoch} and {self._arbiter.epoch})"
        if not self._stores.store(self._arbiter.primary).read_control().writable:
            return (
                False,
                f"{self._arbiter.primary} is primary and takes no writes: {self._arbiter.note or 'fenced'}",
            )
        return True, "none in progress"

    def _schema(self) -> Verdict:
        ours, theirs = self._source.versions(self._sqlite.connection, self._postgres.connection)
        if ours != theirs:
            return False, f"revision {ours} on SQLite, {theirs} on PostgreSQL"
        tables = len(self._tables)
        return True, f"{tables} tables, revision {ours}"

    @cached_property
    def _tables(self) -> Schema:
        return read_schema(self._sqlite.connection, self._postgres.connection)

    def _capture(self) -> Verdict:
        schema = self._tables
        check_inventory(self._sqlite.connection, schema)
        check_postgres_inventory(self._postgres.connection, schema)
        check_silence(self._postgres.connection)
        return True, f"complete on both sides for {len(schema)} tables"

    def _indexes(self) -> Verdict:
        missing = deferred.missing(self._postgres.connection, "index", "constraint")
        if not missing:
            return True, "all are there"
        return (
            False,
            f"{len(missing)} are missing: {_some([f'{table}.{name}' for name, table, _, _ in missing])}",
        )

    def _quarantine(self) -> Verdict:
        held = quarantined(self._postgres.connection)
        if held.unaccepted:
            return False, f"{held.unaccepted} rows that PostgreSQL cannot hold: {_some(held.named)}"
        return True, f"{held.rows} rows, all accepted" if held.rows else "empty"

    def _verify(self) -> Verdict:
        verify = last_verify(self._postgres.connection)
        if objection := verify_objection(verify, self._arbiter.epoch, self._tables):
            return False, objection.text
        assert verify is not None and verify.finished_at is not None
        return True, f"clean, {max(0, round(time.time() - verify.finished_at))} s ago"

    def _lag(self) -> Verdict:
        outcome = self._applier.round()
        primary, shadow = self._stores.directions()
        position = shadow.read_position()
        with primary.source() as source:
            behind = source.backlog(position).entries
        standing = f", apply stands still: {outcome.reason}" if isinstance(outcome, Standing) else ""
        return behind <= self._max_lag, f"{behind} changes behind, {self._max_lag} allowed{standing}"

    def _changes(self) -> Verdict:
        """What the switch will compare again must be equal already; it would abort otherwise."""
        found = self._dirty.check_rest()
        if found:
            return False, f"{len(found)} rows differ: {_some([f'{m.table} {m.key_text()}' for m in found])}"
        return True, f"{self._dirty.checked} keys changed since the verify, all equal"

    def _pause(self) -> Verdict:
        """What happens between the fence and the commit, done once without them."""
        self._applier.round()
        self._dirty.check_rest()
        started = time.monotonic()
        self._applier.round(durable=True)
        drained = time.monotonic()
        self._dirty.check_rest()
        checked = time.monotonic()
        keys, keyed = key_seconds(self._postgres) if self._to is Side.POSTGRES else (0, 0.0)
        total = (checked - started + keyed) * 1000
        return total <= self._max_pause_ms, (
            f"{total:.0f} ms expected, {self._max_pause_ms} allowed (drain {(drained - started) * 1000:.0f}, "
            f"check {(checked - drained) * 1000:.0f}, {keys} foreign keys {keyed * 1000:.0f})"
        )

    def _reverse(self) -> Verdict:
        if self._arbiter.primary is self._to:
            return False, f"{self._to} already is primary"
        return rehearse(self._stores, self._tables, self._to)


def _gate(name: str, verdict: Callable[[], Verdict], remedy: str) -> Gate:
    """Evaluate one gate; what keeps it from being evaluated closes it."""
    try:
        ok, detail = verdict()
    except SwitchError as error:
        return Gate(name, False, error.message, error.hint or remedy)
    except (psycopg.Error, sqlite3.Error) as error:
        return Gate(name, False, f"could not be evaluated: {str(error).splitlines()[0]}", remedy)
    return Gate(name, ok, detail, "" if ok else remedy)


def _stand(control: Control) -> tuple[str, Side, int]:
    return control.pair, control.primary, control.epoch


def _some(items: Sequence[str]) -> str:
    return ", ".join(items[:SHOWN]) + (" ..." if len(items) > SHOWN else "")
