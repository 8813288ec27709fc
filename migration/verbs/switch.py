"""Verbs that decide who is primary: cutover, rollback, recover."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Annotated, Any

import typer

from app.db.apply.round import Applier
from app.db.common.errors import ConfigurationError, Refused
from app.db.common.urls import Side
from app.db.sides.stores import Stores
from app.db.switch import gates, guarded
from app.db.switch.attempt import MOST_PAUSE_MS
from app.db.switch.coordinator import Aborted, Moved
from app.db.switch.moments import Moment, Moments
from app.db.switch.recover import Recovered, recover
from app.db.switch.state import readiness
from app.db.switch.state.writable import strangers
from migration.common.outcome import Exit, Outcome
from migration.common.plain import counted
from migration.fill.before.backup import before_first_cutover
from migration.switch import forced
from migration.switch import run as switching
from migration.switch.away import Hooks, NotAgain, told_around, while_away
from migration.verbs.frame import Call, verb
from migration.verify.checking import mismatch_json

SHOWN = 10  # rows left behind that a line names; the JSON object has all
MaxPause = Annotated[
    int,
    typer.Option(
        "--max-pause-ms", min=1, max=MOST_PAUSE_MS, help="Give up when writers would wait longer than this."
    ),
]
MaxSeconds = Annotated[
    int,
    typer.Option(
        "--max-seconds", min=1, max=86_400, help="Give up when the switch is not made within this time."
    ),
]
At = Annotated[
    str,
    typer.Option(
        "--at", metavar="TIME", help="Begin at this time: 22:30, or 2026-11-28T22:30 with or without offset."
    ),
]
Within = Annotated[
    str,
    typer.Option(
        "--within",
        metavar="DURATION|WINDOW",
        help="Wait for the gates for as long (90m, 1h30m), or from when to when (22:00-23:30), then give up.",
    ),
]
Stop = Annotated[
    str,
    typer.Option(
        "--stop",
        metavar="COMMAND",
        help="Stop the application by this command once the gates agree, then switch.",
    ),
]
Start = Annotated[
    str,
    typer.Option(
        "--start",
        metavar="COMMAND",
        help="Start the application by this command, switched or not. ST_PRIMARY and ST_DATABASE_URL name its side.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show gates and steps, change nothing.")]
YesName = Annotated[
    str | None,
    typer.Option(
        "--yes", metavar="NAME", help="The name of the PostgreSQL database, so that nothing is asked."
    ),
]


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    for name, function in (
        ("cutover", cutover),
        ("rollback", rollback),
        ("recover", recover_verb),
    ):
        verb(app, name)(function)


def cutover(
    call: Call,
    dry_run: DryRun = False,
    max_pause_ms: MaxPause = 1500,
    max_seconds: MaxSeconds = 60,
    at: At = "",
    within: Within = "",
    stop: Stop = "",
    start: Start = "",
) -> Outcome:
    """Make PostgreSQL the primary. Running processes follow; --stop and --start restart an application that cannot."""
    window = window_of(at, within, max_seconds)
    return _switch(call, Side.POSTGRES, dry_run, Terms(max_pause_ms, max_seconds, window), Hooks(stop, start))


def rollback(
    call: Call,
    dry_run: DryRun = False,
    max_pause_ms: MaxPause = 1500,
    max_seconds: MaxSeconds = 60,
    at: At = "",
    within: Within = "",
    stop: Stop = "",
    start: Start = "",
    force: Annotated[
        bool, typer.Option("--force", help="PostgreSQL is gone: make SQLite primary as it is.")
    ] = False,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="With --force: give up what PostgreSQL alone acknowledged.")
    ] = False,
) -> Outcome:
    """Make SQLite the primary again, by the same protocol mirrored."""
    window = window_of(at, within, max_seconds)
    if force:
        if window:
            raise ConfigurationError("--force does not wait", hint="leave --at and --within out")
        return _force(call, accept_loss and not dry_run)
    return _switch(call, Side.SQLITE, dry_run, Terms(max_pause_ms, max_seconds, window), Hooks(stop, start))


@dataclass(frozen=True)
class Terms:
    """How long writers may wait, how long attempts may be made, and when. `window` is None for a switch at once."""

    max_pause_ms: int
    max_seconds: float = guarded.LIMIT_S
    window: switching.Window | None = None


def window_of(at: str, within: str, max_seconds: int) -> switching.Window | None:
    """The window that the options name; raises ConfigurationError."""
    return switching.window(at, within, max_seconds, datetime.now().astimezone())


Done = Moved | Aborted | guarded.Already


def make_switch(
    call: Call, applier: Applier, to: Side, terms: Terms, moments: Moments, hooks: Hooks | None = None
) -> tuple[Done | switching.GaveUp, float | None]:
    """Switch, at once or within a window; returns how it ended, and how long the application was away.

    Raises:
        Refused, SwitchError: see `guarded.switch` and `while_away`.
    """

    def switch(limit_s: float, told: guarded.Told) -> Done:
        return guarded.switch(
            applier,
            to,
            max_pause_ms=terms.max_pause_ms,
            report=call.report,
            limit_s=limit_s,
            told=told,
        )

    def ask() -> list[gates.Gate] | guarded.Already:
        return guarded.evaluate(applier, to, terms.max_pause_ms)

    def attempt(left_s: float) -> tuple[Done, float | None]:
        began = time.monotonic()
        before_first_cutover(applier.stores, call.pair().path, to, call.report)

        def limit_s() -> float:
            return min(terms.max_seconds, left_s - (time.monotonic() - began)) if terms.window else left_s

        if limit_s() <= 0:
            raise Refused(
                "the window closed while SQLite's file was copied", hint="repeat within another window"
            )
        told = guarded.Told(moments, to, applier.stores, limit_s())
        if not hooks:
            return switch(limit_s(), told), None
        if isinstance(found := ask(), guarded.Already):
            return found, None
        gates.require(found)
        pair, stores, report = call.pair(), applier.stores, call.report
        return told_around(
            told, moments, lambda: while_away(hooks, pair, stores, report, lambda: switch(limit_s(), told))
        )

    def again(ended: tuple[Done, float | None]) -> str | None:
        done, away_s = ended
        return done.reason if isinstance(done, Aborted) and done.retryable and away_s is None else None

    try:
        if terms.window is None:
            return attempt(terms.max_seconds)
        ended = switching.in_window(terms.window, ask, attempt, again, call.report)
    except NotAgain as once:
        raise once.refused from None
    return (ended, None) if isinstance(ended, switching.GaveUp) else ended


def _switch(call: Call, to: Side, dry_run: bool, terms: Terms, hooks: Hooks) -> Outcome:
    moments = call.moments()
    with call.prepared() as stores:
        left = left_behind_by(stores, to)
        if left:
            call.report(loss_of(left, to))
        applier = Applier(stores)
        if dry_run:
            return _planned(guarded.evaluate(applier, to, terms.max_pause_ms), to, left)
        done, away_s = make_switch(call, applier, to, terms, moments, hooks)
        guarded.tell_for_the_dead(stores, moments)  # where that switch needed no attempt of ours
        outcome = switched(stores, done, call.report)
        outcome = with_left_behind(outcome, left) if isinstance(done, Moved) else outcome
    if away_s is None:
        return outcome
    message = f"{outcome.message}; the application was away for {away_s:.1f} s"
    return replace(outcome, message=message, data={**outcome.data, "away_s": round(away_s, 3)})


def with_left_behind(outcome: Outcome, left: list[dict[str, str]]) -> Outcome:
    return replace(outcome, data={**outcome.data, "left_behind": left})


def left_behind_by(stores: Stores, primary: Side) -> list[dict[str, str]]:
    """Rows that only the other side holds, once this one is primary."""
    found = readiness.left_behind(stores.postgres.connection, primary.other)
    return [{"table": table, "key": key} for table, key in found]


def loss_of(left: list[dict[str, str]], primary: Side) -> str:
    named = ", ".join(f"{row['table']} {row['key']}" for row in left[:SHOWN])
    more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
    return (
        f"{counted(len(left), f'row of {primary.other}', f'rows of {primary.other}')} that {primary} cannot hold "
        f"{'stays' if len(left) == 1 else 'stay'} behind there: {named}{more}"
    )


def _planned(found: list[gates.Gate] | guarded.Already, to: Side, left: list[dict[str, str]]) -> Outcome:
    if isinstance(found, guarded.Already):
        return _already(found, [])
    closed = [gate for gate in found if not gate.ok]
    data = {"to": str(to), "gates": [asdict(gate) for gate in found], "steps": switching.steps(to)}
    data["left_behind"] = left
    if closed:
        return Outcome("refused", counted(len(closed), "gate says no", "gates say no"), Exit.FINDINGS, data)
    return Outcome("ready", f"every gate agrees to make {to} primary", data=data)


def _already(found: guarded.Already, not_valid: list[str]) -> Outcome:
    data = {"primary": str(found.primary), "epoch": found.epoch, "foreign_keys_not_valid": not_valid}
    return Outcome("already_primary", f"{found.primary} is primary at epoch {found.epoch}", data=data)


def switched(stores: Stores, done: Done | switching.GaveUp, report: Callable[[str], None]) -> Outcome:
    """The outcome of a switch; validates PostgreSQL's foreign keys where it is primary."""
    if isinstance(done, switching.GaveUp):
        data = {**asdict(done.window), "reasons": list(done.reasons)}
        message = f"not switched within {done.window}, the old primary takes writes: {done.reasons[0]}"
        return Outcome("gave_up", message, Exit.FINDINGS, data)
    if isinstance(done, Aborted):
        return _aborted(done)
    on_postgres = done.primary is Side.POSTGRES
    not_valid = switching.validate_keys(stores, report) if on_postgres else []
    if isinstance(done, guarded.Already):
        return _already(done, not_valid)
    data = {**asdict(done), "primary": str(done.primary), "foreign_keys_not_valid": not_valid}
    del data["not_valid"]
    message = f"{done.primary} is primary at epoch {done.epoch}; writers waited {done.pause_ms:.0f} ms"
    return Outcome("moved", message, data=data)


def _aborted(done: Aborted) -> Outcome:
    data: dict[str, Any] = {
        "retryable": done.retryable,
        "pause_ms": done.pause_ms,
        "keys": [mismatch_json(item) for item in done.mismatches],
    }
    message = f"not switched, the old primary takes writes: {done.reason}"
    return Outcome("aborted", message, Exit.FAILED if done.retryable else Exit.FINDINGS, data)


def _force(call: Call, accepted: bool) -> Outcome:
    moments = call.moments()
    with call.stores() as stores:
        examined = forced.examine(stores)
        if examined is None:
            epoch = stores.sqlite.read_control().epoch
            return _already(guarded.Already(Side.SQLITE, epoch), [])
        control, loss = examined
        data: dict[str, Any] = {"loss": {**asdict(loss), "statement": str(loss)}}
        if not accepted:
            message = f"{loss}. Repeat with --force --accept-loss to give that up"
            return Outcome("loss_not_accepted", message, Exit.FINDINGS, data)
        done = forced.force(stores, control, loss)
    moments.tell(
        Moment.AFTER_PROMOTE, to=Side.SQLITE, primary=Side.SQLITE, epoch=done.epoch, forced=True, loss=loss
    )
    data |= {"primary": "sqlite", "epoch": done.epoch}
    return Outcome("forced", f"sqlite is primary at epoch {done.epoch}; {loss}", data=data)


_RECOVERED: dict[Recovered, tuple[str, Exit]] = {
    Recovered.NOTHING: ("nothing was left behind", Exit.DONE),
    Recovered.WAIT: ("a switch is under way and within its deadline; repeat later", Exit.FINDINGS),
    Recovered.FOLLOWED: ("SQLite's control row follows PostgreSQL's again", Exit.DONE),
    Recovered.ENDED: ("a dead switch was undone, the old primary takes writes", Exit.DONE),
    Recovered.RELEASED: ("PostgreSQL is away; SQLite takes writes again", Exit.DONE),
    Recovered.UNKNOWN: (
        "only PostgreSQL knows whether the switch took place: start it and repeat",
        Exit.FAILED,
    ),
    Recovered.FENCED: (
        "both sides took writes; the one that is not primary is fenced. Next: st-migrate verify, and decide about "
        "the rows that were written there",
        Exit.FINDINGS,
    ),
    Recovered.SUPERSEDED: (
        "PostgreSQL was left behind by a forced rollback and is fenced; next: st-migrate abort",
        Exit.DONE,
    ),
}


def recover_verb(call: Call) -> Outcome:
    """Finish or undo what a dead process left between the two sides."""
    moments = call.moments()
    with call.stores() as stores:
        found = recover(stores)
        guarded.tell_for_the_dead(stores, moments)
        control = stores.sqlite.read_control()
        strange = strangers(stores).keys if found in (Recovered.FENCED, Recovered.NOTHING) else {}
    message, exit_code = _RECOVERED[found]
    data = {
        "primary": str(control.primary),
        "epoch": control.epoch,
        "writable": control.writable,
        "strangers": {
            table: [None if key is None else str(key) for key in keys] for table, keys in strange.items()
        },
    }
    return Outcome(str(found), message, exit_code, data)
