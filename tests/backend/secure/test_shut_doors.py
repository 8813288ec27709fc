"""Doors that stay shut: every route behind the gate, secrets compared in constant time, pins with hashes, a pipe."""

from __future__ import annotations

import hmac
import io
import re
import subprocess
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.core import security
from app.db.common.urls import make_pair, parse_url
from migration.fill import process
from tests.backend.secure.conftest import ROOT, SECRETS

OPEN = {"/", "/health", "/webhook", "/webhook/tradingview", "/api/paper/poll"}


def test_every_other_route_needs_an_administrator_or_a_log_in(app: FastAPI, client: TestClient) -> None:
    found = [(path, method) for path, methods in app.openapi()["paths"].items() for method in methods]
    gated = [one for one in found if one[0] not in OPEN and not one[0].startswith("/api/auth/")]
    assert len(gated) > 20
    assert {path for path, _ in found} >= OPEN - {"/api/paper/poll"}
    for path, method in gated:
        answer = client.request(method, re.sub(r"\{\w+\}", "1", path), json={})
        assert (answer.status_code, answer.json()["detail"]) == (
            401,
            "Administrator credentials are required.",
        ), path


def test_secrets_are_compared_in_constant_time(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Any] = []

    def compare(left: bytes, right: bytes) -> bool:
        compared.extend((left, right))
        return hmac.compare_digest(left, right)

    class Noted:
        compare_digest = staticmethod(compare)

    monkeypatch.setattr(security, "hmac", Noted)
    signal = {
        "secret": "guess",
        "strategy_name": "s",
        "symbol": "A",
        "trade_details": {"order_action": "BUY"},
    }
    assert client.post("/webhook", json=signal).status_code == 401
    assert client.get("/api/orders/", auth=("boss", "guess")).status_code == 401
    for name in ("ST_TRADINGVIEW_WEBHOOK_SECRET", "ST_ADMIN_PASSWORD"):
        assert SECRETS[name].encode() in compared


def test_every_pin_has_a_hash_and_is_installed_with_it() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", " ")
    pins = [line for line in lock.splitlines() if line.strip() and not line.startswith("#")]
    assert len(pins) > 20
    assert [line for line in pins if "==" not in line or "--hash=sha256:" not in line] == []
    for file in ("Makefile", "Dockerfile"):
        installs = [
            line for line in (ROOT / file).read_text(encoding="utf-8").splitlines()
            if "install" in line and "requirements.lock" in line
        ]  # fmt: skip
        assert installs and all("--require-hashes" in line for line in installs)


def test_a_started_worker_gets_its_urls_through_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    class Kept(io.StringIO):
        def close(self) -> None:
            self.sent = self.getvalue()

    class Started:
        def __init__(self, command: list[str], **options: Any) -> None:
            self.command, self.options, self.stdin, self.pid = command, options, Kept(), 1

        def poll(self) -> None: ...

    pair = make_pair(
        parse_url("sqlite:////tmp/never.db", name="file"),
        parse_url("postgresql://u:hostile-pw@127.0.0.1/d", name="server"),
    )
    monkeypatch.setattr(subprocess, "Popen", Started)
    pipes: list[Kept] = []
    made = Started.__init__

    def noted(self: Started, *arguments: Any, **options: Any) -> None:
        made(self, *arguments, **options)
        pipes.append(self.stdin)

    monkeypatch.setattr(Started, "__init__", noted)
    started: Any = process.start(pair, process.Throttle())
    assert "hostile-pw" in pipes[0].getvalue()
    assert "hostile-pw" not in " ".join(started.command)
    assert "hostile-pw" not in str(started.options.get("env"))
