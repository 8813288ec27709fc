"""A schema migration in the middle of the move: both sides, by one command.

Order: the shadow first, then the primary. While only the shadow is migrated, apply stands still with
SchemaDrift. Nothing is lost, because the log keeps everything, and apply goes on by itself afterwards. A
failure on the shadow has changed nothing on the primary. The same command finishes a migration that crashed
between the two. Two runners wait for each other at PostgreSQL's lock, and the second finds nothing to do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from app.db.apply.heal import heal
from app.db.common.errors import ConfigurationError, NotPrepared, Refused, ShadowUnavailable
from app.db.common.failpoints import Failpoint, failpoint
from app.db.common.settings import database_url, load_settings
from app.db.common.url_options import bare
from app.db.common.urls import Pair, Side, make_pair, parse_url, shown, side_of
from app.db.revisions.around import (
    PostgresHooks,
    PostgresPrimaryHooks,
    PostgresShadowHooks,
    SqliteHooks,
    require_unchanged,
)
from app.db.revisions.commits import commits_of
from app.db.revisions.runner import Hooks, Run, only_runner
from app.db.rows.catalog import read_schema
from app.db.sides.control import Control, sqlite_control
from app.db.sides.locks import APPLYING
from app.db.sides.phase import APPLYING_PHASES, Phase
from app.db.sides.postgres.store import PostgresStore
from app.db.sides.sqlite.connection import open_sqlite
from app.db.sides.stores import Stores


class _Preparing(Hooks):
    """PostgreSQL while `prepare` builds it: a fence that is up already lets the revisions pass.

    All revisions are one transaction, so that a chain that fails leaves no table behind.
    """

    one_transaction = True

    def __init__(self, epoch: int) -> None:
        self.settings = {APPLYING: str(epoch)}


def migrate(run: Run, url: sa.URL, partner: sa.URL | None = None) -> None:
    """Do what Alembic was asked for on a database, and on its partner if it is one of a prepared pair.

    Args:
        partner: where the other side is; None: where the settings say.

    Raises:
        ConfigurationError: the partner is not configured, or another database is.
        Refused: the pair is at a point at which its schema cannot change.
        ShadowUnavailable: the partner cannot be reached.
        SchemaDrift: the chain makes tables that the pair cannot hold.
        sqlalchemy.exc.DBAPIError: a statement failed; what the failing revision did is undone.
    """
    control = None if run.only_reads else control_of(url)
    if control is None:
        _alone(run, url, Hooks())
    elif side_of(url) is Side.POSTGRES and control.phase == Phase.PREPARING:
        _alone(run, url, _Preparing(control.epoch))
    else:
        _migrate_member(run, url, control, partner)


def _alone(run: Run, url: sa.URL, hooks: Hooks) -> None:
    with only_runner(url):
        run.on_url(url, hooks)


def control_of(url: sa.URL) -> Control | None:
    """The control row of a database. None if it has none."""
    settings = load_settings()
    try:
        if side_of(url) is Side.SQLITE:
            path = Path(str(url.database))
            if not path.is_file():
                return None
            connection = open_sqlite(path, busy_timeout_ms=settings.sqlite_busy_timeout_ms, read_only=True)
            try:
                return sqlite_control(connection)
            finally:
                connection.close()
        store = PostgresStore(url, settings, application_name="st-migrate")
        try:
            return store.read_control()
        finally:
            store.close()
    except NotPrepared:
        return None


def _migrate_member(run: Run, url: sa.URL, control: Control, partner: sa.URL | None) -> None:
    """The database is one of a pair. Without anything to do here, its partner may be missing or away."""
    due = run.steps(url)
    try:
        other, theirs = _partner(url, control, partner)
    except (ConfigurationError, ShadowUnavailable):
        if due:
            raise
        return
    pair = make_pair(url, other)
    arbiter = control if side_of(url) is Side.POSTGRES else theirs
    theirs_due = run.steps(other)
    if not due and not theirs_due:
        if arbiter.phase in APPLYING_PHASES and partner is not None:  # asked for by name, not at a start
            with only_runner(pair.postgres):
                run.on_url(pair.postgres, PostgresHooks(arbiter, pair.path))
                _check(pair)
        return
    _require_no_commits([*due, *theirs_due])
    if arbiter.phase == Phase.PREPARING:  # PostgreSQL gets its tables from prepare
        run.on_url(pair.sqlite, SqliteHooks(arbiter))
        return
    _require_replicating(arbiter, theirs if arbiter is control else control)
    with only_runner(pair.postgres):
        sides = {
            Side.SQLITE: SqliteHooks(arbiter),
            Side.POSTGRES: PostgresPrimaryHooks(arbiter, pair.path)
            if arbiter.primary is Side.POSTGRES
            else PostgresShadowHooks(arbiter, pair.path),
        }
        for side in (arbiter.primary.other, arbiter.primary):
            run.on_url(pair.url(side), sides[side])
            if side is not arbiter.primary:
                failpoint(Failpoint.SCHEMA_SHADOW)
    _check(pair)


def _require_no_commits(steps: list[Any]) -> None:
    """Refuse revisions that leave their transaction in a way that a pair cannot take."""
    if found := sorted(set(commits_of(steps))):
        raise Refused(
            f"{len(found)} places in the revisions cannot run on a prepared pair: {found[0]}",
            reasons=tuple(found),
            hint="correct them, or finish the move first; nothing was changed on either side",
        )


def _partner(url: sa.URL, control: Control, given: sa.URL | None) -> tuple[sa.URL, Control]:
    """The other side's URL and control row."""
    other_side = side_of(url).other
    named = {f"--{other_side}": given}
    if given is None:
        configured = {
            "ST_SHADOW_DATABASE_URL": bare(load_settings().shadow_database_url),
            "ST_DATABASE_URL": database_url(),
        }
        named = {name: parse_url(text, name=name) for name, text in configured.items() if text}
    fitting = [(name, url) for name, url in named.items() if url is not None and side_of(url) is other_side]
    if not fitting:
        raise ConfigurationError(
            f"{shown(url)} is one of a prepared pair, and its schema can only change on both sides together",
            hint=f"set ST_SHADOW_DATABASE_URL (or ST_DATABASE_URL) to the {other_side} side and repeat, "
            "or end the move first with st-migrate complete or abort",
        )
    name, other = fitting[0]
    theirs = control_of(other)
    if theirs is None or theirs.pair != control.pair:
        raise ConfigurationError(
            f"{name} names {shown(other)}, which is not the database that {shown(url)} is paired with",
            hint="correct the variable; st-migrate status shows the pair",
        )
    return other, theirs


def _require_replicating(arbiter: Control, sqlite_or_other: Control) -> None:
    if arbiter.phase != Phase.REPLICATING:
        raise Refused(
            f"the schema cannot change in phase {arbiter.phase}",
            hint="finish it first: "
            + ("st-migrate backfill" if arbiter.phase == Phase.COPYING else "st-migrate complete or abort"),
        )
    require_unchanged(arbiter, sqlite_or_other)


def _check(pair: Pair) -> None:
    """Both sides have the same tables now, and every write on them is captured."""
    with Stores.open(pair, load_settings(), application_name="st-migrate") as stores:
        read_schema(stores.sqlite.connection, stores.postgres.connection)
        heal(stores)
