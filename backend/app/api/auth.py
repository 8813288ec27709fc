"""Accounts and log-in; these calls stand outside of the admin gate."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request, Response
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.core.attempts import Attempts, address_of
from app.core.auth import (
    SESSION_COOKIE_NAME,
    check_password,
    create_session_token,
    hash_password,
    verify_password,
)
from app.core.sessions import (
    AppSettings,
    CurrentUser,
    Db,
    get_current_user,
    get_current_user_optional,
)
from app.models import User
from app.schemas.auth import Login, PasswordChange, Registration, ThemeChoice, UserRead
from app.services.shared.users import is_known_password

__all__ = ["get_current_user", "get_current_user_optional", "router"]

router = APIRouter(prefix="/api/auth", tags=["auth"])
USERNAME_TAKEN = "Username is already taken."
NO_REGISTRATION = "Registration is closed; ST_ALLOW_REGISTRATION opens it."
WRONG_LOGIN = "Invalid username or password."


@router.post("/register", status_code=201, response_model=UserRead)
def register(body: Registration, db: Db, settings: AppSettings) -> User:
    """Create an account, where the settings allow that; it is not logged in."""
    if not settings.allow_registration:
        raise HTTPException(403, NO_REGISTRATION)
    # Hashing takes a while: no transaction is open meanwhile.
    hashed = hash_password(body.password)
    if db.scalar(select(User.id).where(User.username == body.username)) is not None:
        raise HTTPException(400, USERNAME_TAKEN)
    user = User(
        username=body.username,
        password_hash=hashed,
        role="TRADER",
        display_name=body.display_name or body.username,
    )
    db.add(user)
    try:
        db.commit()
    except IntegrityError:
        db.rollback()
        raise HTTPException(400, USERNAME_TAKEN) from None
    return user


@router.post("/login", response_model=UserRead)
def login(body: Login, request: Request, response: Response, db: Db, settings: AppSettings) -> User:
    """Check name and password and set the session cookie."""
    attempts: Attempts = request.app.state.attempts
    with attempts.one(body.username, address_of(request), settings.login_attempts_per_minute) as attempt:
        user = db.scalars(select(User).where(User.username == body.username)).first()
        db.commit()
        right = check_password(body.password, user.password_hash if user else None)
        if user is None or not right or is_known_password(body.password, settings):
            raise HTTPException(401, WRONG_LOGIN)
        attempt.succeeded()
    try:
        token = create_session_token(settings, user.id)
    except RuntimeError as error:
        raise HTTPException(400, str(error)) from None
    secure = not settings.in_development
    response.set_cookie(SESSION_COOKIE_NAME, token, path="/", httponly=True, samesite="lax", secure=secure)
    return user


@router.post("/logout", status_code=204)
def logout(response: Response, settings: AppSettings) -> None:
    """Forget the cookie; a copied token stays valid until it expires."""
    secure = not settings.in_development
    response.delete_cookie(SESSION_COOKIE_NAME, path="/", httponly=True, samesite="lax", secure=secure)


@router.get("/me", response_model=UserRead)
def me(user: CurrentUser) -> User:
    """The logged-in user."""
    return user


@router.post("/change-password", status_code=204)
def change_password(
    body: PasswordChange, request: Request, db: Db, user: CurrentUser, settings: AppSettings
) -> None:
    """Replace the password of the logged-in user."""
    db.commit()
    attempts: Attempts = request.app.state.attempts
    with attempts.one(user.username, address_of(request), settings.login_attempts_per_minute) as attempt:
        if not verify_password(body.current_password, user.password_hash):
            raise HTTPException(400, "Current password is incorrect.")
        attempt.succeeded()
    user.password_hash = hash_password(body.new_password)
    db.commit()


@router.post("/theme", response_model=UserRead)
def choose_theme(body: ThemeChoice, db: Db, user: CurrentUser) -> User:
    """Remember the colour theme."""
    user.theme_id = body.theme_id
    db.commit()
    return user
