"""One pass over a table: every value that PostgreSQL would refuse or that will look different there.

A batch of rows is taken apart into columns. Each column is judged whole by C-level checks
(`canonical.is_plain`, set, min, max). Only a column that fails them is looked at value by value. Memory holds
one batch, and per kind of finding a count and the first keys.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from app.db.common.errors import UnsupportedValue
from app.db.rows import keys
from app.db.rows.canonical import describe, encode, is_plain
from app.db.rows.canonical.documents import is_document
from app.db.rows.catalog import Column, Row
from app.db.rows.conversions import CONVERSIONS, COUNTED
from app.db.rows.kinds import Kind
from app.db.rows.policy import Policy, convert, encode_in
from migration.preflight.findings.report import Finding
from migration.preflight.findings.shapes import Shape
from migration.preflight.findings.wording import Group, Place, code_of, finding, settle
from migration.preflight.reading import batches

TRIED_VALUES = 1_000  # of one kind of finding, on how many values all conversions are tried
INDEX_LIMIT = 2_700  # bytes of an index row that PostgreSQL takes, less its own few
_INT32, _EXACT, _INFINITY = 2**31, 2**53, float("inf")
# The storage class in which values may be worth a note; None: nothing is noted of the kind.
_STORED: dict[Kind, type | None] = {
    Kind.INTEGER: int,
    Kind.FLOAT: float,
    Kind.REAL: float,
    Kind.BOOLEAN: None,
    Kind.TEXT: str,
    Kind.TIMESTAMP: str,
    Kind.DATE: None,
    Kind.TIME: str,
    Kind.BLOB: None,
    Kind.NUMERIC: None,
    Kind.UUID: None,
    Kind.INSTANT: None,
    Kind.INTERVAL: None,
    Kind.JSON: None,
    Kind.JSONB: None,
    Kind.ADDRESS: None,
}


class TableCheck:
    """The checks of one table; feed it with `look`, then ask for `findings`.

    `forms` says per time column how many spellings its values have, which is what makes duplicates
    possible that SQLite does not see.
    """

    def __init__(self, shape: Shape, policy: Policy) -> None:
        self._shape = shape
        self._table = shape.table
        self._policy = policy
        self._groups: dict[tuple[str, str], list[Group]] = {}
        self._indexed = {name for index in shape.indexes for name in index.columns}
        self.forms: dict[str, set[int]] = {}
        self.rows = 0

    def look(self, rows: Sequence[Row]) -> None:
        """Check one batch of rows."""
        self.rows += len(rows)
        wide = False
        for column, values in zip(self._table.columns, zip(*rows, strict=True), strict=True):
            types = set(map(type, values))
            present: Sequence[Any] = values
            if type(None) in types:
                types.discard(type(None))
                present = [value for value in values if value is not None]
                if not column.nullable and column.name not in self._table.key_names:
                    self._each(column, "value.null", rows, values, lambda value: value is None)
            if not types:
                continue
            if not is_plain(column.kind, types, present) or (column.limit and column.kind is not Kind.TEXT):
                self._closely(column, rows, values)
            usual = _STORED[column.kind]
            if usual in types:
                if len(types) > 1:
                    present = [value for value in present if type(value) is usual]
                wide |= self._notable(column, present, rows, values)
        if wide:
            self._index_rows(rows)

    def _notable(
        self, column: Column, present: Sequence[Any], rows: Sequence[Row], values: Sequence[Any]
    ) -> bool:
        """Note values that are fine and worth knowing. Returns whether a text may be too long for an index.

        Args:
            present: the values in the storage class that the column's kind is kept in.
        """

        def note(code: str, concerns: Callable[[Any], bool], kept: type) -> None:
            self._each(column, code, rows, values, lambda value: type(value) is kept and concerns(value))

        if column.kind is Kind.TEXT:
            longest = max(map(len, present))
            limit = self._shape.lengths.get(column.name, longest)
            if longest > limit:
                note(
                    "value.too_long" if self._shape.limits else "value.long_text",
                    lambda value: len(value) > limit,
                    str,
                )
            if (column.labels or column.is_limited) and not column.takes(set(present)):
                note(
                    "value.outside_type",
                    lambda value: len(value) <= limit and not column.takes((value,)),
                    str,
                )
            return longest * 4 > INDEX_LIMIT and column.name in self._indexed
        if column.kind is Kind.INTEGER:
            low, high = min(present), max(present)
            if self._shape.limits:
                if not column.takes((str(low), str(high))):
                    note("value.too_large", lambda value: not column.takes((str(value),)), int)
            elif column.name in self._shape.narrow and not -_INT32 <= low <= high < _INT32:
                note(
                    "value.integer_32",
                    lambda value: -_EXACT <= value <= _EXACT and not -_INT32 <= value < _INT32,
                    int,
                )
            if not -_EXACT <= low <= high <= _EXACT:
                note("value.integer_53", lambda value: abs(value) > _EXACT, int)
        elif column.kind in (Kind.FLOAT, Kind.REAL):
            if not -_INFINITY < min(present) <= max(present) < _INFINITY:
                note("value.infinity", lambda value: abs(value) == _INFINITY, float)
        else:
            self.forms.setdefault(column.name, set()).update(map(len, present))
        return False

    def _each(
        self,
        column: Column,
        code: str,
        rows: Sequence[Row],
        values: Sequence[Any],
        concerns: Callable[[Any], bool],
    ) -> None:
        for row, value in zip(rows, values, strict=True):
            if concerns(value):
                group = self._group(column, code)
                group.left += 1
                group.add(self.key, row)

    def _group(self, column: Column, code: str) -> Group:
        groups = self._groups.setdefault((column.name, code), [])
        return groups[0] if groups else self._new(groups, set())

    def _group_of(self, column: Column, code: str, value: Any) -> Group:
        """The group of a value that the column's kind refuses: one conversion at least fits all of its values."""
        groups = self._groups.setdefault((column.name, code), [])
        known = sum(group.count for group in groups) >= TRIED_VALUES
        fits = None if known else self._fitting(column, value, set(CONVERSIONS))
        for group in groups:
            if both := self._fitting(column, value, group.fits) if fits is None else group.fits & fits:
                group.fits = both
                return group
        hopeless = next((group for group in groups if not group.fits), None)
        if hopeless is not None and not fits:
            return hopeless
        fits = self._fitting(column, value, set(CONVERSIONS)) if fits is None else fits
        return self._new(groups, fits, value)

    @staticmethod
    def _new(groups: list[Group], fits: set[str], example: Any = None) -> Group:
        groups.append(Group(fits=fits, example=example))
        return groups[-1]

    def key(self, row: Row) -> str:
        """A row's key, as quarantine would show it."""
        return keys.to_text(keys.of_row(self._table, row)) if self._table.key else ""

    def _closely(self, column: Column, rows: Sequence[Row], values: Sequence[Any]) -> None:
        """Look at each value of a column that is not plain."""
        conversions = self._policy.conversions(self._table, column)
        for row, value in zip(rows, values, strict=True):
            if value is None:
                continue
            try:
                text = encode(column.kind, value)
            except UnsupportedValue as refusal:
                group = self._group_of(column, code_of(column.kind, value), value)
                group.add(self.key, row)
                group.reason = group.reason or refusal.reason
                if not (conversions and _accepts(column, convert(conversions, value))):
                    group.left += 1
            else:
                if column.kind is Kind.NUMERIC and not column.takes((text,)):
                    self._each(column, "value.numeric_scale", [row], [value], lambda _: True)
                elif (
                    column.kind is Kind.NUMERIC and type(value) is float and len(_digits(text)) > _SAFE_DIGITS
                ):
                    self._each(column, "value.numeric_digits", [row], [value], lambda _: True)
                elif (
                    column.is_limited
                    and column.kind not in (Kind.TEXT, Kind.NUMERIC)
                    and not column.takes((text,))
                ):
                    code = "value.outside_type" if column.kind is Kind.ADDRESS else "value.time_digits"
                    self._each(column, code, [row], [value], lambda _: True)
                elif column.kind is Kind.JSON and text and not is_document(text):
                    self._group(column, "value.not_json").reason = f"{describe(value)} in a json column"
                    self._each(column, "value.not_json", [row], [value], lambda _: True)
                elif column.kind is Kind.TIMESTAMP and " " not in value:
                    self.forms.setdefault(column.name, set()).add(0)
                    self._each(column, "value.other_spelling", [row], [value], lambda _: True)

    def _fitting(self, column: Column, value: Any, names: set[str]) -> set[str]:
        """Which of these conversions give a value a canonical form."""
        if column.name in self._table.key_names:
            return set()
        fits = {
            name
            for name in names
            if column.kind in CONVERSIONS[name].kinds and _accepts(column, CONVERSIONS[name](value))
        }
        if "cut_fraction" in fits:
            fits.discard("iso_with_offset")  # it cuts digits and takes the offset, too
        if "julian_day" in fits and type(value) is float:
            fits -= COUNTED.keys()  # they would make a day of January 1970 of it
        return fits

    def _index_rows(self, rows: Sequence[Row]) -> None:
        """Texts of an index whose bytes PostgreSQL may not be able to put into one index row."""
        places = {column.name: n for n, column in enumerate(self._table.columns)}
        for index in self._shape.indexes:
            at = [places[name] for name in index.columns if name in places]
            for row in rows:
                texts = [row[n] for n in at if isinstance(row[n], str)]
                if sum(map(len, texts)) * 4 <= INDEX_LIMIT:
                    continue
                raw = "".join(texts).encode("utf-8", "surrogateescape")
                if len(raw) > INDEX_LIMIT:
                    fits = len(zlib.compress(raw)) * 2 < INDEX_LIMIT
                    group = self._group(
                        self._table.columns[at[0]], "value.index_wide" if fits else "value.index_size"
                    )
                    group.left += 1
                    group.reason = f"text of more than {INDEX_LIMIT} bytes in index {index.name}"
                    group.add(self.key, row)

    def findings(self) -> Iterator[Finding]:
        """What was found in the rows looked at."""
        for name in dict.fromkeys(column for column, _ in self._groups):
            found = {code: groups for (column, code), groups in self._groups.items() if column == name}
            chosen = self._policy.chosen(self._table.name, name)
            together = settle([group for groups in found.values() for group in groups], chosen)
            place = Place(self._table.name, name, chosen, together, self.rows, name in self._table.key_names)
            for code, groups in found.items():
                yield from (finding(place, code, group) for group in groups)


def _accepts(column: Column, value: Any) -> bool:
    """Whether a converted value has a canonical form that the column may hold."""
    if value is None:
        return column.nullable
    try:
        encode_in(column, value)
        if column.kind is Kind.JSON:  # its form is the text, which nothing here parses
            encode(Kind.JSONB, value)
    except UnsupportedValue:
        return False
    return True


_SAFE_DIGITS = 15  # of a number that SQLite's numeric column keeps whatever they are


def _digits(text: str | None) -> str:
    """The digits of a number that count."""
    return (text or "").lstrip("-").replace(".", "").strip("0")


def check_values(
    sqlite: sqlite3.Connection, shape: Shape, policy: Policy, progress: Callable[[int], None]
) -> TableCheck:
    """Read one table whole.

    Args:
        progress: called with the number of rows of each batch.
    """
    check = TableCheck(shape, policy)
    for rows in batches(sqlite, shape.table):
        check.look(rows)
        progress(len(rows))
    return check
