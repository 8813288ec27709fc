"""Users: the administrator every installation starts with, and the owner of unaddressed alerts."""

from __future__ import annotations

import os
from typing import Final

from sqlalchemy import ColumnElement, case, select
from sqlalchemy.orm import Session

from app.core.auth import hash_password
from app.core.config import Settings, is_truthy, running_under_pytest
from app.models import User

ADMIN: Final = "ADMIN"
DEFAULT_ADMIN_NAME: Final = "admin"
DEFAULT_ADMIN_PASSWORD: Final = "admin"


def ensure_default_admin(db: Session, settings: Settings) -> None:
    """Insert the administrator if missing; with ST_ADMIN_RESET_PASSWORD set, reset password and role.

    Does nothing under pytest. Commits only what it changes.
    """
    if running_under_pytest():
        return
    name = default_user_name(settings)
    password = settings.admin_password or DEFAULT_ADMIN_PASSWORD
    user = db.scalars(select(User).where(User.username == name)).first()
    if user is None:
        hashed = hash_password(password)
        db.add(User(username=name, password_hash=hashed, role=ADMIN, display_name="Administrator"))
    elif is_truthy(os.environ.get("ST_ADMIN_RESET_PASSWORD")):
        user.password_hash = hash_password(password)
        user.role = ADMIN
    else:
        return
    db.commit()


def default_user_name(settings: Settings) -> str:
    """Name of the user that is asked first to take alerts without one."""
    return settings.admin_username or DEFAULT_ADMIN_NAME


def default_user_rank(name: ColumnElement[str]) -> ColumnElement[int]:
    """Sort key of the user that takes alerts without one, best first; ties go to the lowest id.

    `name` is that of `default_user_name`.
    """
    return case(
        (User.username == name, 0), (User.username == DEFAULT_ADMIN_NAME, 1), (User.role == ADMIN, 2), else_=3
    )
