"""Values that the tests of the HTTP slice share."""

from __future__ import annotations

from pathlib import Path

# The recorded facts lie beside the project; without them the tests that need them have no cases.
FACTS = Path(__file__).resolve().parents[4] / "shared" / "sigmatrader"
CRYPTO_KEY = "fixture-crypto-key"
WEBHOOK_SECRET = "tv-secret-0001"
