"""Turns what a request can raise into its answer: bad input is a 4xx, a busy or absent database a 503.

A sender that gets a 503 sends again; after a 500 or a time-out a webhook delivery would be lost.
"""

from __future__ import annotations

import logging
import math
import sqlite3
from typing import Any

import psycopg
from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core.request_guard import TOO_LARGE, BodyTooLarge, BodyTooSlow

logger = logging.getLogger(__name__)
RETRY_AFTER_S = "2"
_LIMIT_OF_ROWS = "54000"  # a value is too long for an index of PostgreSQL


class Busy(Exception):
    """The request is answered 503 and has left nothing behind; the text is the answer's."""


def _printable(value: Any) -> Any:
    """The rejected input in a form that JSON can carry: bytes and non-finite numbers become text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 64:
        return "integer beyond 64 bits"  # Python refuses to print very long ones
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, dict):
        return {str(key): _printable(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(member) for member in value]
    return value


async def _invalid_request(_request: Request, error: RequestValidationError) -> JSONResponse:
    return JSONResponse({"detail": jsonable_encoder(_printable(error.errors()))}, 422)


async def _conflict(_request: Request, _error: IntegrityError) -> JSONResponse:
    return JSONResponse({"detail": "The change conflicts with stored data."}, 409)


async def _unstorable(_request: Request, _error: Exception) -> JSONResponse:
    return JSONResponse({"detail": "A value is outside of what the database can store."}, 422)


async def _too_large(_request: Request, _error: BodyTooLarge) -> JSONResponse:
    return JSONResponse({"detail": TOO_LARGE}, 413)


async def _too_slow(_request: Request, _error: BodyTooSlow) -> JSONResponse:
    return JSONResponse({"detail": "The request body did not arrive in time."}, 408)


async def _busy(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 503, headers={"Retry-After": RETRY_AFTER_S})


async def _unavailable(request: Request, error: Exception) -> JSONResponse:
    if getattr(getattr(error, "orig", None), "sqlstate", None) == _LIMIT_OF_ROWS:
        return await _unstorable(request, error)  # sending again does not make the value shorter
    reason = getattr(error, "orig", None) or error  # without the statement and its parameters
    logger.warning("the database could not serve %s %s: %s", request.method, request.url.path, reason)
    detail = {"detail": "The database cannot serve the request at the moment."}
    return JSONResponse(detail, 503, headers={"Retry-After": RETRY_AFTER_S})


def install_error_handlers(app: FastAPI) -> None:
    """Register the handlers on the application."""
    app.add_exception_handler(RequestValidationError, _invalid_request)  # type: ignore[arg-type]
    app.add_exception_handler(IntegrityError, _conflict)  # type: ignore[arg-type]
    app.add_exception_handler(DataError, _unstorable)  # type: ignore[arg-type]
    app.add_exception_handler(Busy, _busy)
    app.add_exception_handler(BodyTooLarge, _too_large)  # type: ignore[arg-type]
    app.add_exception_handler(BodyTooSlow, _too_slow)  # type: ignore[arg-type]
    for unavailable in (OperationalError, PoolTimeout, sqlite3.OperationalError, psycopg.OperationalError):
        app.add_exception_handler(unavailable, _unavailable)
