"""How the application spells times without a zone: the separator, and the digits of the fraction."""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import Any

from app.db.rows.spelling import Spelling


def timestamp_spelling(sqlite: sqlite3.Connection, table: str, name: str) -> Spelling | None:
    """How most texts of a column spell a day and a time. None if none is such a text. Names come quoted."""
    separators: Counter[str] = Counter()
    digits: Counter[str] = Counter()
    # The ordinary forms are told by their shape, in a tenth of the time that looking into each text takes.
    # The LIMIT keeps SQLite from working out the form once for each count.
    texts, *ordinary = sqlite.execute(
        f"SELECT count(*), {', '.join(f'count(*) FILTER (WHERE form = {n})' for n in range(len(_ORDINARY)))} "
        f"FROM (SELECT {_form(name)} AS form FROM {table} WHERE typeof({name}) = 'text' LIMIT -1)"
    ).fetchone()
    counted = [(" ", mark, n) for mark, n in zip(_ORDINARY, ordinary, strict=True) if n]
    if texts > sum(ordinary):
        counted += sqlite.execute(
            f"SELECT substr({name}, 11, 1), {_fraction(name, 12)}, count(*) FROM {table} "
            f"WHERE typeof({name}) = 'text' AND {_form(name)} IS NULL AND {_is_plain(name, 12)} GROUP BY 1, 2"
        ).fetchall()
    for separator, mark, n in counted:
        separators[separator] += n
        digits[mark] += n
    if not separators:
        return None
    clock = clock_spelling(digits)
    return Spelling(separators.most_common(1)[0][0] + clock.form, clock.mixed or len(separators) > 1)


def time_spelling(sqlite: sqlite3.Connection, table: str, name: str) -> Spelling | None:
    """The same for times of day."""
    digits: Counter[Any] = Counter()
    for rest, n in sqlite.execute(
        f"SELECT {_fraction(name, 1)}, count(*) FROM {table} WHERE {_is_plain(name, 1)} GROUP BY 1"
    ):
        digits[rest] += n
    return clock_spelling(digits) if digits else None


_ORDINARY = ("6", "6!", "6=", "0", "0m")  # what `_fraction` says of them


def _form(name: str) -> str:
    """Where a text of an ordinary form stands in `_ORDINARY`. NULL for any other."""
    second = "????-??-?? ??:??:??"
    return (
        f"CASE WHEN {name} GLOB '{second}.000000' THEN 0 "
        f"WHEN {name} GLOB '{second}.{'[0-9]' * 6}' THEN 1 + ({name} GLOB '*000') "
        f"WHEN {name} GLOB '{second}' THEN 3 + ({name} GLOB '*:00') END"
    )


def _is_plain(name: str, start: int) -> str:
    """Whether a text may have a canonical form: nothing but a fraction follows the seconds."""
    after = f"substr({name}, {start + 8})"
    return (
        f"typeof({name}) = 'text' AND (length({name}) = {start + 4} OR {after} = '' AND "
        f"length({name}) = {start + 7} OR {after} GLOB '.[0-9]*' AND {after} NOT GLOB '.*[^0-9]*')"
    )


def _fraction(name: str, start: int) -> str:
    """What a time's text says of its form: its length from `start`, and whether its fraction is needed.

    `m` has no seconds, `0` no fraction. Otherwise the digits of the fraction are given, with `!` where they
    are not all zero, and with `=` where three of six are enough.
    """
    fraction = f"substr({name}, {start + 9})"
    return (
        f"CASE length({name}) WHEN {start + 4} THEN 'm' WHEN {start + 7} THEN "
        f"CASE WHEN substr({name}, -3) = ':00' THEN '0m' ELSE '0' END "
        f"ELSE length({fraction}) || CASE WHEN trim({fraction}, '0') = '' THEN '' "
        f"WHEN substr({fraction}, 4) IN ('', '000') THEN '=' ELSE '!' END END"
    )


def clock_spelling(seen: Counter[Any]) -> Spelling:
    """The form that explains most values, which are counted by what `_fraction` says of them.

    A fraction that is needed in full says nothing: every form writes it. One of zeros, and one that is not
    there, tell the forms apart.
    """
    explained = {
        "6": ("6", "6=", "6!"),
        "3": ("3", "3=", "6!"),
        "0": ("0", "0m", "6=", "6!"),
        "m": ("m", "0", "6=", "6!"),
    }
    counts = {form: sum(seen[mark] for mark in marks) for form, marks in explained.items()}
    form = max(counts, key=lambda item: counts[item])
    return Spelling(form, counts[form] < seen.total())
