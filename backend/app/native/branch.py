"""The native branch: revisions of its own, with a version table of its own, beside the application's chain.

It is no second head of that chain, which then could not be upgraded by anything that says `head`, and whose
database no older release could read. A revision may be killed anywhere: its statements commit one by one, and
running it again skips what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from app.db.common.errors import Refused
from app.db.common.urls import connect_arguments
from app.db.revisions.chain import ALEMBIC_INI
from app.db.session.runtime import Runtime
from app.native.guard import require_alone, require_ready
from app.native.online import LOCK_TIMEOUT
from app.native.report import stand_against

LABEL: Final = "native"
VERSION_TABLE: Final = "alembic_version_native"
_SETTINGS: Final = ("lock_timeout", LOCK_TIMEOUT), ("statement_timeout", "0"), ("timezone", "UTC")
_ONE_AT_A_TIME: Final = f"SELECT pg_try_advisory_lock({0x5354_4E41_5456})"


def upgrade(runtime: Runtime, revision: str = f"{LABEL}@head", *, keep: bool = False) -> list[str]:
    """Run the branch up to a revision; returns the revisions that were run.

    Args:
        keep: leave rows that stand against a check or foreign key as they are; it then holds for new rows only.

    Raises:
        Refused: the branch may not run, or rows stand against it; says which.
    """
    require_alone(runtime)
    with connect(runtime) as connection:
        require_ready(connection)
        _require_clean(connection, keep)
        return _run(connection, lambda scripts, at: scripts._upgrade_revs(revision, at))


def downgrade(runtime: Runtime, revision: str = "base") -> list[str]:
    """Take the branch back; returns the revisions that were undone.

    Raises:
        Refused: the settings do not name PostgreSQL alone.
    """
    require_alone(runtime)
    with connect(runtime) as connection:
        return _run(connection, lambda scripts, at: scripts._downgrade_revs(revision, at))


def current(connection: sa.Connection) -> str | None:
    """The branch's revision in a database; None without it."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.scalar(sa.text(f"SELECT version_num FROM {VERSION_TABLE}"))
    return found


def scripts() -> ScriptDirectory:
    """The branch's revisions."""
    config = Config()
    config.set_main_option(
        "script_location", str(ALEMBIC_INI.parent / "alembic" / "native").replace("%", "%%")
    )
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


def _require_clean(connection: sa.Connection, keep: bool) -> None:
    against = [one for one in stand_against(connection) if not (keep and one.can_wait)]
    if against:
        named = "; ".join(
            f"{one.constraint}: {one.rows} rows of {one.table}, ids {list(one.ids)}" for one in against
        )
        raise Refused(
            f"rows stand against the constraints: {named}",
            hint="correct them, or repeat with --keep, which leaves rows that break a check or foreign key",
        )


def connect(runtime: Runtime) -> sa.Connection:
    """A session of our own in autocommit mode."""
    arguments: dict[str, Any] = {**connect_arguments(runtime.url), "application_name": "sigmatrader-native"}
    # st-lint: allow engine-outside-seam - schema changes commit statement by statement, and no pair may exist
    engine = sa.create_engine(
        "postgresql+psycopg://", connect_args=arguments, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT"
    )
    connection = engine.connect()
    for name, value in _SETTINGS:
        connection.exec_driver_sql("SELECT set_config(%s, %s, false)", (name, value))
    return connection


def _run(connection: sa.Connection, plan: Callable[[ScriptDirectory, Any], Sequence[Any]]) -> list[str]:
    if not connection.exec_driver_sql(_ONE_AT_A_TIME).scalar():
        raise Refused("somebody else runs the native branch", hint="wait for that run")
    directory = scripts()
    done: list[str] = []

    def steps(at: Any, _context: Any) -> Sequence[Any]:
        return plan(directory, at)

    def note(ctx: Any, step: Any, heads: Any, run_args: Any) -> None:
        done.append(step.up_revision_id)

    config = Config()
    config.set_main_option("script_location", directory.dir)
    with EnvironmentContext(config, directory, fn=steps) as environment:
        environment.configure(
            connection=connection,
            version_table=VERSION_TABLE,
            transactional_ddl=False,
            on_version_apply=note,
        )
        environment.run_migrations()
    return done
