"""What a request works with: its session, the settings, and who is calling.

A thread is the dearest part of a short request, and FastAPI takes one for each plain function that it
depends on. Opening a session and reading the cached settings do not wait for anything, so both happen on
the event loop; a session is closed in a thread only if a transaction is left to be ended.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, HTTPException, Request
from sqlalchemy.orm import Session

from app.core.auth import SESSION_COOKIE_NAME, decode_session_token
from app.core.config import Settings, get_settings
from app.core.replica import Replica
from app.db.session import get_db
from app.models import User


async def request_session(request: Request) -> AsyncIterator[Session]:
    """One session for the request, made by `get_db` or by what overrides it; closed afterwards."""
    make = request.app.dependency_overrides.get(get_db, get_db)
    with_session = ExitStack()
    session = with_session.enter_context(opened(make))
    try:
        yield session
    finally:
        error = sys.exc_info()
        if session.in_transaction():
            # A limiter of its own: threads that wait for a connection must not keep this one from letting go.
            await to_thread.run_sync(with_session.__exit__, *error, limiter=CapacityLimiter(1))
        else:
            with_session.__exit__(*error)


def opened(
    make: Callable[[], Iterator[Session]] | Callable[[], Session],
) -> AbstractContextManager[Session]:
    """A session of the given request dependency, closed with the context."""
    if inspect.isgeneratorfunction(make):
        return contextmanager(make)()
    return nullcontext(make())  # type: ignore[arg-type]  # no generator, as just seen


async def request_settings(request: Request) -> Settings:
    """The settings in force: `get_settings`, or what overrides it."""
    settings: Settings = request.app.dependency_overrides.get(get_settings, get_settings)()
    return settings


Db = Annotated[Session, Depends(request_session)]
AppSettings = Annotated[Settings, Depends(request_settings)]


async def listing_session(request: Request, db: Db) -> AsyncIterator[Session]:
    """A session for a listing: on the replica while that is young enough, otherwise the request's own."""
    replica: Replica | None = getattr(request.app.state, "replica", None)
    if replica is None:
        yield db
        return
    session = replica.session(db)
    found = await to_thread.run_sync(session.__enter__)
    try:
        yield found
    finally:
        await to_thread.run_sync(session.__exit__, *sys.exc_info(), limiter=CapacityLimiter(1))


ListingDb = Annotated[Session, Depends(listing_session)]


def get_current_user(request: Request, db: Db, settings: AppSettings) -> User:
    """The logged-in user; HTTPException 401 when there is none."""
    token = request.cookies.get(SESSION_COOKIE_NAME)
    if not token:
        raise HTTPException(401, "Not authenticated.")
    try:
        user_id, _payload = decode_session_token(settings, token)
    except (ValueError, RuntimeError):
        raise HTTPException(401, "Invalid or expired session.") from None
    user = db.get(User, user_id)
    if user is None:
        raise HTTPException(401, "User not found for this session.")
    return user


def get_current_user_optional(request: Request, db: Db, settings: AppSettings) -> User | None:
    """The logged-in user, or None."""
    try:
        return get_current_user(request, db, settings)
    except HTTPException:
        return None


CurrentUser = Annotated[User, Depends(get_current_user)]
OptionalUser = Annotated[User | None, Depends(get_current_user_optional)]
