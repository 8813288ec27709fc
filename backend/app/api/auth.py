"""Accounts and log-in; these calls stand outside of the admin gate."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Response
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.core.auth import SESSION_COOKIE_NAME, create_session_token, hash_password, verify_password
from app.core.sessions import (
    AppSettings,
    CurrentUser,
    Db,
    get_current_user,
    get_current_user_optional,
)
from app.models import User
from app.schemas.auth import Login, PasswordChange, Registration, ThemeChoice, UserRead

__all__ = ["get_current_user", "get_current_user_optional", "router"]

router = APIRouter(prefix="/api/auth", tags=["auth"])
USERNAME_TAKEN = "Username is already taken."


@router.post("/register", status_code=201, response_model=UserRead)
def register(body: Registration, db: Db) -> User:
    """Create an account; it is not logged in."""
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
def login(body: Login, response: Response, db: Db, settings: AppSettings) -> User:
    """Check name and password and set the session cookie."""
    user = db.scalars(select(User).where(User.username == body.username)).first()
    db.commit()
    if user is None or not verify_password(body.password, user.password_hash):
        raise HTTPException(401, "Invalid username or password.")
    try:
        token = create_session_token(settings, user.id)
    except RuntimeError as error:
        raise HTTPException(400, str(error)) from None
    secure = settings.environment.lower() == "prod"
    response.set_cookie(SESSION_COOKIE_NAME, token, path="/", httponly=True, samesite="lax", secure=secure)
    return user


@router.post("/logout", status_code=204)
def logout(response: Response) -> None:
    """Forget the cookie; a copied token stays valid until it expires."""
    response.delete_cookie(SESSION_COOKIE_NAME, path="/")


@router.get("/me", response_model=UserRead)
def me(user: CurrentUser) -> User:
    """The logged-in user."""
    return user


@router.post("/change-password", status_code=204)
def change_password(body: PasswordChange, db: Db, user: CurrentUser) -> None:
    """Replace the password of the logged-in user."""
    db.commit()
    if not verify_password(body.current_password, user.password_hash):
        raise HTTPException(400, "Current password is incorrect.")
    user.password_hash = hash_password(body.new_password)
    db.commit()


@router.post("/theme", response_model=UserRead)
def choose_theme(body: ThemeChoice, db: Db, user: CurrentUser) -> User:
    """Remember the colour theme."""
    user.theme_id = body.theme_id
    db.commit()
    return user
