"""The application with its orders in the queue."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.models import User
from app.services.webhook.door.outside.queued import OrderWork
from app.services.webhook.settings.routing import TradingViewWebhookConfig, set_tradingview_webhook_config
from tests.backend.api.orders.jobs.job_rows import Sessions


@pytest.fixture
def queueing(db: Session, settings: Settings, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders of alerts are AUTO, and go into the queue."""
    monkeypatch.setattr(settings, "webhook_dispatch", "queue")
    set_tradingview_webhook_config(db, settings, TradingViewWebhookConfig(mode="AUTO"))


@pytest.fixture
def work(session_factory: Sessions, settings: Settings) -> OrderWork:
    return OrderWork(session_factory, settings)
