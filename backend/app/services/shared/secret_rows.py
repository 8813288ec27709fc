"""Rows of `broker_secrets`: encrypted settings, per user or global (no user)."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.crypto import encrypt_token
from app.models import BrokerSecret
from app.services.shared.kept import kept


def find_secret_row(db: Session, broker_name: str, key: str, user_id: int | None) -> BrokerSecret | None:
    """The row of that owner; of several (old data may hold duplicates for NULL) the oldest."""
    owner = BrokerSecret.user_id.is_(None) if user_id is None else BrokerSecret.user_id == user_id
    query = select(BrokerSecret).where(
        owner, BrokerSecret.broker_name == broker_name, BrokerSecret.key == key
    )
    oldest = query.order_by(BrokerSecret.id).limit(1)
    return kept(db, (BrokerSecret, broker_name, key, user_id), lambda: db.scalars(oldest).first())


def store_secret_row(
    db: Session, settings: Settings, broker_name: str, key: str, value: str, user_id: int | None
) -> BrokerSecret:
    """Encrypt the value, insert or replace the owner's row, commit."""
    row = find_secret_row(db, broker_name, key, user_id)
    if row is None:
        row = BrokerSecret(user_id=user_id, broker_name=broker_name, key=key)
        db.add(row)
    row.value_encrypted = encrypt_token(settings, value)
    db.commit()
    return row


def delete_secret_row(db: Session, broker_name: str, key: str, user_id: int | None) -> bool:
    """Delete the owner's row and commit; False when there was none."""
    row = find_secret_row(db, broker_name, key, user_id)
    if row is None:
        return False
    db.delete(row)
    db.commit()
    return True
