"""What a deployment asks of PostgreSQL's connections and of the system's open files, compared with what there is.

A process opens up to twice ST_PG_POOL_SIZE connections under load. If all of its web processes together may open more
than the server has, the last ones fail at the busiest moment; so such a start is refused instead.
"""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.core.config import Role
from app.db.common.settings import Pooler, ShimSettings
from app.db.common.urls import Side
from app.db.session.runtime import Runtime

# Connections that a process of each role keeps ready; as many again under load.
POOL_SIZES: Final = {Role.ALL: 20, Role.WEB: 20, Role.WORKER: 5, Role.SCHEDULER: 3}
EXTRA: Final = (
    1  # apply while there is a shadow, the scheduler's lock, or the look at how far a replica is behind
)

_AVAILABLE: Final = """
SELECT least(
  current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    - coalesce(current_setting('reserved_connections', true)::int, 0),
  coalesce((SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user), 2147483647),
  coalesce((SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()), 2147483647))
"""


def needed(processes: int, settings: ShimSettings) -> int:
    """Connections that processes may open together."""
    return processes * (2 * settings.pg_pool_size + EXTRA)


def refusal(runtime: Runtime, processes: int) -> str | None:
    """Why a start with so many processes is refused; None when it fits, or nobody can say."""
    on_postgres = runtime.pair is not None or runtime.desired is Side.POSTGRES
    if not on_postgres or runtime.settings.pg_pooler is not Pooler.NONE:
        return None
    try:
        with runtime.engine(Side.POSTGRES).connect() as connection:
            available: int = connection.execute(text(_AVAILABLE)).scalar_one()
    except SQLAlchemyError:
        return None  # the server is away; the processes wait for it
    wanted = needed(processes, runtime.settings)
    if wanted <= available:
        return None
    return (
        f"{processes} processes may open {wanted} connections, and PostgreSQL grants {available}: start fewer, "
        "lower ST_PG_POOL_SIZE, raise max_connections, or put a pooler in between (docs/living.md)"
    )


def allow_open_files() -> None:
    """Let this process, and those that it starts, open as many files as the system grants.

    Each sender of a burst has a connection, and each connection is an open file. systemd and shells allow 1,024 as a
    rule; the connections beyond that would be closed without an answer.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems grant less than they say
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
