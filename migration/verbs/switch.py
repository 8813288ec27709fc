"""Verbs that decide who is primary: cutover, rollback, recover, complete, abort."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer

from app.db.apply.round import Applier
from app.db.common.urls import Side
from app.db.rows.catalog import names_left_out
from app.db.sides.stores import Stores
from app.db.switch import gates, guarded
from app.db.switch.coordinator import Aborted, Moved
from app.db.switch.moments import Moment, Moments
from app.db.switch.recover import Recovered, recover
from app.db.switch.state import readiness
from app.db.switch.state.writable import strangers
from migration.common.outcome import Exit, Outcome
from migration.fill.before.backup import before_first_cutover
from migration.switch import ending, forced, teardown
from migration.switch import run as switching
from migration.switch.away import Hooks, while_away
from migration.verbs.frame import Call, verb
from migration.verify.checking import mismatch_json

SHOWN = 10  # rows left behind that a line names; the JSON object has all

MaxPause = Annotated[
    int,
    typer.Option(
        "--max-pause-ms", min=1, max=600_000, help="Give up when writers would wait longer than this."
    ),
]
MaxSeconds = Annotated[
    int,
    typer.Option(
        "--max-seconds", min=1, max=86_400, help="Give up when the switch is not made within this time."
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
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
YesName = Annotated[
    str | None,
    typer.Option(
        "--yes", metavar="NAME", help="The name of the PostgreSQL database, so that nothing is asked."
    ),
]
Unfence = Annotated[
    bool,
    typer.Option("--unfence-retired", help="Leave the side that is left behind writable. Dangerous."),
]


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    for name, function in (
        ("cutover", cutover),
        ("rollback", rollback),
        ("recover", recover_verb),
        ("complete", complete),
        ("abort", abort),
    ):
        verb(app, name)(function)


def cutover(
    call: Call,
    dry_run: DryRun = False,
    max_pause_ms: MaxPause = 1500,
    max_seconds: MaxSeconds = 60,
    stop: Stop = "",
    start: Start = "",
) -> Outcome:
    """Make PostgreSQL the primary. Running processes follow; --stop and --start restart an application that cannot."""
    return _switch(call, Side.POSTGRES, dry_run, max_pause_ms, max_seconds, Hooks(stop, start))


def rollback(
    call: Call,
    dry_run: DryRun = False,
    max_pause_ms: MaxPause = 1500,
    max_seconds: MaxSeconds = 60,
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
    if force:
        return _force(call, accept_loss and not dry_run)
    return _switch(call, Side.SQLITE, dry_run, max_pause_ms, max_seconds, Hooks(stop, start))


def _switch(
    call: Call, to: Side, dry_run: bool, max_pause_ms: int, max_seconds: int, hooks: Hooks
) -> Outcome:
    moments = call.moments()
    with call.prepared() as stores:
        left = _left_behind(stores, to)
        if left:
            call.report(_loss(left, to))
        if dry_run:
            return _planned(guarded.evaluate(Applier(stores), to, max_pause_ms), to, left)
        before_first_cutover(stores, call.pair().path, to, call.report)

        def switch() -> Moved | Aborted | guarded.Already:
            return guarded.switch(
                Applier(stores), to, max_pause_ms=max_pause_ms, report=call.report, limit_s=max_seconds,
                moments=moments,
            )  # fmt: skip

        if not hooks:
            done = switch()
            outcome = switched(stores, done, call.report)
            return _with(outcome, left) if isinstance(done, Moved) else outcome
        found = guarded.evaluate(Applier(stores), to, max_pause_ms)
        if isinstance(found, guarded.Already):
            return _already(found, [])
        gates.require(found)
        done, away_s = while_away(hooks, call.pair(), stores, call.report, switch)
        outcome = switched(stores, done, call.report)
        outcome = _with(outcome, left) if isinstance(done, Moved) else outcome
    message = f"{outcome.message}; the application was away for {away_s:.1f} s"
    return replace(outcome, message=message, data={**outcome.data, "away_s": round(away_s, 3)})


def _with(outcome: Outcome, left: list[dict[str, str]]) -> Outcome:
    return replace(outcome, data={**outcome.data, "left_behind": left})


def _left_behind(stores: Stores, primary: Side) -> list[dict[str, str]]:
    """Rows that only the other side holds, once this one is primary."""
    found = readiness.left_behind(stores.postgres.connection, primary.other)
    return [{"table": table, "key": key} for table, key in found]


def _loss(left: list[dict[str, str]], primary: Side) -> str:
    named = ", ".join(f"{row['table']} {row['key']}" for row in left[:SHOWN])
    more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
    return f"{len(left)} rows of {primary.other} that {primary} cannot hold stay behind there: {named}{more}"


def _planned(found: list[gates.Gate] | guarded.Already, to: Side, left: list[dict[str, str]]) -> Outcome:
    if isinstance(found, guarded.Already):
        return _already(found, [])
    closed = [gate for gate in found if not gate.ok]
    data = {"to": str(to), "gates": [asdict(gate) for gate in found], "steps": switching.steps(to)}
    data["left_behind"] = left
    if closed:
        return Outcome("refused", f"{len(closed)} gates say no", Exit.FINDINGS, data)
    return Outcome("ready", f"every gate agrees to make {to} primary", data=data)


def _already(found: guarded.Already, not_valid: list[str]) -> Outcome:
    data = {"primary": str(found.primary), "epoch": found.epoch, "foreign_keys_not_valid": not_valid}
    return Outcome("already_primary", f"{found.primary} is primary at epoch {found.epoch}", data=data)


def switched(
    stores: Stores, done: Moved | Aborted | guarded.Already, report: Callable[[str], None]
) -> Outcome:
    """The outcome of a switch; validates PostgreSQL's foreign keys where it is primary."""
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
    with call.stores() as stores:
        found = recover(stores)
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


def complete(call: Call, yes: Yes = False, unfence_retired: Unfence = False) -> Outcome:
    """End dual-write on the current primary. There is no way back after it."""
    moments = call.moments()
    with call.stores() as stores:
        _, arbiter = teardown.controls(stores)
        left = _left_behind(stores, arbiter.primary) if arbiter else []
        without = names_left_out(stores.sqlite.connection)
        if arbiter and without and arbiter.primary is Side.POSTGRES:
            call.report(f"left out of the move, and only on SQLite: {', '.join(without)}")
        if arbiter and left:
            call.report(f"{_loss(left, arbiter.primary)}; nothing names them any more after this")
        if ending.asks(stores):
            name = stores.postgres.connection.info.dbname
            call.confirm_name(_COMPLETES, ending.goes(stores, "complete"), name, name if yes else None)
        ended = teardown.end(stores, "complete", unfence=unfence_retired, report=call.report)
        outcome = _ended(ended, "complete", stores)
        tell_of_end(moments, ended)
        if ended.plan is None:
            return outcome
        return replace(outcome, data={**_with(outcome, left).data, "left_out": without})


def tell_of_end(moments: Moments, ended: teardown.Ended) -> None:
    """Tell that the move has ended, if this call ended it."""
    if ended.plan is not None:
        moments.tell(Moment.AFTER_COMPLETE, primary=ended.plan.primary, epoch=ended.plan.epoch)


_COMPLETES = (
    "This ends dual-write and gives up the way back; does ST_DATABASE_URL name the primary everywhere?"
)
_ABORTS = "This gives the move up."


def abort(
    call: Call,
    yes: YesName = None,
    unfence_retired: Unfence = False,
    without_postgres: Annotated[
        bool, typer.Option("--without-postgres", help="PostgreSQL is lost: clean SQLite alone.")
    ] = False,
) -> Outcome:
    """Give the move up: back to single mode on the current primary."""
    with call.stores() as stores:
        if without_postgres:
            return _ended(teardown.end_without_postgres(stores), "abort", stores)
        if ending.asks(stores):
            name = stores.postgres.connection.info.dbname
            call.confirm_name(_ABORTS, ending.goes(stores, "abort"), name, yes)
        ended = teardown.end(stores, "abort", unfence=unfence_retired, report=call.report)
        return _ended(ended, "abort", stores)


def _ended(ended: teardown.Ended, verb_name: str, stores: Stores) -> Outcome:
    plan = ended.plan
    if plan is None:
        name = "already_complete" if verb_name == "complete" else "already_single"
        return Outcome(name, "neither side carries anything of a move")
    data = {
        "primary": str(plan.primary),
        "epoch": plan.epoch,
        "retired": str(plan.primary.other),
        "fenced": plan.fence,
        "copy_dropped": plan.drop_copy,
        "journal_mode": ended.journal_mode,
        "not_standing": list(ended.not_standing),
    }
    name = "completed" if verb_name == "complete" else "aborted"
    message = f"{plan.primary} is alone; restart everything with its URL and without ST_SHADOW_DATABASE_URL"
    return Outcome(name, message, data=data)
