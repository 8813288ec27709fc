"""Named conversions of stored values that PostgreSQL would refuse.

Each takes a value as SQLite stores it and gives the form in which the application would have stored it. A
value that does not fit comes back as it is. The canonical form is made from the result. `lossless` says
whether the content survives and only its storage class or spelling changes.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from app.db.rows.canonical.reals import narrowed, shortest
from app.db.rows.kinds import Kind

_EPOCH, _EPOCH_JULIAN, _MIDNIGHT = datetime(1970, 1, 1), 2_440_587.5, time()
# Words for true and false, as applications write them.
WORDS = (("t", "f"), ("true", "false"), ("yes", "no"), ("y", "n"), ("on", "off"), ("1", "0"))
_TRUE, _FALSE = map(frozenset, zip(*WORDS, strict=True))
# Go's `Time.String` writes the zone's name behind the offset, and perhaps its own clock.
_OFFSET = re.compile(
    r" ?(?:(Z|[+-]\d\d(?::?\d\d(?::\d\d)?)?)|([+-]\d{4}) (?:[A-Z]{3,5}|[+-]\d\d(?:\d\d)?)(?: m=[+-][\d.]+)?)$"
)
_FRACTION = re.compile(r"(\.\d{6})\d+")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True)
class Conversion:
    """One conversion.

    Args:
        kinds: the column kinds that it may be chosen for.
        lossless: whether the content survives.
        meaning: one line for the operator.
    """

    name: str
    kinds: frozenset[Kind]
    lossless: bool
    meaning: str
    change: Callable[[Any], Any]

    def __call__(self, value: Any) -> Any:
        try:
            return self.change(value)
        except (ValueError, OverflowError):
            return value


def _instant(value: datetime) -> str:
    return value.isoformat(" ", "microseconds")


def _since_epoch(value: Any, unit: str) -> Any:
    if type(value) is str and re.fullmatch(r"-?\d+(?:\.\d+)?", value):
        value = float(value) if "." in value else int(value)
    if type(value) not in (int, float):
        return value
    return _instant(_EPOCH + timedelta(**{unit: value}))


def _epoch_seconds(value: Any) -> Any:
    return _since_epoch(value, "seconds")


def _epoch_millis(value: Any) -> Any:
    return _since_epoch(value, "milliseconds")


def _julian_day(value: Any) -> Any:
    """A day of 1858 to 2132, to the millisecond that SQLite counts in."""
    if type(value) not in (int, float) or not 2_400_000.5 <= value < 2_500_000.5:
        return value
    return _instant(_EPOCH + timedelta(milliseconds=round((value - _EPOCH_JULIAN) * 86_400_000)))


def _iso_with_offset(value: Any) -> Any:
    if type(value) is not str or not _OFFSET.search(value):
        return value
    moment = datetime.fromisoformat(_OFFSET.sub(lambda found: found[1] or found[2], value))
    return value if moment.tzinfo is None else _instant(moment.astimezone(UTC).replace(tzinfo=None))


def _cut_fraction(value: Any) -> Any:
    return _FRACTION.sub(r"\1", value) if type(value) is str else value


def _date_is_midnight(value: Any) -> Any:
    return f"{value} 00:00:00.000000" if type(value) is str and _DAY.fullmatch(value) else value


def _midnight_is_date(value: Any) -> Any:
    if type(value) is not str:
        return value
    moment = datetime.fromisoformat(value)
    if moment.utcoffset():
        return value
    return moment.date().isoformat() if moment.time() == _MIDNIGHT else value


def _moment_is_clock(value: Any) -> Any:
    if type(value) is not str or not _DAY.match(value) or ":" not in value:
        return value
    moment = datetime.fromisoformat(value)
    return value if moment.tzinfo else moment.time().isoformat()


def _true_false_text(value: Any) -> Any:
    word = value.strip().lower() if type(value) is str else None
    return 1 if word in _TRUE else 0 if word in _FALSE else value


def _nonzero_is_true(value: Any) -> Any:
    return int(value != 0) if type(value) in (int, float) else value


def _strip_nul(value: Any) -> Any:
    return value.replace("\x00", "") if type(value) is str else value


def _replace_invalid_utf8(value: Any) -> Any:
    if type(value) is not str:
        return value
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _empty_is_null(value: Any) -> Any:
    return None if value == "" or value == b"" else value


def _integral_real(value: Any) -> Any:
    return int(value) if type(value) is float and value.is_integer() else value


def _round_real(value: Any) -> Any:
    return shortest(narrowed(float(value))) if type(value) in (int, float) else value


def _text_as_number(value: Any) -> Any:
    if type(value) is not str or not _NUMBER.fullmatch(value):
        return value
    if value.lstrip("-").isdigit():
        return int(value)
    number = float(value)
    return number if Decimal(repr(number)) == Decimal(value) else value


def _number_as_text(value: Any) -> Any:
    return repr(value) if type(value) in (int, float) else value


def _blob_as_text(value: Any) -> Any:
    return value.decode("utf-8") if type(value) is bytes else value


def _text_as_blob(value: Any) -> Any:
    return value.encode("utf-8", "surrogateescape") if type(value) is str else value


def _base64_as_blob(value: Any) -> Any:
    return base64.b64decode(value, validate=True) if type(value) is str else value


def _kinds(*kinds: Kind) -> frozenset[Kind]:
    return frozenset(kinds)


# Policies under which a column holds numbers that count from 1970; its values come back as such numbers.
COUNTED = {"epoch_seconds": "seconds", "epoch_millis": "millis"}
_TIMES = _kinds(Kind.TIMESTAMP, Kind.INSTANT)
CONVERSIONS: dict[str, Conversion] = {
    item.name: item
    for item in (
        Conversion("epoch_seconds", _TIMES, True, "a number counts seconds since 1970, UTC", _epoch_seconds),
        Conversion(
            "epoch_millis", _TIMES, True, "a number counts milliseconds since 1970, UTC", _epoch_millis
        ),
        Conversion("julian_day", _TIMES, True, "a number counts days as julianday() does, UTC", _julian_day),
        Conversion(
            "iso_with_offset",
            _TIMES,
            False,
            "a time with an offset or Z becomes UTC",
            _iso_with_offset,
        ),
        Conversion(
            "cut_fraction",
            _kinds(Kind.TIMESTAMP, Kind.INSTANT, Kind.TIME),
            False,
            "digits beyond the microsecond are cut",
            _cut_fraction,
        ),
        Conversion(
            "date_is_midnight", _TIMES, True, "a date alone is that day's midnight", _date_is_midnight
        ),
        Conversion("midnight_is_date", _kinds(Kind.DATE), True, "a midnight is its date", _midnight_is_date),
        Conversion(
            "moment_is_clock", _kinds(Kind.TIME), False, "a timestamp is its time of day", _moment_is_clock
        ),
        Conversion(
            "true_false_text",
            _kinds(Kind.BOOLEAN),
            False,
            "true, t, yes, y, on and their opposites",
            _true_false_text,
        ),
        Conversion(
            "nonzero_is_true",
            _kinds(Kind.BOOLEAN),
            False,
            "any number other than 0 is true",
            _nonzero_is_true,
        ),
        Conversion("strip_nul", _kinds(Kind.TEXT), False, "NUL characters are removed", _strip_nul),
        Conversion(
            "replace_invalid_utf8",
            _kinds(Kind.TEXT),
            False,
            "bytes that are not UTF-8 become U+FFFD",
            _replace_invalid_utf8,
        ),
        Conversion(
            "empty_is_null",
            frozenset(Kind) - {Kind.TEXT, Kind.BLOB},
            False,
            "an empty text is NULL",
            _empty_is_null,
        ),
        Conversion(
            "integral_real",
            _kinds(Kind.INTEGER),
            True,
            "a real without a fraction is its integer",
            _integral_real,
        ),
        Conversion(
            "text_as_number",
            _kinds(Kind.INTEGER, Kind.FLOAT, Kind.REAL),
            True,
            "a decimal text is its number",
            _text_as_number,
        ),
        Conversion(
            "round_real",
            _kinds(Kind.REAL),
            False,
            "a number is rounded to the 6 to 9 digits that 4 bytes hold",
            _round_real,
        ),
        Conversion(
            "number_as_text", _kinds(Kind.TEXT), True, "a number becomes its decimal text", _number_as_text
        ),
        Conversion(
            "blob_as_text",
            _kinds(Kind.TEXT, Kind.JSON, Kind.JSONB),
            True,
            "a blob of valid UTF-8 becomes that text",
            _blob_as_text,
        ),
        Conversion("text_as_blob", _kinds(Kind.BLOB), True, "a text becomes its bytes", _text_as_blob),
        Conversion(
            "base64_as_blob",
            _kinds(Kind.BLOB),
            True,
            "a text of base64 becomes the bytes that it stands for",
            _base64_as_blob,
        ),
    )
}
