"""The canonical forms of text, of exact numbers, and of network addresses."""

from __future__ import annotations

import re
from decimal import Decimal
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Any

from app.db.rows.canonical.shown import refusal

_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_MOST_DIGITS = 200_000  # more than PostgreSQL keeps; a huge exponent would otherwise fill the memory


def text(value: Any, wanted: str = "a text") -> str:
    """A text, as it is; `wanted` is what a refusal calls the column."""
    if type(value) is not str:
        raise refusal(wanted, value)
    if "\x00" in value:
        raise ValueError("text with a NUL character, which PostgreSQL cannot store")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("text that is not valid UTF-8") from None
    return value


def numeric(value: Any) -> str:
    """An exact number, without trailing zeros and without an exponent."""
    if type(value) in (int, float):
        number = Decimal(repr(value))
    elif type(value) is str and _NUMBER.fullmatch(value):
        number = Decimal(value)
    else:
        raise refusal("a numeric", value)
    if not number.is_finite() or abs(number.adjusted()) > _MOST_DIGITS:
        raise refusal("a numeric", value)
    found = format(number, "f")  # not normalize(), which rounds to 28 digits
    if "." in found:
        found = found.rstrip("0").rstrip(".")
    return "0" if found == "-0" else found


def address(value: Any) -> str:
    """A network address, with the length of its prefix where that is not the whole address."""
    if type(value) is not str or "%" in value:
        raise refusal("an address", value)
    try:
        found: IPv4Interface | IPv6Interface = ip_interface(value)
    except ValueError:
        raise refusal("an address", value) from None
    inside = getattr(found.ip, "ipv4_mapped", None)
    host = f"::ffff:{inside}" if inside else str(found.ip)  # as PostgreSQL prints it, and Python from 3.13 on
    length = found.network.prefixlen
    return host if length == found.max_prefixlen else f"{host}/{length}"
