"""Turns what a request can raise into its answer: bad input is a 4xx.

A busy or absent database is a 503, after which a sender sends again; `app.db.http` sees to that.
"""

from __future__ import annotations

import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, IntegrityError


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


async def _unstorable(_request: Request, _error: DataError) -> JSONResponse:
    return JSONResponse({"detail": "A value is outside of what the database can store."}, 422)


def install_error_handlers(app: FastAPI) -> None:
    """Register the handlers on the application."""
    app.add_exception_handler(RequestValidationError, _invalid_request)  # type: ignore[arg-type]
    app.add_exception_handler(IntegrityError, _conflict)  # type: ignore[arg-type]
    app.add_exception_handler(DataError, _unstorable)  # type: ignore[arg-type]
