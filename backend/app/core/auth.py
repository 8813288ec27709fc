"""Password hashes and session cookies, in the exact text forms that stored rows and browsers hold.

Both use URL-safe Base64 without padding. A session is nothing but a signed statement (user id, expiry):
the server keeps no record of it, so a restart or a change of database does not log anybody out.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
from typing import Any, Final

from app.core.config import Settings

SESSION_COOKIE_NAME: Final = "st_session"
SESSION_TTL_SECONDS: Final = 7 * 24 * 3600
_ALGORITHM: Final = "pbkdf2_sha256"
_ITERATIONS: Final = 260_000
_SALT_BYTES: Final = 16


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    """Inverse of `_encode`; ValueError for anything that is not Base64."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _derive(password: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode("utf-8"), salt, iterations)


def hash_password(password: str) -> str:
    """`pbkdf2_sha256$<iterations>$<salt>$<hash>` with a fresh salt; ValueError for an empty password."""
    if not password:
        raise ValueError("password must not be empty")
    salt = os.urandom(_SALT_BYTES)
    return f"{_ALGORITHM}${_ITERATIONS}${_encode(salt)}${_encode(_derive(password, salt, _ITERATIONS))}"


def verify_password(password: str, hashed: str) -> bool:
    """Whether the password belongs to the hash; a malformed or foreign hash is simply False."""
    try:
        algorithm, iterations, salt, expected = hashed.split("$")
        if algorithm != _ALGORITHM:
            return False
        actual = _derive(password, _decode(salt), int(iterations))
        return hmac.compare_digest(actual, _decode(expected))
    except (ValueError, OverflowError):
        return False


def check_password(password: str, hashed: str | None) -> bool:
    """`verify_password` that takes as long for a user who does not exist (None) or whose hash is no hash."""
    parts = (hashed or "").split("$")
    if len(parts) != 4 or parts[0] != _ALGORITHM:
        _derive(password, bytes(_SALT_BYTES), _ITERATIONS)
        return False
    return verify_password(password, hashed or "")


def _sign(settings: Settings, message: bytes) -> bytes:
    if not settings.crypto_key:
        raise RuntimeError("ST_CRYPTO_KEY is not set: sessions cannot be signed")
    return hmac.new(settings.crypto_key.encode("utf-8"), message, hashlib.sha256).digest()


def create_session_token(settings: Settings, user_id: int, ttl_seconds: int | None = None) -> str:
    """A signed token for the user that expires after `ttl_seconds` (default one week).

    Raises RuntimeError when no crypto key is configured.
    """
    lifetime = SESSION_TTL_SECONDS if ttl_seconds is None else ttl_seconds
    payload = {"alg": "hs256", "exp": int(time.time()) + lifetime, "sub": user_id}
    message = json.dumps(payload, sort_keys=True, separators=(",", ":")).encode("utf-8")
    return f"{_encode(message)}.{_encode(_sign(settings, message))}"


def decode_session_token(settings: Settings, token: str) -> tuple[int, dict[str, Any]]:
    """(user id, payload) of a valid token.

    Raises ValueError for a token that is malformed, wrongly signed or expired, RuntimeError without a key.
    """
    parts = token.split(".")
    if len(parts) != 2:
        raise ValueError("a token has two parts")
    message, signature = _decode(parts[0]), _decode(parts[1])
    if not hmac.compare_digest(_sign(settings, message), signature):
        raise ValueError("the signature does not match")
    payload = json.loads(message)
    if not isinstance(payload, dict) or payload.get("alg") != "hs256":
        raise ValueError("unknown token form")
    expires, subject = payload.get("exp"), payload.get("sub")
    if not isinstance(expires, int) or expires < int(time.time()):
        raise ValueError("the session has expired")
    if isinstance(subject, bool) or not str(subject).isdigit():
        raise ValueError("the subject is not a user id")
    return int(str(subject)), payload
