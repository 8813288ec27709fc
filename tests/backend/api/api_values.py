"""Values that the tests of the HTTP slice share."""

from __future__ import annotations

CRYPTO_KEY = "fixture-crypto-key"
WEBHOOK_SECRET = "tv-secret-0001"
