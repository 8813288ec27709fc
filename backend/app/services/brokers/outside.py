"""What the application needs from outside: a broker's client for a user, and the market's opening hours.

Services ask `OUTSIDE` at each call. The orders API puts its own functions there when it is imported, because
code written against the application replaces those functions by their names in `app.api.orders`. A service
thus uses the replaced function and does not import the API.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from fastapi import HTTPException
from sqlalchemy.orm import Session

from app.config_files import supported_brokers
from app.core.config import Settings
from app.core.market_hours import is_market_open_now
from app.services.brokers.clients import CLIENT_FACTORIES, BrokerClient, NotConnected, connected_client


class ClientSource(Protocol):
    """Finds a client of the broker for the user; HTTPException 400 without one."""

    def __call__(
        self, db: Session, settings: Settings, broker_name: str, user_id: int | None = None
    ) -> BrokerClient: ...


@dataclass
class Outside:
    """The functions that lead outside."""

    client_for: ClientSource
    market_is_open: Callable[[], bool]
    may_have_client: Callable[[str], bool]  # False: asking for a client of this broker is in vain


def supported_broker(broker_name: str) -> str:
    """The trimmed lower-case name; HTTPException 400 when the broker is not configured."""
    name = broker_name.strip().lower()
    if name not in supported_brokers():
        raise HTTPException(400, f"Unsupported broker: {name}")
    return name


def client_or_400(db: Session, settings: Settings, broker_name: str, user_id: int | None) -> BrokerClient:
    """A client for the user's connection; HTTPException 400 without a connection."""
    try:
        return connected_client(db, settings, broker_name, user_id)
    except NotConnected as error:
        raise HTTPException(400, str(error)) from None


def client_from(
    factory: Callable[..., BrokerClient], db: Session, settings: Settings, user_id: int | None
) -> BrokerClient:
    """The client that a replaceable factory makes; a replaced factory need not have a `user_id`."""
    if "user_id" in inspect.signature(factory).parameters:
        return factory(db, settings, user_id=user_id)
    return factory(db, settings)


def broker_client(
    db: Session, settings: Settings, broker_name: str, user_id: int | None = None
) -> BrokerClient:
    """A client of the broker for the user; HTTPException 400 when unsupported or not connected."""
    return client_or_400(db, settings, supported_broker(broker_name), user_id)


OUTSIDE: Final = Outside(
    client_for=broker_client,
    market_is_open=is_market_open_now,
    may_have_client=CLIENT_FACTORIES.__contains__,
)
