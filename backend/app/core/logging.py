"""JSON log lines on stdout and the correlation id that ties them, and stored events, to one request."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_LOGGER: Final = "sigma.request"
CORRELATION_ID: Final = "correlation_id"  # its name in the state of a request
_as_json = json.JSONEncoder(ensure_ascii=False, default=str).encode
_PRINTABLE_ID = re.compile(r"[\x20-\x7e]{1,64}")
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object per record; fields passed as `extra` are merged in."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((key, value) for key, value in vars(record).items() if key not in _STANDARD_FIELDS)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _as_json(line)


class _StdoutHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever `sys.stdout` is at that moment."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(JsonFormatter())

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stdout


def configure_logging(level: int = logging.INFO) -> None:
    """Send the root logger to stdout as JSON lines; a second call only changes the level."""
    root = logging.getLogger()
    root.setLevel(level)
    if not any(isinstance(handler, _StdoutHandler) for handler in root.handlers):
        root.addHandler(_StdoutHandler())


def correlation_id_of(request: Request | None) -> str | None:
    """The correlation id of the request, None outside of one."""
    return getattr(request.state, "correlation_id", None) if request is not None else None


def log_with_correlation(
    logger: logging.Logger, request: Request, level: int, message: str, **fields: Any
) -> None:
    """Log a message with the request's correlation id and further fields."""
    logger.log(level, message, extra={"correlation_id": correlation_id_of(request), **fields})


def correlation_id_in(headers: Mapping[bytes, bytes]) -> str:
    """The client's X-Request-ID if it is 1 to 64 printable ASCII characters, else a new UUID."""
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _PRINTABLE_ID.fullmatch(given) else str(uuid.uuid4())


class RequestContextMiddleware:
    """Sets `request.state.correlation_id` and logs one line per answered request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._logger = logging.getLogger(REQUEST_LOGGER)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        correlation_id = state.get(CORRELATION_ID) or correlation_id_in(dict(reversed(scope["headers"])))
        state[CORRELATION_ID] = correlation_id
        started = time.monotonic()
        status = 0

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        await self._app(scope, receive, note_status)
        if status:
            log_answer(self._logger, logging.INFO, scope, correlation_id, status, started)


def log_answer(
    logger: logging.Logger,
    level: int,
    scope: Mapping[str, Any],
    correlation_id: str,
    status: int,
    started: float,
) -> None:
    """One line about an answered request; `started` is a time of `time.monotonic`."""
    fields = {
        "correlation_id": correlation_id,
        "method": scope["method"],
        "path": scope["path"],
        "status_code": status,
        "duration_ms": int((time.monotonic() - started) * 1000),
    }
    logger.log(level, "HTTP request", extra=fields)
