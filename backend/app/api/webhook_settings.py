"""Settings of the webhook: its secret, the routing of its orders, templates of alert texts."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.sessions import AppSettings, Db
from app.models import TradingViewAlertPayloadTemplate
from app.schemas.types import PathId
from app.schemas.webhook_settings import (
    RoutingRead,
    RoutingUpdate,
    SecretInForce,
    SecretText,
    TemplateRead,
    TemplateSummary,
    TemplateWrite,
)
from app.services.webhook.settings.routing import (
    TradingViewWebhookConfig,
    get_tradingview_webhook_config,
    set_tradingview_webhook_config,
)
from app.services.webhook.settings.secret import (
    get_tradingview_webhook_secret,
    set_tradingview_webhook_secret,
    webhook_secret_source,
)
from app.services.webhook.settings.templates import (
    find_payload_template,
    list_payload_templates,
    read_payload_template,
    save_payload_template,
)

router = APIRouter(prefix="/api/webhook-settings", tags=["webhook settings"])
TEMPLATES = "/tradingview-alert-payload-templates"


def _secret_in_force(db: Session, settings: Settings) -> SecretInForce:
    try:
        value = get_tradingview_webhook_secret(db, settings)
    except (ValueError, RuntimeError):
        raise HTTPException(409, "The stored webhook secret cannot be decoded; store it again.") from None
    return SecretInForce.model_validate({"value": value, "source": webhook_secret_source(db, settings)})


@router.get("/tradingview-secret", response_model=SecretInForce)
def get_secret(db: Db, settings: AppSettings) -> SecretInForce:
    """The secret that deliveries have to carry."""
    return _secret_in_force(db, settings)


@router.put("/tradingview-secret", response_model=SecretInForce)
def put_secret(body: SecretText, db: Db, settings: AppSettings) -> SecretInForce:
    """Store the secret; a blank one removes the stored secret."""
    set_tradingview_webhook_secret(db, settings, body.value)
    return _secret_in_force(db, settings)


@router.get("/tradingview-config", response_model=RoutingRead)
def get_routing(db: Db, settings: AppSettings) -> dict[str, object]:
    """The global routing, or the defaults."""
    return get_tradingview_webhook_config(db, settings).to_dict()


@router.put("/tradingview-config", response_model=RoutingRead)
def put_routing(body: RoutingUpdate, db: Db, settings: AppSettings) -> dict[str, object]:
    """Change the global routing; once stored, it decides for every strategy."""
    changes = body.model_dump(exclude_none=True)
    current = get_tradingview_webhook_config(db, settings).to_dict()
    config = TradingViewWebhookConfig.from_dict(current | changes)
    return set_tradingview_webhook_config(db, settings, config).to_dict()


@router.get(TEMPLATES, response_model=list[TemplateSummary])
def list_templates(db: Db) -> list[TemplateSummary]:
    """Templates of alert texts, most recently changed first."""
    return [
        TemplateSummary(id=row.id, name=row.name, updated_at=row.updated_at)
        for row in list_payload_templates(db)
    ]


@router.get(TEMPLATES + "/{template_id}", response_model=TemplateRead)
def get_template(template_id: PathId, db: Db) -> TemplateRead:
    """One template."""
    return read_payload_template(find_payload_template(db, template_id))


@router.post(TEMPLATES, response_model=TemplateRead)
def save_template(body: TemplateWrite, db: Db) -> TemplateRead:
    """Store a template under its name."""
    template: TradingViewAlertPayloadTemplate = save_payload_template(db, body.name, body.config)
    return read_payload_template(template)


@router.delete(TEMPLATES + "/{template_id}")
def delete_template(template_id: PathId, db: Db) -> dict[str, str]:
    """Remove a template."""
    db.delete(find_payload_template(db, template_id))
    db.commit()
    return {"status": "deleted"}
