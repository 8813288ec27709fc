"""Verbs that copy in one go: copy, which moves offline, and backup, which keeps SQLite's file as it is."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from app.db.apply.round import Applier
from app.db.common.errors import ConfigurationError
from app.db.common.urls import Side
from app.db.sides.phase import Phase
from app.db.sides.postgres import deferred
from app.db.sides.stores import Stores
from app.db.switch import guarded
from app.db.switch.coordinator import Moved
from app.db.switch.moments import Moments
from migration.common import sides
from migration.common.outcome import Exit, Outcome
from migration.fill import run as copying
from migration.fill.backfill import Throttle
from migration.fill.before import backup
from migration.switch import retired, teardown
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
from migration.verbs.switch import YesName, switched, tell_of_end
from migration.verify import checking


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    verb(app, "copy")(copy)
    verb(app, "backup")(backup_verb)


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
    with call.render.progress("backup") as advance:
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
    with telling_of_copy(moments, stores), frozen(stores) as renew, call.render.progress("copy") as advance:
        call.report("SQLite takes no writes from here on")

        def renewing(name: str, done: int, total: int | None) -> None:
            renew()
            advance(name, done, total)

        copying.backfill(call.pair(), applier, Throttle(), workers, renewing)
        applier.drain()
        result = checking.verify(applier, None, None, advance, renew)
    tell_of_verify(moments, result)  # nobody waits any more
    if not result.clean:
        data = {"verify": checking.result_json(result)}
        return Outcome("mismatch", "rows differ; SQLite takes writes again", Exit.FINDINGS, data)
    done = guarded.switch(
        applier, Side.POSTGRES, max_pause_ms=_OFFLINE_PAUSE_MS, report=call.report, moments=moments
    )
    return None if isinstance(done, (Moved, guarded.Already)) else switched(stores, done, call.report)


_OFFLINE_PAUSE_MS = 60_000
