"""The text forms that stored rows and browsers hold: hashes, cookies, secrets, prices, market hours."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import pytest

from app.core import auth, market_hours
from app.core.auth import create_session_token, decode_session_token, hash_password, verify_password
from app.core.config import Settings
from app.core.crypto import decrypt_token, encrypt_token
from app.core.time_utils import to_utc
from app.services.orders.price_ticks import round_price_to_tick

KNOWN_HASH = "pbkdf2_sha256$260000$MDEyMzQ1Njc4OWFiY2RlZg$iH7-NdIH1O3hsEBGhWxOgTbDcxocA5e8e-Ev4JL25_k"
KNOWN_TOKEN = (
    "eyJhbGciOiJoczI1NiIsImV4cCI6NDEwMjQ0NDgwMCwic3ViIjo3fQ._9kQ5SNPYomAqWqzG1YPo5t1roax7FuqUfZ8MWkU0gU"
)
VECTOR_SETTINGS = Settings(crypto_key="contract-crypto-key")


def test_known_password_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verify_password("correct horse", KNOWN_HASH)
    assert not verify_password("correct horsf", KNOWN_HASH)
    monkeypatch.setattr(auth.os, "urandom", lambda _count: b"0123456789abcdef")
    assert hash_password("correct horse") == KNOWN_HASH


@pytest.mark.parametrize("text", ["", "a$b", "md5$1$eA$eA", "pbkdf2_sha256$x$eA$eA", "pbkdf2_sha256$1$!$é"])
def test_malformed_hash_fails_the_check(text: str) -> None:
    assert verify_password("x", text) is False


def test_empty_password_is_refused() -> None:
    with pytest.raises(ValueError):
        hash_password("")


def test_known_session_token(monkeypatch: pytest.MonkeyPatch) -> None:
    user_id, payload = decode_session_token(VECTOR_SETTINGS, KNOWN_TOKEN)
    assert (user_id, payload["exp"]) == (7, 4102444800)
    monkeypatch.setattr(auth.time, "time", lambda: 4102444800 - 604800)
    assert create_session_token(VECTOR_SETTINGS, 7) == KNOWN_TOKEN


@pytest.mark.parametrize(
    "token", ["", "a", "a.b.c", KNOWN_TOKEN[:-2] + "AA", KNOWN_TOKEN.replace(".", "x."), "é.é"]
)
def test_broken_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError):
        decode_session_token(VECTOR_SETTINGS, token)


def test_expired_token_is_refused() -> None:
    token = create_session_token(VECTOR_SETTINGS, 7, ttl_seconds=-5)
    with pytest.raises(ValueError, match="expired"):
        decode_session_token(VECTOR_SETTINGS, token)
    still_good = create_session_token(VECTOR_SETTINGS, 7, ttl_seconds=5)
    assert decode_session_token(VECTOR_SETTINGS, still_good)[1]["exp"] >= int(time.time())


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("kite-access-token-1", "CAYaEV8AABdIEAFUBBsESAVISA=="),
        ("hello-token", "CwoCGB1MFxtGBhw="),
        ("", ""),
    ],
)
def test_known_secret_forms(text: str, stored: str) -> None:
    assert encrypt_token(VECTOR_SETTINGS, text) == stored
    assert decrypt_token(VECTOR_SETTINGS, stored) == text


def test_no_key_no_secrets() -> None:
    keyless = Settings(crypto_key=None)
    with pytest.raises(RuntimeError):
        encrypt_token(keyless, "x")
    with pytest.raises(RuntimeError):
        create_session_token(keyless, 1)


@pytest.mark.parametrize(
    ("price", "rounded"),
    [
        (320.29, 320.30), (320.26, 320.25), (320.275, 320.30), (0.01, 0.0), (0.025, 0.05), (-1.02, -1.0),
        (None, None), (812.37, 812.35), (1e300, 1e300), (99.98, 100.0),
    ],
)  # fmt: skip
def test_price_rounding(price: float | None, rounded: float | None) -> None:
    assert round_price_to_tick(price) == rounded


def test_price_rounding_of_what_is_no_number() -> None:
    assert str(round_price_to_tick(float("nan"))) == "nan"
    with pytest.raises(ArithmeticError):
        round_price_to_tick(float("inf"))


@pytest.mark.parametrize(
    ("ist", "is_open", "is_preopen"),
    [
        ("2026-01-05 09:14:59", False, True),  # a Monday
        ("2026-01-05 09:15:00", True, False),
        ("2026-01-05 15:30:59", True, False),
        ("2026-01-05 15:31:00", False, False),
        ("2026-01-05 08:59:59", False, False),
        ("2026-01-10 10:00:00", False, False),  # a Saturday
        ("2026-01-06 10:00:00", False, False),  # a holiday
    ],
)
def test_market_hours(monkeypatch: pytest.MonkeyPatch, ist: str, is_open: bool, is_preopen: bool) -> None:
    now = datetime.fromisoformat(ist)
    monkeypatch.setattr(market_hours, "load_holidays", lambda: frozenset({"2026-01-06"}))
    monkeypatch.setattr(market_hours, "utc_now", lambda: to_utc(now))
    assert market_hours.is_market_open_now() is is_open
    assert market_hours.is_preopen_now() is is_preopen
    assert timedelta(hours=5, minutes=30) == market_hours.IST_OFFSET
