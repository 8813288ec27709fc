"""Alembic from within the application: where its files are, and what runs around its revisions."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config

import app
from alembic import command
from app.db.ddl import ensure_version_table, normalise_postgres

ALEMBIC_INI = Path(app.__file__).resolve().parents[1] / "alembic.ini"


def before_upgrade(connection: sa.Connection) -> None:
    """Runs before the first revision: the version table, and columns made by an earlier chain.

    Called by env.py with the connection that migrates.
    """
    ensure_version_table(connection)
    normalise_postgres(connection)


def after_revision(connection: sa.Connection) -> None:
    """Runs after each revision and within its transaction: the columns it made accept what SQLite accepts.

    Called by env.py with the connection that migrates.
    """
    normalise_postgres(connection)


def alembic_config(url: str) -> Config:
    """Alembic's configuration for the backend's own chain on the database at `url`."""
    config = Config(ALEMBIC_INI)
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def upgrade_head(url: str, revision: str = "head") -> None:
    """Bring one database up to a revision; nothing happens if it is there already.

    Args:
        url: SQLAlchemy URL with its password, as configured.
        revision: where to stop.

    Raises:
        alembic.util.CommandError: the database is at a revision that the chain does not know.
        sqlalchemy.exc.DBAPIError: a statement failed; what the failing revision did is undone.
    """
    command.upgrade(alembic_config(url), revision)
