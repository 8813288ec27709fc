"""Verbs at the two ends of a move: backup before it, complete and abort after it, and copy, which moves offline."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from app.db.apply.round import Applier
from app.db.common.errors import ConfigurationError
from app.db.common.urls import Side
from app.db.rows.catalog import names_left_out
from app.db.sides.phase import Phase
from app.db.sides.postgres import deferred
from app.db.sides.stores import Stores
from app.db.switch import guarded
from app.db.switch.coordinator import Moved
from app.db.switch.moments import Moment, Moments
from migration.common import sides
from migration.common.outcome import Exit, Outcome
from migration.common.pace import Throttle
from migration.fill import run as copying
from migration.fill.before import backup
from migration.switch import ending, retired, teardown
from migration.switch.freeze import frozen
from migration.verbs.frame import Call, verb
from migration.verbs.move import (
    DiscardTarget,
    Exclude,
    SchemaName,
    Workers,
    confirm_discard,
    prepared_side,
    tell_of_verify,
    telling_of_copy,
)
from migration.verbs.switch import YesName, left_behind_by, loss_of, switched, with_left_behind
from migration.verify import checking

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Unfence = Annotated[
    bool,
    typer.Option("--unfence-retired", help="Leave the side that is left behind writable. Dangerous."),
]


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    for name, function in (("backup", backup_verb), ("copy", copy), ("complete", complete), ("abort", abort)):
        verb(app, name)(function)


def backup_verb(
    call: Call,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FOLDER", help="Folder for the copy, instead of ST_SQLITE_BACKUP."),
    ] = None,
) -> Outcome:
    """Copy the SQLite file while the application writes, check the copy, and bring it to the disk."""
    found = sides.find_sides(call.sqlite, call.postgres)
    if Side.SQLITE not in found:
        raise ConfigurationError("no sqlite database is named", hint="give --sqlite FILE")
    file = Path(str(found[Side.SQLITE].database))
    folder = to or backup.place(file) or file.absolute().parent / backup.FOLDER
    with call.render.progress("backup", unit="pages") as advance:
        made = backup.take(file, folder, advance=advance)
    data = {"path": str(made.path), "bytes": made.bytes, "seconds": round(made.seconds, 3)}
    return Outcome("copied", f"{made.path} is a whole copy, checked and on the disk", data=data)


def copy(
    call: Call,
    discard_target: DiscardTarget = False,
    yes: YesName = None,
    exclude: Exclude = None,
    schema: SchemaName = None,
    workers: Workers = None,
    unfence_retired: Annotated[
        bool, typer.Option("--unfence-retired", help="Leave SQLite writable afterwards. Dangerous.")
    ] = False,
) -> Outcome:
    """Move offline: SQLite takes no writes meanwhile, PostgreSQL is alone afterwards."""
    moments = call.moments()
    with call.stores() as stores:
        ours, theirs = teardown.controls(stores)
        ending = theirs is not None and theirs.phase == Phase.COMPLETING
        epoch = retired.sqlite_retired_at(stores.sqlite.connection)
        if ours is None and theirs is None and epoch is not None:
            return Outcome(
                "already_complete", f"postgres is primary since epoch {epoch}", data={"epoch": epoch}
            )
        if not ending:
            confirm_discard(call, stores, discard_target, exclude or (), yes)
            outcome = _copy_frozen(call, stores, moments, discard_target, exclude or (), schema, workers)
            if outcome is not None:
                return outcome
        not_valid = [] if ending else deferred.validate_foreign_keys(stores.postgres.connection)
        ended = teardown.end(stores, "complete", unfence=unfence_retired, report=call.report)
    tell_of_end(moments, ended)
    epoch = ended.plan.epoch if ended.plan else None
    data = {"primary": "postgres", "epoch": epoch, "foreign_keys_not_valid": not_valid}
    return Outcome("moved", "PostgreSQL is primary and alone; restart everything with its URL", data=data)


def _copy_frozen(
    call: Call,
    stores: Stores,
    moments: Moments,
    discard: bool,
    exclude: Collection[str],
    schema: str | None,
    workers: int | None,
) -> Outcome | None:
    """Copy, verify and switch; returns an outcome only where it ends before the switch."""
    if prepared_side(call, stores, discard, exclude, schema) is Side.POSTGRES:
        return None
    applier = Applier(stores)
    with (
        telling_of_copy(moments, stores),
        frozen(stores, call.stores),
        call.render.progress("copy") as advance,
    ):
        call.report("SQLite takes no writes from here on")
        copying.backfill(call.pair(), applier, Throttle(), workers, advance)
        applier.drain()
        result = checking.verify(applier, None, None, advance)
    tell_of_verify(moments, result)  # nobody waits any more
    if not result.clean:
        data = {"verify": checking.result_json(result)}
        return Outcome("mismatch", "rows differ; SQLite takes writes again", Exit.FINDINGS, data)
    told = guarded.Told(moments, Side.POSTGRES, stores)
    done = guarded.switch(
        applier, Side.POSTGRES, max_pause_ms=_OFFLINE_PAUSE_MS, report=call.report, told=told
    )
    return None if isinstance(done, (Moved, guarded.Already)) else switched(stores, done, call.report)


_OFFLINE_PAUSE_MS = 60_000


def complete(call: Call, yes: Yes = False, unfence_retired: Unfence = False) -> Outcome:
    """End dual-write on the current primary. There is no way back after it."""
    moments = call.moments()
    with call.stores() as stores:
        _, arbiter = teardown.controls(stores)
        left = left_behind_by(stores, arbiter.primary) if arbiter else []
        without = names_left_out(stores.sqlite.connection)
        if arbiter and without and arbiter.primary is Side.POSTGRES:
            call.report(f"left out of the move, and only on SQLite: {', '.join(without)}")
        if arbiter and left:
            call.report(f"{loss_of(left, arbiter.primary)}; nothing names them any more after this")
        if ending.asks(stores):
            name = stores.postgres.connection.info.dbname
            call.confirm_name(_COMPLETES, ending.goes(stores, "complete"), name, yes)
        ended = teardown.end(stores, "complete", unfence=unfence_retired, report=call.report)
        outcome = _ended(ended, "complete", stores)
        tell_of_end(moments, ended)
        if ended.plan is None:
            return outcome
        return replace(outcome, data={**with_left_behind(outcome, left).data, "left_out": without})


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
