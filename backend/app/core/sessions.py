"""Who is calling: the user behind the session cookie, as request dependencies."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException, Request
from sqlalchemy.orm import Session

from app.core.auth import SESSION_COOKIE_NAME, decode_session_token
from app.core.config import Settings, get_settings
from app.db.session import get_db
from app.models import User

Db = Annotated[Session, Depends(get_db)]
AppSettings = Annotated[Settings, Depends(get_settings)]


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
