"""The metrics behind the alerts of the webhook move when what they are for happens."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from prometheus_client import REGISTRY

from app.core.config import Settings
from app.models import User
from app.services.webhook.door.pulse import Pulse
from app.services.webhook.door.writer import WRITER
from tests.backend.api.webhook.door.test_groups import _delivery
from tests.backend.api.webhook.groups import Together


def _value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_refusals_are_counted_by_their_reason(
    client: TestClient, user: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = Together(monkeypatch)
    reasons = ("full", "wait", "late")
    before = {reason: _value("st_webhook_refused_total", reason=reason) for reason in reasons}
    monkeypatch.setattr(settings, "webhook_queue", 1)
    together([_delivery("A"), _delivery("B")])
    monkeypatch.setattr(settings, "webhook_queue", 100)
    with monkeypatch.context() as patch:
        patch.setattr(Pulse, "lateness_s", lambda pulse: 9.0)
        assert client.post("/webhook", **_delivery("C")).status_code == 503
    monkeypatch.setattr(settings, "webhook_max_wait_ms", 100)
    monkeypatch.setattr(Together, "complete", lambda self, line: self._answered == 1)
    WRITER.stop()  # the next one waits for this condition from the beginning
    assert [answer.status_code for answer in together([_delivery("D")])] == [503]
    WRITER.stop()
    now = {reason: _value("st_webhook_refused_total", reason=reason) for reason in reasons}
    assert {reason: now[reason] - before[reason] for reason in reasons} == dict.fromkeys(reasons, 1.0)


def test_group_sizes_and_waits_are_observed(
    client: TestClient, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("st_webhook_group_size_count", "st_webhook_group_size_sum", "st_webhook_wait_seconds_count")
    together = Together(monkeypatch)
    before = [_value(name) for name in names]
    together([_delivery(f"S{number}") for number in range(7)])
    WRITER.stop()
    assert [_value(name) - old for name, old in zip(names, before, strict=True)] == [1.0, 7.0, 7.0]
