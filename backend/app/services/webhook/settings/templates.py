"""Stored templates of alert texts, one per name."""

from __future__ import annotations

import json
import math
from typing import Any

from fastapi import HTTPException
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.models import TradingViewAlertPayloadTemplate as Template
from app.schemas.webhook_settings import TemplateConfig, TemplateRead


def list_payload_templates(db: Session) -> list[Template]:
    """All templates, most recently changed first."""
    return list(db.scalars(select(Template).order_by(Template.updated_at.desc(), Template.id.desc())))


def find_payload_template(db: Session, template_id: int) -> Template:
    """One template; HTTPException 404 when it does not exist."""
    template = db.get(Template, template_id)
    if template is None:
        raise HTTPException(404, "Template not found.")
    return template


def save_payload_template(db: Session, name: str, config: TemplateConfig) -> Template:
    """Insert or replace the template of that name; commits. HTTPException 400 for a blank name."""
    trimmed = name.strip()
    if not trimmed:
        raise HTTPException(400, "Template name is required.")
    text = json.dumps(_finite(config.model_dump()), ensure_ascii=False)
    template = _by_name(db, trimmed) or Template(name=trimmed)
    template.config_json = text
    db.add(template)
    try:
        db.commit()
    except IntegrityError:
        # Somebody else has just stored the same name: theirs is replaced, as if it had been there before.
        db.rollback()
        stored = _by_name(db, trimmed)
        if stored is None:
            raise
        stored.config_json = text
        db.commit()
        return stored
    return template


def read_payload_template(template: Template) -> TemplateRead:
    """The answer for a template; unreadable content counts as empty."""
    try:
        config = TemplateConfig.model_validate(json.loads(template.config_json))
    except (ValueError, ValidationError):
        config = TemplateConfig()
    return TemplateRead(id=template.id, name=template.name, updated_at=template.updated_at, config=config)


def _by_name(db: Session, name: str) -> Template | None:
    return db.scalars(select(Template).where(Template.name == name)).first()


def _finite(value: Any) -> Any:
    """The value without the numbers that JSON does not know."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(member) for key, member in value.items()}
    return [_finite(member) for member in value] if isinstance(value, list) else value
