"""The shared secret that TradingView alerts carry: stored globally, else from the settings."""

from __future__ import annotations

from typing import Final

from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.crypto import decrypt_token
from app.services.shared.secret_rows import delete_secret_row, find_secret_row, store_secret_row

WEBHOOK_BROKER_NAME: Final = "webhook"
TRADINGVIEW_WEBHOOK_SECRET_KEY: Final = "tradingview_webhook_secret"


def get_tradingview_webhook_secret(db: Session, settings: Settings) -> str | None:
    """The secret in force, None when neither a stored nor a configured one exists.

    Raises ValueError when the stored one cannot be decoded with the crypto key.
    """
    row = find_secret_row(db, WEBHOOK_BROKER_NAME, TRADINGVIEW_WEBHOOK_SECRET_KEY, None)
    if row is None:
        return settings.tradingview_webhook_secret
    return decrypt_token(settings, row.value_encrypted)


def webhook_secret_source(db: Session, settings: Settings) -> str:
    """Where the secret in force comes from: db, env or unset."""
    if find_secret_row(db, WEBHOOK_BROKER_NAME, TRADINGVIEW_WEBHOOK_SECRET_KEY, None) is not None:
        return "db"
    return "env" if settings.tradingview_webhook_secret else "unset"


def set_tradingview_webhook_secret(db: Session, settings: Settings, value: str) -> None:
    """Store the trimmed secret; a blank one deletes the stored row. Commits."""
    trimmed = value.strip()
    if trimmed:
        store_secret_row(db, settings, WEBHOOK_BROKER_NAME, TRADINGVIEW_WEBHOOK_SECRET_KEY, trimmed, None)
    else:
        delete_secret_row(db, WEBHOOK_BROKER_NAME, TRADINGVIEW_WEBHOOK_SECRET_KEY, None)
