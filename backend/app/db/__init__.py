"""The session layer: one API over SQLite and PostgreSQL, before, during and after the move.

    session -> gate -> commit on the primary --(triggers, same transaction)--> change log
                             |                                                   |
                             +-- sync: wait <---------- replicator: apply <------+
                                                            |
                                                 shadow rows + watermark

Modules in reading order: urls, settings, errors / catalog, canonical, tables / capture, store / apply /
deferred, compare, dirty, gates / phase, switch, recover / engines, gate, replicator, session, runtime.
"""

from __future__ import annotations

from typing import Any

from app.db.base import Base
from app.db.revisions.ddl import install_portable_defaults
from app.db.types import UTCDateTime

install_portable_defaults()


def __getattr__(name: str) -> Any:
    """`SessionLocal`, `engine` and `get_db`, which need the application's settings, on first use."""
    if name in ("SessionLocal", "engine", "get_db"):
        from app.db import session

        return getattr(session, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["Base", "SessionLocal", "UTCDateTime", "engine", "get_db"]
