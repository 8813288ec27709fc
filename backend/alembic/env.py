"""What Alembic's command line executes.

The database is, in this order: `-x url=...`, `sqlalchemy.url` set by a program, `ST_DATABASE_URL`. A program
may instead hand over a connection in `config.attributes["connection"]`; then all happens in its transaction.
"""

from __future__ import annotations

from logging.config import fileConfig

import sqlalchemy as sa
from alembic.util import CommandError

import app.models  # noqa: F401 - fills Base.metadata
from alembic import context
from app.core.config import get_settings
from app.db.base import Base
from app.db.migration_runner import run_on_connection, run_on_url
from app.db.migrations import HOOKS
from app.db.urls import parse_url

config = context.config


def database_url() -> sa.URL:
    """The database to migrate."""
    option = context.get_x_argument(as_dictionary=True).get("url")
    url = option or config.get_main_option("sqlalchemy.url") or get_settings().database_url
    return parse_url(url, name="the database to migrate")


if context.is_offline_mode():
    raise CommandError("the revisions read the database, so they cannot be written out as a script")
if config.config_file_name and config.cmd_opts:
    fileConfig(config.config_file_name, disable_existing_loggers=False)
given = config.attributes.get("connection")
if given is None:
    run_on_url(context, database_url(), HOOKS, Base.metadata)
else:
    run_on_connection(context, given, HOOKS, Base.metadata)
