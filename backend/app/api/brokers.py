"""Which brokers there are, and the caller's credentials for them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path
from pydantic import BaseModel

from app.config_files import supported_brokers
from app.core.sessions import AppSettings, CurrentUser, Db
from app.services.brokers.clients import BROKER_LABELS
from app.services.brokers.secrets import delete_broker_secret, list_broker_secrets, set_broker_secret

router = APIRouter(prefix="/api/brokers", tags=["brokers"])
SecretKey = Annotated[str, Path(min_length=1)]


class BrokerInfo(BaseModel):
    """A configured broker."""

    name: str
    label: str


class Capabilities(BaseModel):
    """What the application can do with a broker."""

    supports_gtt: bool = False
    supports_conditional_orders: bool = False
    supports_margin_preview: bool = False
    supports_order_preview: bool = False
    supports_ltp: bool = False


class BrokerCapabilities(BrokerInfo):
    """A broker with its capabilities."""

    capabilities: Capabilities


class SecretValue(BaseModel):
    """The value of a secret; may be empty."""

    value: str


class Secret(SecretValue):
    """A secret with its name."""

    key: str


_CAPABILITIES = {
    "zerodha": Capabilities(
        supports_gtt=True,
        supports_conditional_orders=True,
        supports_margin_preview=True,
        supports_order_preview=True,
        supports_ltp=True,
    ),
    "angelone": Capabilities(supports_conditional_orders=True, supports_ltp=True),
}


def _label(name: str) -> str:
    return BROKER_LABELS.get(name, name.title())


def _known(broker_name: str) -> str:
    name = broker_name.strip().lower()
    if name not in supported_brokers():
        raise HTTPException(404, f"Unknown broker: {name}")
    return name


@router.get("/", response_model=list[BrokerInfo])
def list_brokers() -> list[BrokerInfo]:
    """The configured brokers."""
    return [BrokerInfo(name=name, label=_label(name)) for name in supported_brokers()]


@router.get("/capabilities", response_model=list[BrokerCapabilities])
def list_capabilities(user: CurrentUser) -> list[BrokerCapabilities]:
    """What can be done with each configured broker."""
    return [
        BrokerCapabilities(
            name=name, label=_label(name), capabilities=_CAPABILITIES.get(name, Capabilities())
        )
        for name in supported_brokers()
    ]


@router.get("/{broker_name}/secrets", response_model=list[Secret])
def list_secrets(broker_name: str, db: Db, settings: AppSettings, user: CurrentUser) -> list[dict[str, str]]:
    """The caller's own secrets, decrypted."""
    return list_broker_secrets(db, settings, _known(broker_name), user.id)


@router.put("/{broker_name}/secrets/{key}", response_model=Secret)
def put_secret(
    broker_name: str, key: SecretKey, body: SecretValue, db: Db, settings: AppSettings, user: CurrentUser
) -> Secret:
    """Store one of the caller's secrets."""
    set_broker_secret(db, settings, _known(broker_name), key, body.value, user.id)
    return Secret(key=key, value=body.value)


@router.delete("/{broker_name}/secrets/{key}", status_code=204)
def remove_secret(broker_name: str, key: SecretKey, db: Db, user: CurrentUser) -> None:
    """Delete one of the caller's secrets."""
    if not delete_broker_secret(db, _known(broker_name), key, user.id):
        raise HTTPException(404, "Secret not found.")
