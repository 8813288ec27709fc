"""Users: the administrator every installation starts with, and the owner of unaddressed alerts.

The schema's own revisions make a user `admin` with the password `admin`, which everybody knows. So that password
is replaced at every start, and until then it logs nobody in.
"""

from __future__ import annotations

import os
from typing import Final

from sqlalchemy import ColumnElement, case, select
from sqlalchemy.orm import Session

from app.core.auth import hash_password, verify_password
from app.core.config import Settings, is_truthy, running_under_pytest
from app.core.security import ADMIN
from app.models import User

DEFAULT_ADMIN_NAME: Final = "admin"
KNOWN_PASSWORD: Final = "admin"


def ensure_default_admin(db: Session, settings: Settings) -> None:
    """Insert the administrator if missing; with ST_ADMIN_RESET_PASSWORD set, reset password and role.

    An account that still has the password of the schema's revisions gets the administrator's instead. Does nothing
    under pytest or without ST_ADMIN_PASSWORD. Commits only what it changes.
    """
    password = settings.admin_password
    if running_under_pytest() or not password:
        return
    _replace_known_password(db, settings, password)
    name = default_user_name(settings)
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


def _replace_known_password(db: Session, settings: Settings, password: str) -> None:
    names = {default_user_name(settings), DEFAULT_ADMIN_NAME}
    for user in db.scalars(select(User).where(User.username.in_(names))).all():
        if is_known_password(KNOWN_PASSWORD, settings) and verify_password(
            KNOWN_PASSWORD, user.password_hash
        ):
            user.password_hash = hash_password(password)
            db.commit()


def is_known_password(password: str, settings: Settings) -> bool:
    """Whether this is the password that the schema's revisions give, and not the one that the operator chose."""
    return password == KNOWN_PASSWORD and settings.admin_password not in (None, KNOWN_PASSWORD)


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
