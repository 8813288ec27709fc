"""A process that works on the queue of orders until it is empty: `python -m tests.backend.api.orders.jobs.order_worker CALLS`.

ST_DATABASE_URL names the database, ST_FAILPOINTS where the process dies. The broker writes each call into the file CALLS
before it answers, and finds its orders there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import select

import app.api.orders  # noqa: F401  # it leads the services to the clients
from app.core.config import get_settings
from app.db.session import SessionLocal
from app.models import Order, OrderJob
from app.services.brokers.clients import CLIENT_FACTORIES, idempotency_key
from app.services.orders.sending.jobs import ORDERS
from app.services.shared.jobs.crew import Crew
from app.services.webhook.door.outside.queued import OrderWork
from tests.support.pairs import wait_until

HANDS = 3


class FileBroker:
    """A broker whose memory is a file."""

    account_id = "F1"

    def __init__(self, calls: Path) -> None:
        self._calls = calls

    def place_order(self, order: Order, **_named: Any) -> str:
        descriptor = os.open(self._calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(descriptor, f"{idempotency_key(order)} {order.id}\n".encode())
        os.close(descriptor)
        return f"F{order.id}"

    def find_order(self, key: str) -> str | None:
        return next((f"F{order_id}" for found, order_id in self.calls() if found == key), None)

    def calls(self) -> list[tuple[str, int]]:
        """Key and order id of each call."""
        lines = self._calls.read_text(encoding="utf-8").splitlines() if self._calls.exists() else []
        return [(key, int(order_id)) for key, order_id in (line.split() for line in lines)]


def main(calls: Path) -> None:
    CLIENT_FACTORIES["zerodha"] = lambda _settings, _connection: FileBroker(calls)  # type: ignore[assignment,return-value]  # it has what orders need
    crew = Crew(ORDERS, SessionLocal, OrderWork(SessionLocal, get_settings()), HANDS)
    crew.start()
    open_jobs = select(OrderJob.id).where(OrderJob.status.in_(("PENDING", "RUNNING"))).limit(1)

    def is_empty() -> bool:
        with SessionLocal() as db:
            return db.scalar(open_jobs) is None

    wait_until(is_empty, seconds=60)
    crew.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
