"""Shapes of the log-in calls."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from app.schemas.types import Answer


class UserRead(Answer):
    """What a client may know of a user."""

    id: int
    username: str
    role: str
    display_name: str | None
    theme_id: str | None


class Registration(BaseModel):
    """A new account."""

    username: Annotated[str, Field(min_length=3, max_length=64)]
    password: Annotated[str, Field(min_length=6, max_length=128)]
    display_name: Annotated[str | None, Field(max_length=128)] = None


class Login(BaseModel):
    """Name and password."""

    username: Annotated[str, Field(min_length=1, max_length=64)]
    password: Annotated[str, Field(min_length=1, max_length=128)]


class PasswordChange(BaseModel):
    """The password so far and the next one."""

    current_password: Annotated[str, Field(min_length=1, max_length=128)]
    new_password: Annotated[str, Field(min_length=6, max_length=128)]


class ThemeChoice(BaseModel):
    """The colour theme of the user interface."""

    theme_id: Annotated[str, Field(min_length=1, max_length=32)]
