"""Values that the tests of the HTTP slice share."""

from __future__ import annotations

from tests.core.modes.chosen import PAIRS

CRYPTO_KEY = "fixture-crypto-key"
WEBHOOK_SECRET = "tv-secret-0001"
# The databases that serve the application in a run of the tests.
SERVED = ["sqlite", "postgres", *(f"{mode}-{primary}" for mode, primary in PAIRS)]
