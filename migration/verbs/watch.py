"""Verbs that look and steer: status, history, pause, resume, throttle, quarantine."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from app.db.apply.round import Applier
from app.db.common.errors import ConfigurationError
from migration.common.outcome import Outcome
from migration.common.pace import Limits, store_limits, stored_limits
from migration.common.plain import counted, label, measured, plain, stored
from migration.common.trail import trail_of
from migration.verbs.frame import Call, verb
from migration.watch import quarantine, status
from migration.watch.history import export, read_history
from migration.watch.orphans_of import orphans_of
from migration.watch.pausing import set_paused
from migration.watch.screen import Screen

MOST_RATE = 1_000_000_000
TableArgument = Annotated[str | None, typer.Argument(metavar="[TABLE]", help="Table of the row.")]
KeyArgument = Annotated[
    str | None, typer.Argument(metavar="[KEY]", help="Key as `quarantine list` shows it.")
]
CopyRate = Annotated[
    int | None,
    typer.Option(
        "--copy-rate", min=1, max=MOST_RATE, help="Rows per second at most of all processes that copy."
    ),
]
VerifyRate = Annotated[
    int | None,
    typer.Option("--verify-rate", min=1, max=MOST_RATE, help="Rows per second at most of each verify."),
]
All = Annotated[bool, typer.Option("--all", help="Every row in quarantine.")]


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    for name, function in _VERBS.items():
        verb(app, name)(function)
    group = typer.Typer(no_args_is_help=True, help="Rows that the other side cannot hold.")
    for name, function in _QUARANTINE.items():
        verb(group, name, group="quarantine")(function)
    app.add_typer(group, name="quarantine")


def show_status(
    call: Call,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show the state again and again until interrupted.")
    ] = False,
    every: Annotated[float, typer.Option("--every", min=0.1, help="Seconds between two looks.")] = 2.0,
) -> Outcome:
    """Say where the move is, what blocks it and which command is next."""
    pair = call.pair()

    def look() -> status.Status:
        with call.stores() as stores:
            return status.gather(pair, stores)

    if watch and not call.as_json:
        with suppress(KeyboardInterrupt):
            _watch(call, look, every)
    found = look()
    return Outcome("status", _headline(found), data=found.as_json())


def _watch(call: Call, look: Callable[[], status.Status], every: float) -> None:
    """Look again and again while somebody reads: on a terminal in place, elsewhere one after the other."""
    screen = Screen()
    with call.render.full_screen() as show:
        while call.render.lost is None:
            found = look()
            if show is None:
                call.render.screen(Outcome("status", _headline(found), data=found.as_json()))
            else:
                show(screen.draw(found))
            time.sleep(every)


def _headline(found: status.Status) -> str:
    primary = f", {found.primary} is primary" if found.primary else ""
    return f"{found.state.replace('_', ' ')}{primary}"


def history(
    call: Call,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Newest events to show.")] = 50,
    export_to: Annotated[
        Path | None,
        typer.Option(
            "--export", metavar="FILE", help="Write all events to a new file, one JSON object per line."
        ),
    ] = None,
) -> Outcome:
    """What happened so far: who, when, which command or event, how it ended. Also without PostgreSQL."""
    with call.stores() as stores:
        found = read_history(stores, None if export_to else limit)
        where = trail_of(stores.sqlite.path)
    for line in found.missing:
        call.report(line)
    if export_to is not None:
        export(found, export_to)
    data = {
        "events": [event.as_json() for event in found.events[-limit:]],
        "missing": found.missing,
        "file": str(where),
    }
    told = counted(len(found.events), "event") + (f", all written to {export_to}" if export_to else "")
    return Outcome("history", told, data=data)


def pause(call: Call) -> Outcome:
    """Hold every worker and backfill, wherever they run."""
    with call.prepared() as stores:
        changed = set_paused(stores, True)
    return Outcome("paused" if changed else "already_paused", "apply and backfill are paused")


def resume(call: Call) -> Outcome:
    """Let workers and backfills go on."""
    with call.prepared() as stores:
        changed = set_paused(stores, False)
    return Outcome("resumed" if changed else "already_running", "apply and backfill go on")


def throttle(
    call: Call,
    copy_rate: CopyRate = None,
    verify_rate: VerifyRate = None,
    off: Annotated[bool, typer.Option("--off", help="Lift both limits.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what the limits would be.")] = False,
) -> Outcome:
    """Limit copies and verifies that run, wherever they run, without a restart; alone it shows the limits."""
    if off and (copy_rate or verify_rate):
        raise ConfigurationError("--off lifts every limit", hint="leave out --off, or the rates")
    with call.prepared() as stores:
        before = stored_limits(stores.postgres)
        wanted = Limits() if off else Limits(copy_rate or before.copy_rate, verify_rate or before.verify_rate)
        if wanted != before and not dry_run:
            store_limits(stores.postgres, wanted)
    name = "limits"
    if dry_run:
        return Outcome(name, f"the limits would be: {wanted}", data=asdict(wanted), lines=[])
    if off or copy_rate or verify_rate:
        name = f"{'already_' if wanted == before else ''}{'lifted' if off else 'throttled'}"
    return Outcome(name, str(wanted), data=asdict(wanted), lines=[])


def quarantine_list(call: Call) -> Outcome:
    """The rows in quarantine, with the reason and who accepted them."""
    with call.prepared() as stores:
        rows = quarantine.held_rows(stores.postgres)
    data = {"rows": [row.summary() for row in rows]}
    return Outcome("quarantine", f"{counted(len(rows), 'row is', 'rows are')} in quarantine", data=data)


def quarantine_show(
    call: Call,
    table: Annotated[str, typer.Argument(help="Table of the row.")],
    key: Annotated[str, typer.Argument(help="Key as `quarantine list` shows it.")],
) -> Outcome:
    """One row in full: every value with its storage class, bytes in hex."""
    with call.prepared() as stores:
        row = quarantine.chosen(stores.postgres, table, key, everything=False)[0]
    held = {name: value for name, value in row.summary().items() if value is not None}
    lines = [f"{label(name)}: {measured(name, value)}" for name, value in held.items()]
    lines += [f"  {plain(name)} = {stored(value)}" for name, value in row.content.items()]
    data = {**row.summary(), "content": row.content}
    return Outcome("quarantined", f"{table} {key}: {row.reason}", data=data, lines=lines)


def quarantine_accept(
    call: Call,
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who accepts that these rows stay behind.")],
    table: TableArgument = None,
    key: KeyArgument = None,
    everything: All = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> Outcome:
    """Let a switch go without these rows; they stay in quarantine, in full."""
    with call.prepared() as stores:
        rows = quarantine.chosen(stores.postgres, table, key, everything=everything)
        orphans = orphans_of(stores, rows)
        if any(row.accepted_by is None for row in rows):
            name = stores.postgres.connection.info.dbname
            lines = [f"{row.table} {row.key}: {row.reason}" for row in rows[:SHOWN]]
            lines += [f"and {counted(len(rows) - SHOWN, 'more row')}"] * (len(rows) > SHOWN)
            lines += [_orphaned(found) for found in orphans]
            call.confirm_name(_ACCEPTS, lines, name, yes)
        accepted = quarantine.accept(stores.postgres, rows, by)
    name = "accepted" if accepted else "already_accepted"
    data = {"accepted": accepted, "by": by, "orphans": orphans}
    return Outcome(name, f"{counted(accepted, 'row')} accepted by {by}", data=data)


SHOWN = 12
_ACCEPTS = "After the cutover PostgreSQL is primary without these rows."


def _orphaned(found: dict[str, Any]) -> str:
    more = " ..." if found["rows"] > len(found["first"]) else ""
    return (
        f"{counted(found['rows'], 'row')} of {found['table']} "
        f"{'loses its' if found['rows'] == 1 else 'lose their'} parent {found['parent']} {found['key']} "
        f"({found['columns']}; keys {', '.join(found['first'])}{more})"
    )


def quarantine_retry(
    call: Call, table: TableArgument = None, key: KeyArgument = None, everything: All = False
) -> Outcome:
    """Let apply try these rows again, as they are on the primary now. --all means all rows of the primary."""
    with call.prepared() as stores:
        rows = quarantine.chosen(stores.postgres, table, key, everything=everything)
        if everything:
            rows = [row for row in rows if row.side == stores.directions()[0].side]
        quarantine.retry(Applier(stores), rows)
        left = [row for item in rows for row in quarantine.held_rows(stores.postgres, item.table, item.key)]
    data = {"retried": len(rows), "still_held": [row.summary() for row in left]}
    return Outcome(
        "retried",
        f"{counted(len(rows), 'row')} tried again, {counted(len(left), 'still does', 'still do')} not fit",
        data=data,
    )


_VERBS: dict[str, Callable[..., Outcome]] = {
    "status": show_status,
    "history": history,
    "pause": pause,
    "resume": resume,
    "throttle": throttle,
}
_QUARANTINE: dict[str, Callable[..., Outcome]] = {
    "list": quarantine_list,
    "show": quarantine_show,
    "accept": quarantine_accept,
    "retry": quarantine_retry,
}
