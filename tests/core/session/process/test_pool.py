"""Which of an engine's pooled connections is taken."""

from __future__ import annotations

from sqlalchemy import make_url, text

from app.db.common.settings import ShimSettings
from app.db.session.engines import make_engine


def test_who_is_alone_keeps_one_connection_whatever_number_is_open(pg_url: str) -> None:
    """A connection that waits for its turn among many has no statement prepared, and no plan, when the turn comes."""
    engine = make_engine(make_url(pg_url), ShimSettings())
    warm = [engine.connect() for _ in range(4)]
    for connection in warm:
        connection.close()
    used = set()
    for _ in range(8):
        with engine.connect() as connection:
            used.add(connection.scalar(text("SELECT pg_backend_pid()")))
    engine.dispose()
    assert len(used) == 1
