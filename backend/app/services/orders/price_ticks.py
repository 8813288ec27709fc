"""Prices are whole multiples of the exchange's tick."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Final

DEFAULT_TICK_SIZE: Final = Decimal("0.05")
# Enough digits for the largest double in fixed notation, so that no finite price fails to round.
_PRECISION: Final = 400


def round_price_to_tick(price: float | None, *, tick_size: Decimal = DEFAULT_TICK_SIZE) -> float | None:
    """The nearest multiple of `tick_size` with two decimals, ties away from zero.

    None stays None and NaN stays NaN; an infinite price raises ArithmeticError.
    """
    if price is None or price != price:
        return price
    with localcontext(prec=_PRECISION):
        ticks = (Decimal(str(price)) / tick_size).to_integral_value(ROUND_HALF_UP)
        return float((ticks * tick_size).quantize(Decimal("0.01"), ROUND_HALF_UP))
