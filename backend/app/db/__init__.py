"""The session layer: one API over SQLite and PostgreSQL, before, during and after the move.

    session -> commit on the primary --(triggers, same transaction)--> change log
       |                                                                   |
       +-- sync: wait <---------------- replicator: apply <----------------+
                                            |
                                 shadow rows + watermark

The folders, each standing on those before it: `common` `rows` `sides` `apply` `revisions` `switch` `session`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from app.db.common.settings import IN_APPLICATION
from app.db.revisions.ddl import install_portable_defaults
from app.db.types import UTCDateTime

if IN_APPLICATION:  # beside an application that owns its tables, nothing of them is changed
    install_portable_defaults()
if TYPE_CHECKING:
    from app.db.base import Base


def __getattr__(name: str) -> Any:
    """Names that are loaded on first use: few commands need `Base`, and the others need the application's settings."""
    if name == "Base":
        return import_module(f"{__name__}.base").Base
    if name in ("SessionLocal", "engine", "get_db"):
        return getattr(import_module(f"{__name__}.session"), name)
    if name == "http":
        return import_module(f"{__name__}.session.application.http")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["Base", "SessionLocal", "UTCDateTime", "engine", "get_db", "http"]
