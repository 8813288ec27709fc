"""Numbers of four bytes, as PostgreSQL's `real`: which of SQLite's reals, of eight bytes, are one, and in which spelling.

An application that counts in eight bytes writes 0.1, which is no number of four bytes. PostgreSQL keeps the nearest
one, and a driver reads it as 0.1 again, for those are its shortest digits. An application that counts in four bytes
itself (Go, Rust) writes that nearest number in full: 0.10000000149011612. Both mean the same `real`. Any other number
would be rounded to one, and is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from decimal import Context, Decimal
from fractions import Fraction
from math import copysign, isfinite

from app.db.rows.canonical.shown import refusal

_SURE, _ENOUGH = 6, 9  # digits that four bytes always hold, and digits that always tell two of them apart
_NORMAL, _LARGEST = 0x00800000, 0x7F7FFFFF  # the bits of the smallest with all digits, and of the largest


def narrowed(value: float) -> float:
    """The nearest number of four bytes.

    Raises:
        OverflowError: there is none.
    """
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def shortest(number: float) -> float:
    """A number of four bytes in the fewest digits that lead back to it and nowhere else, as PostgreSQL prints it."""
    if not isfinite(number) or number == 0:
        return number
    size = abs(number)
    bits = struct.unpack("<i", struct.pack("<f", size))[0]
    below = struct.unpack("<f", struct.pack("<i", bits - 1))[0]
    above = struct.unpack("<f", struct.pack("<i", bits + 1))[0] if bits < _LARGEST else 2 * size - below
    low, high = (size + below) / 2, (size + above) / 2  # exact in eight bytes
    for digits in range(_SURE if bits >= _NORMAL else 1, _ENOUGH):
        nearest = f"{size:.{digits}g}"
        # A power of two has less room below than above: what is nearest may miss it where the next one up does not.
        next_up = () if bits % _NORMAL else (str(Decimal(nearest).next_plus(Context(prec=digits))),)
        for text in (nearest, *next_up):
            short = float(text)
            if low < short < high or (short in (low, high) and low < Fraction(text) < high):
                return copysign(short, number)
    return float(f"{number:.{_ENOUGH}g}")


def spelling_of(value: object) -> str | None:
    """`short` or `wide`, `both` for a number that is the same in either. None: it is no number of four bytes."""
    if type(value) is int and abs(value) <= 2**53:
        value = float(value)
    if type(value) is not float:
        return None
    try:
        number = narrowed(value)
    except OverflowError:
        return None
    short = shortest(number) == value
    return ("both" if short else "wide") if number == value else "short" if short else None


def real(value: object) -> str:
    """Every digit of the number of four bytes that a stored number stands for."""
    if spelling_of(value) is None:
        raise refusal("a 4-byte real", value)
    return repr(narrowed(float(value)) + 0.0)  # type: ignore[arg-type]  # a number, as just seen


def all_real(values: Sequence[float]) -> bool:
    """Whether all these numbers have a place in four bytes."""
    try:
        numbers = struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values))
    except OverflowError:
        return False
    return all(n == v or shortest(n) == v for n, v in zip(numbers, values, strict=True))
