"""The same request to two backends, and the same answer from both: status, body byte by byte, order."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import Any
from unittest import mock

from anyio.from_thread import start_blocking_portal
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from app.core.auth import SESSION_COOKIE_NAME
from app.db import Base, get_db
from app.main import create_app

with warnings.catch_warnings():
    # Starlette's client works with httpx but announces that it will want httpx2.
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

NOON = datetime(2026, 3, 2, 6, 30)  # UTC, naive: a Monday, the market is open
# Of these a client sees the row's number.
TABLES = (
    "users", "strategies", "alerts", "orders", "risk_settings", "positions", "position_snapshots",
    "system_events", "candles", "broker_secrets", "tradingview_alert_payload_templates",
)  # fmt: skip
# A refused insert uses a number up on PostgreSQL and none on SQLite; so every request that may write starts level.
_LEVEL = [
    f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), coalesce(max(id), 0) + 1, false) FROM {name}"
    for name in TABLES
]
_LEVEL_AT_ONCE = " UNION ALL ".join(_LEVEL)


@dataclass(frozen=True)
class Call:
    """One request; `body` is sent as it is when it is bytes, else as JSON."""

    method: str
    path: str
    body: Any = None
    query: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Backend:
    """One application with the database behind it.

    Args:
        name: what messages call it.
        engine: its database; None when the application's runtime decides (a pair).
        sequences: the PostgreSQL database whose sequences it may get out of step.
    """

    name: str
    engine: Engine | None
    sequences: Engine | None = None

    def __post_init__(self) -> None:
        self.app = create_app()
        if self.engine is not None:
            factory = sessionmaker(bind=self.engine, autoflush=False, expire_on_commit=False)

            def get_own() -> Iterator[Session]:
                with factory() as session:
                    yield session

            self.app.dependency_overrides[get_db] = get_own
        self.client = TestClient(self.app, raise_server_exceptions=False)

    @contextmanager
    def running(self) -> Iterator[None]:
        """One event loop for all requests; without it the client starts a thread with a loop for each."""
        with start_blocking_portal(**self.client.async_backend) as portal:
            self.client.portal = portal
            yield
            self.client.portal = None

    def send(self, call: Call, number: int) -> Any:
        if self.sequences is not None and call.method != "GET":
            # On a pair one transaction for each: after a switch back the applier drops foreign keys of all of them.
            with self.sequences.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                for statement in _LEVEL if self.engine is None else [_LEVEL_AT_ONCE]:
                    connection.exec_driver_sql(statement)
        headers = {"X-Request-ID": f"call-{number}", **call.headers}
        body = {"content": call.body} if isinstance(call.body, bytes) else {"json": call.body}
        return self.client.request(
            call.method, call.path, params=call.query, headers=headers, **({} if call.body is None else body)
        )


class Clock:
    """Every clock of the application, standing still during a request and a second on at the next."""

    def __init__(self) -> None:
        self.now = NOON

    def patched(self) -> Any:
        clock = self

        class Stopped(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:
                return clock.now.replace(tzinfo=tz)

        stack = mock.patch.multiple("app.core.time_utils", datetime=Stopped)
        other = mock.patch.multiple("app.models.columns", datetime=Stopped)
        return stack, other


class Different(AssertionError):
    """The backends do not answer alike, or one failed."""


class Twins:
    """Backends that get every request one after the other and have to agree."""

    def __init__(self, backends: Sequence[Backend], clock: Clock) -> None:
        self.backends = backends
        self.clock = clock
        self.sent = 0
        self.statuses: dict[int, int] = {}

    def __call__(self, call: Call) -> Any:
        """Send it to all; the first one's answer.

        Raises:
            Different: with the call and the answers.
        """
        self.sent += 1
        self.clock.now += timedelta(seconds=1)
        answers = [backend.send(call, self.sent) for backend in self.backends]
        shown = [_shown(answer) for answer in answers]
        if answers[0].status_code >= 500 or any(other != shown[0] for other in shown[1:]):
            told = "\n".join(f"{b.name}: {s}"[:4000] for b, s in zip(self.backends, shown, strict=True))
            raise Different(f"call {self.sent}, {call}\n{told}")
        self.statuses[answers[0].status_code] = self.statuses.get(answers[0].status_code, 0) + 1
        return answers[0]


def _shown(answer: Any) -> tuple[int, bytes, str | None, list[str], list[str]]:
    headers = answer.headers
    return (
        answer.status_code,
        answer.content,
        headers.get("content-type"),
        [value for name in ("retry-after", "www-authenticate") if (value := headers.get(name))],
        [cookie.split("=")[0] for cookie in headers.get_list("set-cookie")],
    )


def log_in(backends: Sequence[Backend], token: str) -> None:
    """Give every client the session cookie."""
    for backend in backends:
        backend.client.cookies.set(SESSION_COOKIE_NAME, token)


def stored(engine: Engine, tables: Sequence[str] = TABLES) -> dict[str, list[Any]]:
    """The rows of these tables as the ORM's types read them, by id; encrypted and salted values left out."""
    found = {}
    with engine.connect() as connection:
        for name in tables:
            table = Base.metadata.tables[name]
            columns = [c for c in table.columns if c.name not in ("value_encrypted", "password_hash")]
            rows = connection.execute(table.select().with_only_columns(*columns).order_by(table.c.id))
            found[name] = [tuple(row) for row in rows]
    return found
