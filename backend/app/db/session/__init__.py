"""Sessions: where each is routed, admitted, waited for and carried to the shadow.

The names that an application imports stand here: `SessionLocal`, `engine`, `get_db`, `Base`.
"""

from __future__ import annotations

from typing import Any

from app.db.base import Base
from app.db.session.routed import RoutedSession, SessionLocal, get_db
from app.db.session.runtime import runtime as _runtime  # the name itself is the module's


def __getattr__(name: str) -> Any:
    """`engine`: that of the side which is primary when the name is looked up."""
    if name == "engine":
        current = _runtime()
        return current.engine(current.primary())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["Base", "RoutedSession", "SessionLocal", "engine", "get_db"]
