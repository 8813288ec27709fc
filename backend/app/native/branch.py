"""The native branch: revisions of its own, with a version table of its own, beside the application's chain.

It is no second head of that chain, which then could not be upgraded by anything that says `head`, and whose
database no older release could read. A revision may be killed anywhere: its statements commit one by one, and
running it again skips what is there. The version is noted behind the last statement of a revision. So `upgrade` looks
at every revision up to the noted one again, which a killed `downgrade` may have undone in part; and `downgrade` begins
with the revision behind the noted one, which a killed `upgrade` may have begun.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final, Literal

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy.exc import DBAPIError
from tenacity import Retrying, retry_if_result, stop_after_attempt, wait_fixed

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
# The server ends what a dead process left under way, which else goes on with its locks to its end.
_LOOK_FOR_THE_CLIENT: Final = "SELECT set_config('client_connection_check_interval', '1000', false)"
_ONE_AT_A_TIME: Final = f"SELECT pg_try_advisory_lock({0x5354_4E41_5456})"
_TRIES: Final = 5  # a dead run is let go within a second or two
_PAUSE_S: Final = 1.0


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
        require_only_run(connection)
        _require_clean(connection, keep)
        return _run(connection, "upgrade", revision)


def downgrade(runtime: Runtime, revision: str = "base") -> list[str]:
    """Take the branch back; returns the revisions that were undone.

    Raises:
        Refused: the settings do not name PostgreSQL alone, or somebody else runs the branch.
    """
    require_alone(runtime)
    with connect(runtime) as connection:
        require_only_run(connection)
        if not sa.inspect(connection).has_table(VERSION_TABLE):
            return []
        return _run(connection, "downgrade", revision)


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
            f"{one.constraint}: {one.rows} rows of {one.table}, ids {list(one.ids)}; {one.remedy}"
            for one in against
        )
        raise Refused(
            f"rows stand against the constraints: {named}",
            hint="see the report; --keep leaves rows that break a check or foreign key",
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
    with suppress(DBAPIError):  # not every system can tell
        connection.exec_driver_sql(_LOOK_FOR_THE_CLIENT)
    return connection


def require_only_run(connection: sa.Connection) -> None:
    """Be the only run in the database, for as long as the connection lasts.

    Raises:
        Refused: there is another one.
    """
    attempts = Retrying(
        retry=retry_if_result(lambda alone: not alone),
        wait=wait_fixed(_PAUSE_S),
        stop=stop_after_attempt(_TRIES),
        retry_error_callback=lambda _: False,
    )
    if not attempts(lambda: bool(connection.exec_driver_sql(_ONE_AT_A_TIME).scalar())):
        raise Refused("somebody else runs the native branch", hint="wait for that run")


def _run(connection: sa.Connection, direction: Literal["upgrade", "downgrade"], revision: str) -> list[str]:
    directory = scripts()
    done: list[str] = []

    def steps(at: Any, _context: Any) -> Any:
        for script in _perhaps_half(directory, direction, at):
            getattr(script.module, direction)()
        if direction == "upgrade":
            return directory._upgrade_revs(revision, at)
        return directory._downgrade_revs(revision, at)

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


def _perhaps_half(directory: ScriptDirectory, direction: str, at: tuple[str, ...]) -> Iterable[Script]:
    """Revisions that a killed run may have left undone in part, in the order in which they go on."""
    oldest_first = list(directory.walk_revisions())[::-1]
    noted = next((n for n, script in enumerate(oldest_first, 1) if script.revision in at), 0)
    return oldest_first[:noted] if direction == "upgrade" else oldest_first[noted : noted + 1]
