"""What a declared type says: the numbers in its brackets, and what SQLite makes of values."""

from __future__ import annotations

import re

from app.db.rows.kinds import Kind


def limit_of(kind: Kind, full: str) -> tuple[int, ...]:
    """The numbers in brackets behind a type as format_type() prints it: length, precision, scale."""
    found = re.search(r"\((-?\d+(?:,-?\d+)*)\)", full) if kind in _LIMITED else None
    return tuple(map(int, found[1].split(","))) if found else ()


_LIMITED = (Kind.TEXT, Kind.NUMERIC, Kind.TIMESTAMP, Kind.TIME, Kind.INSTANT, Kind.INTERVAL)


def keeps_number(text: str, precision: int, scale: int = 0) -> bool:
    """Whether numeric(precision, scale) keeps a number as it is. The scale may be negative, or beyond the precision."""
    whole, _, fraction = text.lstrip("-").partition(".")
    digits = whole + fraction.ljust(scale, "0")
    kept = max(0, len(whole) + scale)
    return not digits[kept:].strip("0") and len(digits[:kept].lstrip("0")) <= precision


def affinity(declared: str) -> str:
    """What SQLite's column makes of the values that are put into it, by its declared type."""
    name = declared.upper()
    if "INT" in name:
        return "integer"
    if any(word in name for word in ("CHAR", "CLOB", "TEXT")):
        return "text"
    # An ANY is kept as it is in a STRICT table, and hardly another table has one.
    if "BLOB" in name or name.strip() in ("", "ANY"):
        return "blob"
    return "real" if any(word in name for word in ("REAL", "FLOA", "DOUB")) else "numeric"


def normal_declared(declared: str) -> str:
    """A declared SQLite type without its length."""
    return re.sub(r"\s*\(.*", "", declared).upper()
