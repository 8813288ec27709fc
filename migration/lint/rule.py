"""What a rule of the lint consists of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """One hazard.

    Args:
        id: what an escape names.
        severity: error or warning.
        means: what happens on PostgreSQL.
        remedy: what to write instead.
        handled: what `app.db` does about it when it runs the chain; empty: nothing.
    """

    id: str
    severity: str
    means: str
    remedy: str
    handled: str = ""
