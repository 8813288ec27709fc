"""Broker credentials: stored per user and encrypted, with well-known aliases and the environment behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.crypto import decrypt_token
from app.models import BrokerSecret
from app.services.shared.secret_rows import delete_secret_row, find_secret_row, store_secret_row

_PREFIXES: Final = {"zerodha": ("KITE_", "ZERODHA_"), "angelone": ("SMARTAPI_", "ANGELONE_", "")}
_ENVIRONMENT: Final = {
    "zerodha": ("KITE_", "ZERODHA_", "ST_KITE_", "ST_ZERODHA_"),
    "angelone": ("SMARTAPI_", "ST_SMARTAPI_"),
}
_ALIASED: Final = ("api_key", "api_secret")


def _stored_keys(broker_name: str, key: str) -> Iterator[str]:
    """The key itself, then the names under which people store the same thing."""
    yield key
    if key in _ALIASED:
        for prefix in _PREFIXES.get(broker_name, ()):
            yield f"{prefix}{key.upper()}"


def get_broker_secret(
    db: Session, settings: Settings, broker_name: str, key: str, user_id: int | None = None
) -> str | None:
    """The decrypted secret of the user (None: the global one), else from the environment, else None.

    Raises ValueError when a stored value cannot be decoded.
    """
    for name in _stored_keys(broker_name, key):
        row = find_secret_row(db, broker_name, name, user_id)
        if row is not None:
            return decrypt_token(settings, row.value_encrypted)
    if key in _ALIASED:
        for prefix in _ENVIRONMENT.get(broker_name, ()):
            value = os.environ.get(f"{prefix}{key.upper()}")
            if value:
                return value
    if broker_name == "zerodha" and key == "api_key":
        return settings.zerodha_api_key
    return None


def set_broker_secret(
    db: Session, settings: Settings, broker_name: str, key: str, value: str, user_id: int | None
) -> BrokerSecret:
    """Encrypt and store a secret; commits and returns the row."""
    return store_secret_row(db, settings, broker_name, key, value, user_id)


def list_broker_secrets(
    db: Session, settings: Settings, broker_name: str, user_id: int | None
) -> list[dict[str, str]]:
    """[{'key', 'value'}] of one user by key; a value that cannot be decoded is shown as empty."""
    owner = BrokerSecret.user_id.is_(None) if user_id is None else BrokerSecret.user_id == user_id
    query = select(BrokerSecret).where(owner, BrokerSecret.broker_name == broker_name)
    rows = db.scalars(query.order_by(BrokerSecret.key, BrokerSecret.id))
    return [{"key": row.key, "value": _decoded(settings, row.value_encrypted)} for row in rows]


def delete_broker_secret(db: Session, broker_name: str, key: str, user_id: int | None) -> bool:
    """Delete a secret and commit; False when there was none."""
    return delete_secret_row(db, broker_name, key, user_id)


def _decoded(settings: Settings, encrypted: str) -> str:
    try:
        return decrypt_token(settings, encrypted)
    except (ValueError, RuntimeError):
        return ""
