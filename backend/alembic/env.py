"""What Alembic's command line executes.

The database is, in this order: `-x url=...`, `sqlalchemy.url` set by a program, `ST_DATABASE_URL`. A program
may instead hand over a connection in `config.attributes["connection"]`; then all happens in its transaction.
If the database is one of a prepared pair, its partner is migrated with it.
"""

from __future__ import annotations

from logging.config import fileConfig

import sqlalchemy as sa
from alembic import context
from alembic.util import CommandError

import app.models  # noqa: F401 - fills Base.metadata
from app.core.config import get_settings
from app.db.base import Base
from app.db.common.urls import parse_url
from app.db.revisions.pair import migrate
from app.db.revisions.runner import Run

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
    migrate(Run(context, Base.metadata), database_url())
else:
    Run(context, Base.metadata).on_connection(given)
