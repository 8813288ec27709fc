"""The backend without the shim, for comparison: plain sessions, or a naive pair of them.

`uvicorn loadtests.bench.lab.plain_app:app`; with BENCH_NAIVE_URL set, every commit also goes there.
"""

from __future__ import annotations

import os
from typing import Any

from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.db.session.routed import SessionFactory
from loadtests.bench.lab.modes import NaiveSession, plain_engine

_first = plain_engine(get_settings().database_url)
_second = plain_engine(os.environ["BENCH_NAIVE_URL"]) if os.environ.get("BENCH_NAIVE_URL") else None


def _plain_session(factory: SessionFactory, **local: Any) -> Session:
    if _second is not None:
        return NaiveSession(_first, _second)
    return Session(_first, expire_on_commit=False, autoflush=False)


SessionFactory.__call__ = _plain_session  # type: ignore[method-assign]

from app.main import app  # noqa: E402 - it must find the replacement in place

__all__ = ["app"]
