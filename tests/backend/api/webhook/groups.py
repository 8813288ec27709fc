"""Deliveries that arrive together: the writer takes them as one group."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.main import app
from app.services.webhook.door.line import Line
from app.services.webhook.door.writer import WRITER
from tests.backend.pieces import InOnePiece

Delivery = dict[str, Any]  # keyword arguments of a request


class Together:
    """Sends deliveries so that all of those that join the line are in one group."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, app: FastAPI = app) -> None:
        self._app = app
        WRITER.stop()  # a writer that waits already would take the first one alone
        self.sizes: list[int] = []
        self.unpacked = 0  # deliveries that took no parser
        self._sent = self._answered = 0
        together, take = self, Line.take

        def take_when_all_are_here(line: Line) -> list[Any]:
            with line._arrived:
                line._arrived.wait_for(lambda: together.complete(line) or line._closed, timeout=20)
            group = take(line)
            together.sizes.append(len(group))
            return group

        monkeypatch.setattr(Line, "take", take_when_all_are_here)

    def complete(self, line: Line) -> bool:
        """Whether every delivery that was sent has joined the line or has its answer already."""
        return 0 < self._sent == len(line) + self._answered

    def __call__(self, deliveries: Sequence[Delivery]) -> list[httpx.Response]:
        """The answers, in the order of the deliveries."""
        return asyncio.run(self._send(deliveries))

    async def _send(self, deliveries: Sequence[Delivery]) -> list[httpx.Response]:
        self._sent, self._answered = len(deliveries), 0
        transport = InOnePiece(self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:

            async def send(delivery: Delivery) -> httpx.Response:
                answer = await client.request(**{"method": "POST", "url": "/webhook", **delivery})
                self._answered += 1
                with WRITER.line._arrived:
                    WRITER.line._arrived.notify_all()
                return answer

            answers = list(await asyncio.gather(*map(send, deliveries)))
        self.unpacked += transport.unpacked
        return answers
