"""The console as a running program: collector, actions and guard around the application, until it is interrupted."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.db.common.urls import Pair
from app.db.sides.stores import Stores
from migration.console.actions import Actions
from migration.console.collector import Collector
from migration.console.guard import Guard
from migration.console.server import Console

BEGIN_S = 10.0  # until the first request of a connection is there


class Impatient(H11Protocol):
    """A connection that is closed if it asks for nothing: who holds many open would keep the page from everybody."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the base class has it
        super().connection_made(transport)
        self.loop.call_later(BEGIN_S, self._close_unused)

    def _close_unused(self) -> None:
        if self.cycle is None:
            self.transport.close()


@dataclass(frozen=True)
class Settings:
    """What a console shows and to whom.

    `hosts` are the values of the Host header that are served; `metrics_url` is a backend's, for the door.
    """

    pair: Pair
    open_stores: Callable[[], Stores]
    hosts: list[str]
    allow_actions: bool = False
    metrics_url: str | None = None


@contextmanager
def running(settings: Settings) -> Iterator[Guard]:
    """The guarded application with a collector that looks; both end with the block."""
    actions = Actions(settings.pair) if settings.allow_actions else None
    collector = Collector(
        settings.pair,
        settings.open_stores,
        metrics_url=settings.metrics_url,
        jobs=actions.jobs if actions else list,
    )
    if actions is not None:
        actions.changed = collector.soon
    collector.start()
    try:
        yield Guard(Console(collector, settings.open_stores, actions).app(), settings.hosts)
    finally:
        if actions is not None:
            actions.stop()
        collector.stop()


def serve(settings: Settings, place: socket.socket, opened: Callable[[str], None]) -> None:
    """Serve on a listening socket until SIGINT or SIGTERM.

    Args:
        opened: called with the token that opens the page once.
    """
    with running(settings) as guard:
        assert guard.token is not None
        opened(guard.token)
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what strangers send is no line here
        config = uvicorn.Config(
            guard, log_config=None, access_log=False, lifespan="off", server_header=False, http=Impatient,
            ws="none", timeout_graceful_shutdown=2, limit_concurrency=200,
        )  # fmt: skip
        uvicorn.Server(config).run(sockets=[place])
