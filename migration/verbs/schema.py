"""Verbs that change the schema on both sides: schema upgrade by the backend's chain, schema run by any command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import psycopg
import sqlalchemy as sa
import typer

from app.db.apply.heal import heal
from app.db.common.errors import ConfigurationError
from app.db.common.settings import database_url, load_settings
from app.db.common.urls import Side, as_text, make_pair, parse_url, side_of
from app.db.revisions.chain import has_chain, upgrade_head
from app.db.revisions.ddl import narrow_columns
from app.db.revisions.pair import control_of
from app.db.revisions.source import Existing, recorded_source
from app.db.sides.postgres.connection import open_postgres
from app.db.sides.sqlite.connection import open_sqlite
from migration.common import sides
from migration.common.outcome import Exit, Outcome
from migration.switch import own_migration, retired
from migration.verbs.frame import Call, verb

_VERSIONS = "SELECT version_num FROM alembic_version ORDER BY version_num"


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    group = typer.Typer(no_args_is_help=True, help="The schema of both sides.")
    verb(group, "upgrade", group="schema")(upgrade)
    verb(group, "run", group="schema")(run_own)
    app.add_typer(group, name="schema")


def in_full(arguments: Sequence[str]) -> list[str]:
    """A command line with `schema -- COMMAND` as `schema run -- COMMAND`."""
    said = list(arguments)
    own = said[:1] == ["schema"] and "--" in said and said[1] not in ("upgrade", "run")
    return ["schema", "run", *said[1:]] if own else said


def run_own(
    call: Call,
    command: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND", help="The application's own migration.")
    ],
    only: Annotated[
        Side | None,
        typer.Option("--only", help="Run the command on this side alone, to mend what went wrong there."),
    ] = None,
) -> Outcome:
    """Run the application's own migration on the shadow, then on the primary of a pair. `schema -- COMMAND` is the same.

    The command finds the side in ST_SIDE (sqlite, postgres) and ST_SIDE_ROLE (shadow, primary). It finds the database
    in ST_DATABASE_URL, and also in ST_SQLITE_FILE, or in PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE.
    """
    with call.prepared() as stores:
        control = stores.postgres.read_control()
        done = own_migration.migrate(call.pair(), stores, command, only, call.report)
    data = {
        "sides": [str(side) for side in done.done],
        "failed": done.failed and str(done.failed),
        "command_exit_code": done.code,
        "drift": done.drift,
        "logged": list(done.logged),
    }
    if done.failed is not None:
        return Outcome("command_failed", _stands(done, control.primary), Exit.FAILED, data)
    if done.drift and only is None:
        message = f"the command ended well on both sides, and apply stands still: {done.drift}"
        return Outcome("drift", message, Exit.FINDINGS, data)
    where = " and ".join(str(side) for side in done.done)
    rest = f"apply stands still: {done.drift}" if done.drift else "next: st-migrate verify"
    return Outcome("migrated", f"the command ended well on {where}; {rest}", data=data)


def _stands(done: own_migration.Migrated, primary: Side) -> str:
    """What stands after a failure, and what to do next."""
    how = f"the command ended with {done.code} on {done.failed}"
    stands = (
        "apply stands still until the sides agree, and the log keeps every change"
        if done.drift
        else ("both sides have the same tables, and apply goes on")
    )
    again = "mend it and run the same command again; what is done already must be skipped by it"
    if done.failed is primary:
        return f"{how}, the primary; the shadow is migrated. {stands}. Next: {again}"
    return f"{how}, the shadow; {primary} was not touched and takes writes. {stands}. Next: {again}"


def upgrade(
    call: Call,
    revision: Annotated[
        str, typer.Option("--revision", metavar="ID", help="Where to stop, instead of at the newest.")
    ] = "head",
) -> Outcome:
    """Run the application's revisions on both sides of a pair, or on the one database there is."""
    found = sides.find_sides(call.sqlite, call.postgres)
    targets = _targets(call, found)
    if len(targets) == 2 and (kept := _kept_by_installer(call)):
        return kept
    if not has_chain():
        raise ConfigurationError(
            "there is no Alembic chain around this program",
            hint="run the application's own migration: st-migrate schema -- COMMAND",
        )
    from alembic.util import CommandError

    before = {side: _state(url) for side, url in targets.items()}
    first, *others = targets.values()
    try:
        upgrade_head(as_text(first), revision, partner=others[0] if others else None)
    except CommandError as error:
        raise ConfigurationError(
            f"Alembic: {error}", hint="is this the code that made the database?"
        ) from error
    after = {side: _state(url) for side, url in targets.items()}
    data = {
        "revisions": {str(side): _json(before[side][0], after[side][0]) for side in targets},
        "widened": sorted({name for side in targets for name in set(before[side][1]) - set(after[side][1])}),
    }
    where = " and ".join(str(side) for side in targets)
    if before == after:
        return Outcome("already_upgraded", f"{where}: nothing was left to do", data=data)
    revisions = ", ".join(sorted({after[side][0] for side in targets}))
    return Outcome(
        "upgraded", f"{where}: at revision {revisions}; verify again where a pair is moved", data=data
    )


def _kept_by_installer(call: Call) -> Outcome | None:
    """A pair whose tables are the installer's has no revisions. Lost capture is put back there, too."""
    with call.stores() as stores:
        if recorded_source(stores.postgres.connection) != Existing.name:
            return None
        healed = heal(stores)
    data: dict[str, Any] = {"revisions": {}, "widened": []}
    if healed:
        return Outcome("upgraded", "lost capture was put back; verify again", data=data)
    message = "the tables are the application's own; its migration runs by st-migrate schema -- COMMAND"
    return Outcome("already_upgraded", message, data=data)


def _json(before: str, after: str) -> dict[str, Any]:
    return {"from": before, "to": after}


def _targets(call: Call, found: dict[Side, sa.URL]) -> dict[Side, sa.URL]:
    """Both sides where they belong together, in either order; else the one that the application uses."""
    if len(found) == 2:
        make_pair(*found.values())
        controls = {side: control_of(url) for side, url in found.items()}
        if all(controls.values()):
            return found
        for side in Side:
            if _is_retired(side, found[side]):
                return {side.other: found[side.other]}
    own = database_url()
    if own is not None and call.sqlite is None and call.postgres is None:
        url = parse_url(own, name="ST_DATABASE_URL")
        return {side_of(url): url}
    side = Side.SQLITE if call.sqlite is not None else Side.POSTGRES
    return {side: found[side]}


def _is_retired(side: Side, url: sa.URL) -> bool:
    if side is Side.SQLITE:
        ours = open_sqlite(
            Path(str(url.database)), busy_timeout_ms=load_settings().sqlite_busy_timeout_ms, read_only=True
        )
        try:
            return retired.sqlite_retired_at(ours) is not None
        finally:
            ours.close()
    theirs = open_postgres(url, load_settings(), application_name=sides.APPLICATION_NAME)
    try:
        return retired.postgres_retired_at(theirs) is not None
    finally:
        theirs.close()


def _state(url: sa.URL) -> tuple[str, tuple[str, ...]]:
    """The revision that a database is at, and which of its columns are too narrow."""
    if side_of(url) is Side.SQLITE:
        path = Path(str(url.database))
        if not path.is_file():
            return "none", ()
        ours = open_sqlite(path, busy_timeout_ms=load_settings().sqlite_busy_timeout_ms, read_only=True)
        try:
            known = ours.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
            rows = ours.execute(_VERSIONS).fetchall() if known else []
        finally:
            ours.close()
        return _names(rows), ()
    theirs = open_postgres(url, load_settings(), application_name=sides.APPLICATION_NAME)
    try:
        return _names(_postgres_versions(theirs)), tuple(narrow_columns(theirs))
    finally:
        theirs.close()


def _postgres_versions(connection: psycopg.Connection[Any]) -> list[Any]:
    known = connection.execute("SELECT to_regclass('alembic_version')").fetchone()
    return connection.execute(_VERSIONS.encode()).fetchall() if known and known[0] else []


def _names(rows: list[Any]) -> str:
    return ", ".join(row[0] for row in rows) or "none"
