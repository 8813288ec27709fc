"""The gates of a switch: everything that has to hold before the fence may go up, each with its remedy.

Every gate is evaluated, so that the operator sees all that is wrong at once. Nothing that the gates do stays:
what has to be tried is tried in a transaction that is rolled back (`rehearsal`). The one thing that goes on
as ever is apply, because lag and pause are measured on its rounds. A gate that cannot be evaluated is closed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from app.db.apply.changed import ChangedKeys
from app.db.apply.outcome import Skipped
from app.db.apply.round import Applier
from app.db.common.errors import Refused, counted
from app.db.common.urls import Side
from app.db.revisions.source import SchemaSource, source_of
from app.db.rows.catalog import Schema
from app.db.sides.stores import Stores
from app.db.switch.ids import Ids
from app.db.switch.rehearsal import key_seconds, rehearse
from app.db.switch.state.checks import SHOWN, Check, Checks, Verdict, make, some

LONG_S = 0.5
NAMES = (
    "phase", "direction", "attempt", "file", "writable", "schema", "columns", "capture", "indexes", "space", "quarantine",
    "verify", "lag", "sequences", "changes", "pause", "reverse",
)  # fmt: skip


@dataclass(frozen=True)
class Gate:
    """One condition: whether it holds, what was found, and what to do if it does not."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def evaluate(
    applier: Applier,
    to: Side,
    *,
    max_pause_ms: int,
    max_lag: int = 10_000,
    source: SchemaSource | None = None,
    give_up_at: float | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> list[Gate]:
    """Evaluate every gate of a switch to `to`.

    Args:
        applier: the pair, through connections of this caller's own.
        max_pause_ms: how long writers may be held.
        max_lag: log entries that the shadow may be behind.
        give_up_at: the moment of `time.monotonic` from which changed keys are not compared any more.
        report: called with one line for each gate that takes long.
        source: what tells the sides' schemas apart; None: the pair's own.

    Raises:
        NotPrepared: a side carries no control row.
        ShadowUnavailable: PostgreSQL cannot be reached.
    """
    source = source or source_of(applier.stores.postgres.connection)
    gates = _Gates(applier, to, max_pause_ms, max_lag, source, give_up_at)
    found, began = [], time.monotonic()
    for gate in gates.gates():
        found.append(gate)
        if (took := time.monotonic() - began) > LONG_S:
            report(f"gate {gate.name} took {took:.1f} s: {gate.detail}")
        began = time.monotonic()
    return found


def require(gates: Sequence[Gate]) -> None:
    """Pass only if every gate does.

    Raises:
        Refused: with the reason of each gate that is closed.
    """
    closed = [gate for gate in gates if not gate.ok]
    if closed:
        raise Refused(
            f"{len(closed)} of {len(gates)} gates {'is' if len(closed) == 1 else 'are'} closed: {', '.join(gate.name for gate in closed)}",
            reasons=tuple(f"{gate.name}: {gate.detail} ({gate.remedy})" for gate in closed),
            hint=closed[0].remedy,
        )


class _Gates(Checks):
    """The checks, and what only a switch asks: those that try something or need a direction."""

    def __init__(
        self,
        applier: Applier,
        to: Side,
        max_pause_ms: int,
        max_lag: int,
        source: SchemaSource,
        give_up_at: float | None,
    ) -> None:
        super().__init__(applier.stores, source)
        self._applier = applier
        self._to = to
        self._max_pause_ms = max_pause_ms
        self._max_lag = max_lag
        self._changed_keys = ChangedKeys(applier, give_up_at)

    def gates(self) -> Iterator[Gate]:
        yield _gate(self.phase())
        yield _gate(make("direction", self._direction, "name the other side"))
        yield _gate(self.attempt())
        for check in (*self.sound(), self.indexes(), self.space(), self.quarantine(), self.verify()):
            yield _gate(check)
        lagging = "run st-migrate worker --until-drained"
        yield _gate(make("lag", self._lag, lagging))
        yield _gate(sequences(self._stores, lambda: self.tables, self._to))
        repair = "run st-migrate verify --repair, then st-migrate verify"
        yield _gate(make("changes", self._changes, repair))
        quieter = "repeat at a quieter moment, or allow more with --max-pause-ms"
        yield _gate(make("pause", self._pause, quieter))
        yield _gate(make("reverse", self._reverse, "run st-migrate prepare, which installs capture again"))

    def _direction(self) -> Verdict:
        primary, epoch = self.arbiter.primary, self.arbiter.epoch
        return primary is not self._to, f"{primary} is primary at epoch {epoch}"

    def _lag(self) -> Verdict:
        outcome = self._applier.round()
        primary, shadow = self._stores.directions()
        position = shadow.read_position()
        with primary.source() as source:
            behind = source.backlog(position).entries
        standing = f", apply stands still: {outcome.reason}" if isinstance(outcome, Skipped) else ""
        told = f"{counted(behind, 'change')} behind, {self._max_lag} allowed{standing}"
        if behind > self._max_lag and shadow.read_control().paused:
            raise Refused(told, hint="run st-migrate resume, then st-migrate worker --until-drained")
        return behind <= self._max_lag, told

    def _changes(self) -> Verdict:
        """What the switch will compare again must be equal already; it would abort otherwise."""
        found = self._changed_keys.check_rest()
        if found:
            differ = counted(len(found), "row differs", "rows differ")
            return False, f"{differ}: {some([f'{m.table} {m.key_text()}' for m in found])}"
        return True, f"{counted(self._changed_keys.checked, 'key')} changed since the verify, all equal"

    def _pause(self) -> Verdict:
        """What happens between the fence and the commit, done once without them."""
        self._applier.round()
        self._changed_keys.check_rest()
        started = time.monotonic()
        self._applier.round(durable=True)
        drained = time.monotonic()
        self._changed_keys.check_rest()
        checked = time.monotonic()
        keys, keyed = key_seconds(self._postgres) if self._to is Side.POSTGRES else (0, 0.0)
        total = (checked - started + keyed) * 1000
        return total <= self._max_pause_ms, (
            f"{total:.0f} ms expected, {self._max_pause_ms} allowed (drain {(drained - started) * 1000:.0f}, "
            f"check {(checked - drained) * 1000:.0f}, {keys} foreign keys {keyed * 1000:.0f})"
        )

    def _reverse(self) -> Verdict:
        if self.arbiter.primary is self._to:
            return False, f"{self._to} already is primary"
        return rehearse(self._stores, self.tables, self._to)


def until_cutover(stores: Stores, source: SchemaSource) -> list[Check]:
    """All checks of a pair. Before a cutover also the gate that none of them shows, once the others hold.

    Raises:
        NotPrepared: a side carries no control row.
        ShadowUnavailable: PostgreSQL cannot be reached.
    """
    checks = Checks(stores, source)
    found = list(checks.all())
    if checks.arbiter.primary is Side.SQLITE and all(check.ok for check in found):
        found.append(sequences(stores, lambda: checks.tables, Side.POSTGRES))
    return found


def sequences(stores: Stores, tables: Callable[[], Schema], to: Side) -> Check:
    """Whether `to` as the primary would give out no id twice."""

    def verdict() -> Verdict:
        found = Ids(stores, tables()).objections(to)
        return (False, "; ".join(found[:SHOWN])) if found else (True, "no id is given out twice")

    wider = "run the statement that is named, or give what is named another id, or its column a wider type"
    return make("sequences", verdict, wider)


def _gate(check: Check) -> Gate:
    return Gate(check.name, check.ok, check.detail, "" if check.ok else check.remedy)
