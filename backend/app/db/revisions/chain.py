"""Alembic from within the application: where its files are, and what runs around its revisions.

`upgrade_head` does not execute env.py, so that a chain that brings its own comes out the same.
Alembic is loaded where it is used, because most commands need nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from logging.config import fileConfig
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa

from app.db.common.errors import ConfigurationError
from app.db.common.settings import IN_APPLICATION, database_url
from app.db.common.urls import parse_url
from app.db.revisions.commits import commits_of
from app.db.revisions.pair import migrate
from app.db.revisions.runner import Run

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

ALEMBIC_INI = Path(__file__).resolve().parents[3] / "alembic.ini"


def has_chain() -> bool:
    """Whether these files are part of a backend that has a chain."""
    return IN_APPLICATION and ALEMBIC_INI.is_file()


def alembic_config(url: str) -> Config:
    """Alembic's configuration for the backend's chain and the database at `url`, from any directory."""
    from alembic.config import Config

    config = Config(ALEMBIC_INI)
    # Alembic puts this folder into the file's `%(here)s` as it is, and a `%` in its name would count as syntax.
    config.file_config["DEFAULT"]["here"] = ALEMBIC_INI.parent.as_posix().replace("%", "%%")
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    scripts = ALEMBIC_INI.parent / (config.get_main_option("script_location") or "alembic")
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    return config


def _steps(
    scripts: ScriptDirectory, revision: str, begun: Callable[[str], None]
) -> Callable[..., Sequence[Any]]:
    """What Alembic's own upgrade command plans with; there is no public name for it.

    Args:
        begun: is told each revision as it begins.
    """

    def noting(step: Any) -> Any:
        run = step.migration_fn

        def noted(*arguments: Any, **options: Any) -> Any:
            begun(step.revision.revision)
            return run(*arguments, **options)

        step.migration_fn = noted
        return step

    return lambda current, _: [noting(step) for step in scripts._upgrade_revs(revision, current)]


def _begun_by_nobody(_: str) -> None:
    """Nobody asks."""


def upgrade_on(
    connection: sa.Connection, revision: str, *, config: Config | None, begun: Callable[[str], None]
) -> None:
    """The same through a connection of the caller, within its transaction.

    Raises:
        NotImplementedError: a revision commits by itself. Nothing was run.
        AssertionError: Alembic's own, for a block outside of the caller's transaction.
        sqlalchemy.exc.DBAPIError: a statement failed.
    """
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = config or alembic_config("postgresql+psycopg://")
    scripts = ScriptDirectory.from_config(config)
    steps = _steps(scripts, revision, begun)
    if set(commits_of(scripts._upgrade_revs(revision, "base"))):
        raise NotImplementedError("a revision commits by itself")
    with EnvironmentContext(config, scripts, fn=steps, destination_rev=revision) as environment:
        Run(environment).on_connection(connection)


def upgrade_head(
    url: str,
    revision: str = "head",
    *,
    config: Config | None = None,
    begun: Callable[[str], None] = _begun_by_nobody,
    partner: sa.URL | None = None,
) -> None:
    """Bring a database up to a revision. Nothing happens if it is there already.

    If it is one of a prepared pair, its partner is brought there as well, see `app.db.revisions.pair`.

    Args:
        url: SQLAlchemy URL with its password, as configured.
        revision: where to stop.
        config: another chain than the backend's.
        begun: is told each revision as it begins.
        partner: the other side of its pair; None: where the settings say.

    Raises:
        alembic.util.CommandError: the database is at a revision that the chain does not know.
        SwitchError: it is one of a pair, which cannot be migrated now. Says why.
        sqlalchemy.exc.DBAPIError: a statement failed; what the failing revision did is undone.
    """
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = config or alembic_config(url)
    scripts = ScriptDirectory.from_config(config)
    steps = _steps(scripts, revision, begun)
    with EnvironmentContext(config, scripts, fn=steps, destination_rev=revision) as environment:
        migrate(Run(environment), parse_url(url, name="the database to migrate"), partner)


def _set_by_program(config: Config) -> str | None:
    """The URL that a program has set. What stands in alembic.ini is no choice of anybody who runs now."""
    from alembic.config import Config

    url = config.get_main_option("sqlalchemy.url")
    file = config.config_file_name
    return None if file is not None and url == Config(file).get_main_option("sqlalchemy.url") else url


def run_environment(metadata: sa.MetaData) -> None:
    """All that an env.py has to do: run what Alembic's command line was asked for, on both sides of a pair.

    The database is, in this order: `-x url=...`, `sqlalchemy.url` set by a program, `ST_DATABASE_URL`. A
    program may instead hand over a connection in `config.attributes["connection"]`; then all happens in its
    transaction. What alembic.ini names does not count.

    Args:
        metadata: of the models, for commands that compare.

    Raises:
        alembic.util.CommandError: the revisions were to be written out as a script; they read the database.
    """
    from alembic import context
    from alembic.util import CommandError

    config = context.config
    if context.is_offline_mode():
        raise CommandError("the revisions read the database, so they cannot be written out as a script")
    if config.config_file_name and config.cmd_opts:
        fileConfig(config.config_file_name, disable_existing_loggers=False)
    environment = cast("EnvironmentContext", context)  # the module stands for the one that env.py runs in
    given = config.attributes.get("connection")
    if given is not None:
        Run(environment, metadata).on_connection(given)
        return
    option = context.get_x_argument(as_dictionary=True).get("url")
    url = option or _set_by_program(config) or database_url()
    if url is None:
        raise ConfigurationError("no database is named", hint="set ST_DATABASE_URL, or give -x url=URL")
    migrate(Run(environment, metadata), parse_url(url, name="the database to migrate"))
