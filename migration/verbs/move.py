"""Verbs that bring PostgreSQL to equality: preflight, prepare, backfill, worker, verify, run."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from app.db.apply.round import Applier
from app.db.common.errors import ConfigurationError
from app.db.common.urls import Side
from app.db.revisions.source import SchemaSource, make_source, recorded_source
from app.db.rows.catalog import names_left_out, sqlite_columns
from app.db.rows.policy import active_policy
from app.db.sides.phase import Phase
from app.db.sides.stores import Stores
from app.db.switch import guarded
from app.db.switch.moments import Moment, Moments
from migration.common import sides
from migration.common.outcome import Exit, Outcome
from migration.common.pace import Throttle
from migration.common.plain import counted
from migration.fill import run as copying
from migration.fill.prepare import Prepared, prepare
from migration.fill.worker import Worked, Worker, shown, stop_on_signal, wait_until_prepared
from migration.preflight import run as preflight
from migration.preflight.findings import remedies
from migration.switch import retired, teardown
from migration.switch.holdings import holdings
from migration.verbs.frame import Call, verb
from migration.verbs.switch import At, MaxPause, Terms, Within, YesName, make_switch, switched, window_of
from migration.verify import checking
from migration.verify.repair import Repaired
from migration.verify.run import VerifyResult
from migration.watch import quarantine

DiscardTarget = Annotated[
    bool, typer.Option("--discard-target", help="Remove the rows that PostgreSQL holds already.")
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--leave-out",
        "--exclude",
        metavar="TABLE[.COLUMN]",
        help="Leave this table, or this column, out of the move; repeatable.",
    ),
]
SchemaName = Annotated[
    str | None,
    typer.Option(
        "--schema",
        metavar="SOURCE",
        help="What makes the tables on PostgreSQL: `alembic` is the chain of the backend around this program; "
        "`existing` means the application's own installer, which has run. The pair keeps the choice.",
    ),
]
MaxLag = Annotated[
    int, typer.Option("--max-lag", min=1, help="Log entries beyond which the copy lets apply catch up.")
]
Rate = Annotated[
    float | None, typer.Option("--rate", min=1, help="Rows per second at most; without it no limit.")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, max=64, help="Processes that copy; two for large files if not given."),
]
_MAX_LAG = 50_000


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    for name, function in (
        ("preflight", preflight_verb),
        ("prepare", prepare_verb),
        ("backfill", backfill),
        ("worker", worker),
        ("verify", verify),
        ("run", run),
    ):
        verb(app, name)(function)


def preflight_verb(
    call: Call,
    exclude: Exclude = None,
    schema: SchemaName = None,
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="DIR", help="Write what is recommended to files of this folder."),
    ] = None,
) -> Outcome:
    """Read everything, change nothing, list what would block the move or change meaning."""
    found = sides.find_sides(call.sqlite, call.postgres)
    if Side.SQLITE not in found:
        raise ConfigurationError("no sqlite database is named", hint="give --sqlite URL")
    path = Path(str(found[Side.SQLITE].database))
    if write is not None:
        remedies.refuse_existing(write)
    with call.render.progress("check", preflight.about_rows(path)) as advance:
        report = preflight.run(
            path,
            found.get(Side.POSTGRES),
            active_policy(),
            lambda table, rows: advance(table, rows, None),
            source=make_source(schema) if schema else None,
            excluded=exclude or (),
        )
    written = list(map(str, remedies.write(report, active_policy(), write))) if write is not None else []
    lines = [line for finding in report.findings for line in finding.lines()]
    lines += [f"written: {name}" for name in written]
    data = {**report.as_dict(), "written": written}
    if not report.clean:
        message = f"{counted(len(report.blocking), 'finding blocks', 'findings block')} the move"
        return Outcome("blocked", message, Exit.FINDINGS, data, lines)
    message = f"nothing blocks the move of {counted(report.rows, 'row')}; next: st-migrate prepare"
    return Outcome("clean", message, data=data, lines=lines)


def prepare_verb(
    call: Call,
    discard_target: DiscardTarget = False,
    exclude: Exclude = None,
    schema: SchemaName = None,
    yes: YesName = None,
) -> Outcome:
    """Make the tables on PostgreSQL, and switch log, capture and fence on, on both sides."""
    with call.stores() as stores:
        confirm_discard(call, stores, discard_target, exclude or (), yes)
        fence = retired.reopen(stores, discard=discard_target)
        done = prepare(
            call.pair(),
            stores,
            _source(stores, schema),
            discard_target=discard_target,
            exclude=exclude or (),
            report=call.report,
            fence=fence,
        )
    return _prepared(done)


def _source(stores: Stores, name: str | None) -> SchemaSource:
    """What makes the tables: as it is said, as the pair has it on record, or as usual."""
    return make_source(name or recorded_source(stores.postgres.connection))


def confirm_discard(
    call: Call, stores: Stores, discard: bool, exclude: Collection[str], yes: str | None
) -> None:
    """Ask before rows on PostgreSQL are removed; a database that serves as primary is never emptied."""
    if not discard or any(teardown.controls(stores)):
        return  # prepared already, or begun: nothing is removed that a copy has not put there
    retired.must_not_serve(stores.postgres.connection)
    common = sqlite_columns(stores.sqlite.connection).keys() - set(exclude)
    found = holdings(stores.postgres.connection, common)
    if found.filled:
        what = f"This removes every row that the database {found.database} holds in these tables."
        left_behind = retired.postgres_retired_at(stores.postgres.connection)
        note = (
            [] if left_behind is None else [f"it was primary until epoch {left_behind}, and left behind then"]
        )
        call.confirm_name(what, [*note, *found.lines()], found.database, yes)


def _prepared(done: Prepared) -> Outcome:
    data = {"tables": done.tables, "steps": done.steps}
    if done.repaired:
        return Outcome("repaired", "what was lost of capture was put back; verify again", data=data)
    message = f"{counted(done.tables, 'table is', 'tables are')} prepared"
    if done.already:
        return Outcome("already_prepared", message, data=data)
    return Outcome("prepared", f"{message}; next: st-migrate backfill", data=data)


def backfill(call: Call, max_lag: MaxLag = _MAX_LAG, rate: Rate = None, workers: Workers = None) -> Outcome:
    """Copy every row while the application writes. A repeated call goes on where the last one stopped."""
    moments = call.moments()
    with (
        call.prepared() as stores,
        telling_of_copy(moments, stores),
        call.render.progress("copy", copying.left(stores.postgres)) as advance,
    ):
        phase = stores.postgres.read_control().phase
        rows = copying.backfill(call.pair(), Applier(stores), Throttle(rate, max_lag), workers, advance)
        now = copying.progress(stores.postgres)
        after = stores.postgres.read_control().phase
    data = {"rows": rows, "rows_in_all": now.rows, "phase": after}
    if phase == Phase.REPLICATING:
        return Outcome("already_copied", "every table is copied", data=data)
    if after != Phase.REPLICATING:
        return Outcome(
            "others_at_work", f"{counted(rows, 'row')} copied; another backfill has the rest", data=data
        )
    return Outcome("copied", f"{counted(rows, 'row')} copied; next: st-migrate verify", data=data)


@contextmanager
def telling_of_copy(moments: Moments, stores: Stores) -> Iterator[None]:
    """Tell that every row is copied, if that came to be within the block."""
    before = stores.postgres.read_control().phase
    yield
    if before == Phase.COPYING and stores.postgres.read_control().phase == Phase.REPLICATING:
        moments.tell(Moment.AFTER_COPY, rows=copying.progress(stores.postgres).rows)


def worker(
    call: Call,
    until_drained: Annotated[
        bool, typer.Option("--until-drained", help="End when nothing is left to apply.")
    ] = False,
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", metavar="HOST:PORT", help="Show Prometheus the metrics of the move there."),
    ] = None,
) -> Outcome:
    """Carry changes to the shadow, from prepare until complete or abort. SIGTERM ends it cleanly."""
    worked, moments = Worked(), call.moments()
    with shown(call.pair(), metrics), call.stores() as stores, stop_on_signal() as stop:

        def is_retired() -> bool:
            return retired.sqlite_retired_at(stores.sqlite.connection) is not None

        if until_drained or wait_until_prepared(stores, stop, call.report, is_retired=is_retired):
            with call.prepared() as pair:
                worked = Worker(Applier(pair), stop, until_drained, call.report, moments).run()
        else:
            worked.ended = not stop.is_set()
    name = "drained" if worked.drained else "ended" if worked.ended else "stopped"
    message = f"{name} after {counted(worked.changes, 'change')} in {counted(worked.rounds, 'round')}"
    return Outcome(name, message, data=vars(worked))


def verify(
    call: Call,
    table: Annotated[
        list[str] | None, typer.Option("--table", metavar="NAME", help="Only this table; repeatable.")
    ] = None,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Log differing keys anew, apply them, verify again."),
    ] = False,
    discard_strangers: Annotated[
        bool,
        typer.Option(
            "--discard-strangers",
            help="With --repair: give up rows that were written on the shadow while both sides took writes.",
        ),
    ] = False,
    rate: Rate = None,
) -> Outcome:
    """Compare every row of every table on both sides, under load."""
    moments = call.moments()
    with call.prepared() as stores, call.render.progress("verify") as advance:
        applier = Applier(stores)
        result = checking.verify(applier, table or None, rate, advance)
        done = Repaired()
        if repair and not result.clean:
            done, result = checking.repair_and_verify(
                applier, result, table or None, rate, advance, discard_strangers=discard_strangers
            )
        triggers = checking.trigger_lines(applier)
        left_out = names_left_out(stores.sqlite.connection)
    tell_of_verify(moments, result)
    reasons = done.reasons()
    data = {
        "repaired": done.keys, "left": reasons, "triggers": triggers, **checking.result_json(result),
        "left_out": left_out,
    }  # fmt: skip
    if not result.clean:
        told = "".join(f"\n  {line}" for line in [*reasons, *triggers])
        differ = counted(sum(result.per_table.values()), "row differs", "rows differ")
        return Outcome("mismatch", f"{differ}{told}", Exit.FINDINGS, data)
    name = "repaired" if done.keys else "clean"
    aside = f"; {counted(result.set_aside, 'more is', 'more are')} in quarantine" if result.set_aside else ""
    without = f"; left out: {', '.join(left_out)}" if left_out else ""
    rows = f"{counted(result.rows, 'row')} in {counted(len(result.tables), 'table')}"
    message = f"{rows} {'is' if result.rows == 1 else 'are'} equal{aside}{without}"
    return Outcome(name, message, data=data)


def tell_of_verify(moments: Moments, result: VerifyResult) -> None:
    """Tell what a verify found."""
    if result.clean:
        moments.tell(Moment.AFTER_VERIFY, rows=result.rows, full=result.full)
    else:
        moments.tell(Moment.ON_MISMATCH, mismatches=sum(result.per_table.values()), found_by="verify")


def run(
    call: Call,
    cutover: Annotated[bool, typer.Option("--cutover", help="Go on with the cutover.")] = False,
    discard_target: DiscardTarget = False,
    yes: YesName = None,
    exclude: Exclude = None,
    schema: SchemaName = None,
    max_lag: MaxLag = _MAX_LAG,
    rate: Rate = None,
    workers: Workers = None,
    max_pause_ms: MaxPause = 1500,
    at: At = "",
    within: Within = "",
) -> Outcome:
    """Prepare, backfill, drain and verify in one go, stopping before the cutover."""
    moments = call.moments()
    window = window_of(at, within, round(guarded.LIMIT_S))
    if window and not cutover:
        raise ConfigurationError(
            "--at and --within are for --cutover", hint="add --cutover, or leave them out"
        )
    with call.stores() as stores:
        confirm_discard(call, stores, discard_target, exclude or (), yes)
        primary = prepared_side(call, stores, discard_target, exclude or (), schema)
        if primary is Side.POSTGRES:
            return Outcome("already_primary", "postgres is primary", data={"primary": "postgres"})
        applier = Applier(stores)
        with (
            telling_of_copy(moments, stores),
            call.render.progress("copy", copying.left(stores.postgres)) as advance,
        ):
            copying.backfill(call.pair(), applier, Throttle(rate, max_lag), workers, advance)
        applier.drain()
        with call.render.progress("verify") as advance:
            result = checking.verify(applier, None, None, advance)
        tell_of_verify(moments, result)
        data = {"verify": checking.result_json(result)}
        if not result.clean:
            return Outcome("mismatch", "rows differ; see st-migrate verify --repair", Exit.FINDINGS, data)
        if not cutover:
            return quarantine.ready(stores.postgres, data)
        done, _ = make_switch(call, applier, Side.POSTGRES, Terms(max_pause_ms, window=window), moments)
        return switched(stores, done, call.report)


def prepared_side(
    call: Call, stores: Stores, discard: bool, exclude: Collection[str], schema: str | None
) -> Side:
    """Prepare, unless that is done; returns the primary."""
    fence = retired.reopen(stores, discard=discard)
    source = _source(stores, schema)
    prepare(
        call.pair(), stores, source, discard_target=discard, exclude=exclude, report=call.report, fence=fence
    )
    return stores.postgres.read_control().primary
