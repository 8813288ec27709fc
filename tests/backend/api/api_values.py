"""Values that the tests of the HTTP slice share."""

from __future__ import annotations

from tests.core.modes.chosen import ALL, PAIRS

CRYPTO_KEY = "fixture-crypto-key"
WEBHOOK_SECRET = "tv-secret-0001"
# The databases that serve the application in a run of the tests.
SERVED = [
    "sqlite",
    "postgres",
    *(["native"] if ALL else []),
    *(f"{mode}-{primary}" for mode, primary in PAIRS),
]
