"""Turns what a request can raise into its answer: bad input is a 4xx.

A busy or absent database is a 503, after which a sender sends again; `app.db.http` sees to that.
"""

from __future__ import annotations

import math
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, IntegrityError

from app.core.request_guard import TOO_LARGE, BodyTooLarge, BodyTooSlow, too_slow

RETRY_AFTER_S = "2"


class Busy(Exception):
    """The request is answered 503 and has left nothing behind; the text is the answer's."""


# Members of a body that no answer repeats.
_SECRET: Final = frozenset({"password", "current_password", "new_password", "secret"})
MASK: Final = "***"


def _printable(value: Any) -> Any:
    """The rejected input in a form that JSON can carry: bytes and non-finite numbers become text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 64:
        return "integer beyond 64 bits"  # Python refuses to print very long ones
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, dict):
        return {str(key): MASK if key in _SECRET else _printable(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(member) for member in value]
    return value


async def _invalid_request(_request: Request, error: RequestValidationError) -> JSONResponse:
    errors = [one | {"input": MASK} if _shows_secret(one) else one for one in error.errors()]
    return JSONResponse({"detail": jsonable_encoder(_printable(errors))}, 422)


def _shows_secret(error: dict[str, Any]) -> bool:
    # Of a missing member the input is the object around it, in which the secret ones are masked.
    return bool(_SECRET.intersection(error["loc"])) and not isinstance(error["input"], dict)


async def _conflict(_request: Request, _error: IntegrityError) -> JSONResponse:
    return JSONResponse({"detail": "The change conflicts with stored data."}, 409)


async def _unstorable(_request: Request, _error: DataError) -> JSONResponse:
    return JSONResponse({"detail": "A value is outside of what the database can store."}, 422)


async def _too_large(_request: Request, _error: BodyTooLarge) -> JSONResponse:
    return JSONResponse({"detail": TOO_LARGE}, 413)


async def _too_slow(_request: Request, _error: BodyTooSlow) -> JSONResponse:
    return too_slow()


async def _busy(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 503, headers={"Retry-After": RETRY_AFTER_S})


def install_error_handlers(app: FastAPI) -> None:
    """Register the handlers on the application."""
    app.add_exception_handler(RequestValidationError, _invalid_request)  # type: ignore[arg-type]
    app.add_exception_handler(IntegrityError, _conflict)  # type: ignore[arg-type]
    app.add_exception_handler(DataError, _unstorable)  # type: ignore[arg-type]
    app.add_exception_handler(Busy, _busy)
    app.add_exception_handler(BodyTooLarge, _too_large)  # type: ignore[arg-type]
    app.add_exception_handler(BodyTooSlow, _too_slow)  # type: ignore[arg-type]
