"""The error type of alert expressions."""

from __future__ import annotations


class IndicatorAlertError(ValueError):
    """An expression cannot be understood; the text is meant for its author."""
