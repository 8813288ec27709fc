"""Shows Prometheus the metrics of a process that answers no requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import REGISTRY, CollectorRegistry, multiprocess, start_http_server

from app.db.common import metrics as measured


@contextmanager
def served(address: str | None) -> Iterator[None]:
    """Answer Prometheus at HOST:PORT meanwhile; nothing without an address.

    Raises:
        ValueError: it is no HOST:PORT. OSError: nobody can listen there.
    """
    if address is None:
        yield
        return
    host, _, port = address.rpartition(":")
    registry: CollectorRegistry = REGISTRY
    if measured.in_files():
        measured.begin()
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library has none
    server, thread = start_http_server(int(port), host or "127.0.0.1", registry)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
