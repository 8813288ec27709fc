"""No start without secrets: a deployment has to set them, a developer gets generated ones.

A blank webhook secret would let any secret place orders, a known crypto key would let anybody sign a session, and
a known administrator's password needs no guessing. So outside of development (ST_ENVIRONMENT is neither dev nor
test) a start without them ends with one line per missing setting. In development the missing ones are generated
once and kept in `backend/.env.generated`, which only its owner may read. They stay the same at every further
start and in every worker, so sessions and stored secrets stay readable. The log names the file, never a value.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

from app.core.config import BACKEND_DIR, Settings, running_under_pytest

logger = logging.getLogger(__name__)
GENERATED_FILE: Final = BACKEND_DIR / ".env.generated"
START_FAILED: Final = 3  # what uvicorn exits with; its supervisor then starts no other worker

REQUIRED: Final = {
    "tradingview_webhook_secret": "without it any secret would place orders",
    "crypto_key": "it signs sessions and encrypts stored secrets",
    "admin_password": "the administrator logs in with it",
}
# What stands in examples and in the schema's revisions is no secret.
_KNOWN: Final = frozenset({"", "admin", "change-me", "changeme", "password", "secret"})


class MissingSecrets(SystemExit):
    """The start ends; `lines` say which settings are missing and what to do."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(START_FAILED)
        self.lines = lines


def missing_secrets(settings: Settings) -> list[str]:
    """Names of the settings whose value is missing, blank, or known to everybody."""
    values = {name: (getattr(settings, name) or "").strip() for name in REQUIRED}
    return [name for name, value in values.items() if not _is_secret(value, settings)]


def _is_secret(value: str, settings: Settings) -> bool:
    return bool(value) if settings.in_development else value.lower() not in _KNOWN


def require_secrets(settings: Settings, generated: Path = GENERATED_FILE) -> None:
    """Make sure that every secret has a value; fills in generated ones in development. Nothing under pytest.

    Raises MissingSecrets, after writing its lines to stderr.
    """
    missing = missing_secrets(settings)
    if not missing or running_under_pytest():
        return
    if settings.in_development:
        try:
            values = _generated(generated)
        except OSError as error:
            _refuse(missing, f"it cannot be generated either: {generated}: {error.strerror}")
        for name in missing:
            setattr(settings, name, values[name])
        names = ", ".join(_variable(name) for name in missing)
        logger.warning("generated values are used for %s; they stand in %s", names, generated)
        return
    _refuse(missing, "`make env` writes a .env with generated ones")


def _refuse(missing: list[str], remedy: str) -> None:
    lines = [
        f"{_variable(name)} has no secret value: {REQUIRED[name]}. Set it in the environment or in .env; {remedy}."
        for name in missing
    ]
    print(*lines, sep="\n", file=sys.stderr, flush=True)
    raise MissingSecrets(lines)


def _variable(name: str) -> str:
    return f"ST_{name.upper()}"


def _generated(path: Path) -> dict[str, str]:
    """The values of the file, which is made complete or not at all, by one process only."""
    values = _read(path)
    if values is None:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")  # mode 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write("# Generated secrets of a developer's backend. Keep them to yourself.\n")
                file.writelines(f"{_variable(name)}={secrets.token_urlsafe(32)}\n" for name in REQUIRED)
            with contextlib.suppress(FileExistsError):  # another worker was faster
                os.link(name, path)
        finally:
            Path(name).unlink()
        values = _read(path)
    if values is None:
        raise OSError(0, "it is not complete; remove it")
    return values


def _read(path: Path) -> dict[str, str] | None:
    """The values of the file, None when there is none or one lacks."""
    if not path.exists():
        return None
    found = dotenv_values(path)
    values = {name: found.get(_variable(name)) or "" for name in REQUIRED}
    return values if all(values.values()) else None


def say_what_is_open(settings: Settings) -> None:
    """Log what a setting opens beyond the default."""
    if settings.any_session_is_admin:
        logger.warning(
            "ST_ANY_SESSION_IS_ADMIN is on: every user who is logged in may read the webhook secret, "
            "store brokers' keys and change every setting"
        )
    if settings.allow_registration and not running_under_pytest():
        logger.warning("ST_ALLOW_REGISTRATION is on: everybody who reaches this backend may make an account")
