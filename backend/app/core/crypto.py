"""Reversible encoding of stored secrets: XOR with the repeated key, then padded URL-safe Base64.

It hides a value from a casual look at the file and nothing more: there is no nonce and no integrity
check. The form is kept because every stored row has it and must stay readable on both databases.
"""

from __future__ import annotations

import base64
from itertools import cycle

from app.core.config import Settings


def _key(settings: Settings) -> bytes:
    if not settings.crypto_key:
        raise RuntimeError("ST_CRYPTO_KEY is not set: stored secrets cannot be read or written")
    return settings.crypto_key.encode("utf-8")


def _xor(data: bytes, key: bytes) -> bytes:
    return bytes(byte ^ pad for byte, pad in zip(data, cycle(key), strict=False))


def encrypt_token(settings: Settings, token: str) -> str:
    """The stored form of a secret; RuntimeError without a crypto key."""
    return base64.urlsafe_b64encode(_xor(token.encode("utf-8"), _key(settings))).decode("ascii")


def decrypt_token(settings: Settings, encrypted: str) -> str:
    """The secret behind a stored form.

    Raises RuntimeError without a crypto key, ValueError when the text is not Base64 or the key is wrong
    in a way that shows (the result is not UTF-8).
    """
    key = _key(settings)
    return _xor(base64.urlsafe_b64decode(encrypted.encode("utf-8")), key).decode("utf-8")
