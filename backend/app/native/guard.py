"""When the native branch may run: on PostgreSQL that is alone, at the head of the application's chain."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.script import ScriptDirectory

from app.db.common.errors import Refused
from app.db.common.settings import Pooler
from app.db.common.urls import Side
from app.db.revisions.chain import alembic_config
from app.db.session.runtime import Runtime


def require_alone(runtime: Runtime) -> None:
    """Make sure that the settings name PostgreSQL and nothing else.

    Raises:
        Refused: they do not; says why.
    """
    if runtime.pair is not None:
        raise Refused(
            "ST_SHADOW_DATABASE_URL names a shadow: the native branch runs after st-migrate complete",
            hint="end the move, then start without a shadow",
        )
    if runtime.desired is Side.SQLITE:
        raise Refused(
            "ST_DATABASE_URL names SQLite: the native branch is PostgreSQL's",
            hint="move first, see docs/runbook.md",
        )
    if runtime.settings.pg_pooler is not Pooler.NONE:
        raise Refused(
            "ST_PG_POOLER says that a pooler stands in between: indexes are built in a session of our own",
            hint="name the server itself for this command",
        )


def require_ready(connection: sa.Connection) -> None:
    """Make sure that no move is under way in the database and that its schema is the application's newest.

    Raises:
        Refused: it is not so; says why.
    """
    if sa.inspect(connection).has_table("st_control"):
        raise Refused(
            "this PostgreSQL is one of a prepared pair: the native branch runs after st-migrate complete",
            hint="run st-migrate status, which names the next command",
        )
    head = ScriptDirectory.from_config(alembic_config("postgresql+psycopg://")).get_current_head()
    found = None
    if sa.inspect(connection).has_table("alembic_version"):
        found = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    if found != head:
        raise Refused(
            f"the schema is at revision {found or 'none'}, the code at {head}",
            hint="run st-migrate schema upgrade first",
        )
