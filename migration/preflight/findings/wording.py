"""How preflight names values, and names that the sides spell differently: codes, reasons, what to do about them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.db.rows.canonical import describe
from app.db.rows.catalog import Row, quote
from app.db.rows.conversions import CONVERSIONS
from app.db.rows.kinds import Kind
from app.db.rows.policy import DEFAULT_FILE
from migration.preflight.findings.report import SHOWN_KEYS, Finding, Severity
from migration.preflight.findings.shapes import as_other_type

_BARE = re.compile(r"[A-Za-z0-9_-]+")
# What is said of values that PostgreSQL takes as they are.
_NOTES: dict[str, tuple[str, str]] = {
    "value.long_text": ("text longer than declared", "nothing: texts have no length limit on PostgreSQL"),
    "value.integer_32": ("integers beyond 32 bits", "nothing: integers have 64 bits on PostgreSQL"),
    "value.integer_53": (
        "integers beyond 2^53, which JavaScript and a float cannot hold exactly",
        "nothing: they are exact on both sides",
    ),
    "value.infinity": ("infinite numbers", "nothing: PostgreSQL holds them; JSON answers do not"),
    "value.numeric_digits": (
        "exact numbers of more than 15 digits, which SQLite has rounded to what a float holds",
        "nothing: PostgreSQL gets what SQLite holds; a column declared TEXT on SQLite keeps every digit",
    ),
    "value.other_spelling": (
        "values spelt in another form than the application writes",
        "nothing: they are equal in canonical form",
    ),
}
_REFUSED: dict[str, str] = {
    "value.null": "set a value, on SQLite",
    "value.too_long": "shorten the text on SQLite, or let the application's own migration widen the column",
    "value.too_large": "correct the number on SQLite, or let the application's own migration widen the column",
    "value.outside_type": "correct the value on SQLite, or let the application's own migration change the type",
    "value.numeric_scale": "widen the column in a migration: PostgreSQL would round the number",
    "value.time_digits": "widen the column in a migration: PostgreSQL would round the time",
    "value.index_size": "shorten the text on SQLite, or drop the index in a migration",
}
# What is said of a value that its own kind takes, and the column does not.
_REASONS: dict[str, str] = {
    "value.null": "NULL in a column that takes none on PostgreSQL",
    "value.too_long": "text longer than the column of PostgreSQL takes",
    "value.too_large": "integers that the column of PostgreSQL does not take",
    "value.outside_type": "no label of the enum, a char with blanks at its end, or a cidr with bits beyond its prefix",
    "value.numeric_scale": "more digits than the numeric column keeps",
    "value.real_digits": "more digits than the 4 bytes of a real hold",
    "value.time_digits": "more digits of a second than the column keeps",
}


@dataclass
class Group:
    """The values of one column that share a finding.

    `left` counts those that no chosen policy converts; `fits` names the conversions that fit all. `example` is the
    first of them.
    """

    count: int = 0
    left: int = 0
    keys: list[str] = field(default_factory=list)
    reason: str = ""
    fits: set[str] = field(default_factory=set)
    example: Any = None

    def add(self, key: Callable[[Row], str], row: Row) -> None:
        """Count one more; the first few are named."""
        self.count += 1
        if len(self.keys) < SHOWN_KEYS:
            self.keys.append(key(row))


def _is_text(value: str) -> bool:
    """Whether PostgreSQL could hold it as a text."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in value


def code_of(kind: Kind, value: Any) -> str:
    """The finding's code for a value that a column of this kind cannot hold."""
    if value == "" and kind is not Kind.TEXT:
        return "value.empty_text"
    if isinstance(value, str):
        if kind is Kind.TEXT or (kind in (Kind.JSON, Kind.JSONB) and not _is_text(value)):
            return "value.nul" if "\x00" in value else "value.invalid_utf8"
        return f"value.not_{kind.value}"
    if kind is Kind.BOOLEAN and isinstance(value, (int, float)):
        return "value.not_boolean"
    if kind is Kind.REAL and isinstance(value, (int, float)):
        return "value.real_digits"
    if kind is Kind.INTEGER and isinstance(value, float):
        return "value.real_in_integer"
    return "value.storage_class"


@dataclass(frozen=True)
class Place:
    """The column that a group of values stands in.

    Args:
        chosen: the policies that are in force for it.
        together: those that all its groups need, in one line of the file.
        rows: how many the table has: where all are refused it is the column that does not fit.
        is_key: whether it is part of the key, which is neither converted nor left out.
    """

    table: str
    column: str
    chosen: tuple[str, ...] = ()
    together: tuple[str, ...] = ()
    rows: int = 0
    is_key: bool = False


def settle(groups: Sequence[Group], chosen: tuple[str, ...]) -> tuple[str, ...]:
    """The policies of a column that has all these groups: a file has one line for each column.

    A group for which several fit keeps those that another group needs anyway.
    """
    needed = set(chosen).union(*(group.fits for group in groups if len(group.fits) == 1))
    names = list(chosen)
    for group in groups:
        group.fits = group.fits & needed or group.fits
        if group.left and not group.fits & set(names):
            names += _in_order(group.fits)[:1]
    return tuple(names)


def _in_order(names: set[str]) -> list[str]:
    return [name for name in CONVERSIONS if name in names]


def finding(column: Place, code: str, group: Group) -> Finding:
    """What is said of one group of values."""
    table, name, chosen = column.table, column.column, column.chosen
    place: dict[str, Any] = {"table": table, "column": name, "keys": tuple(group.keys)}
    if code in _NOTES:
        reason, remedy = _NOTES[code]
        return Finding(code, Severity.INFO, reason, remedy, count=group.count, **place)
    if code == "value.index_wide":
        remedy = "nothing if they compress well, as repetitive text does; else shorten them"
        return Finding(code, Severity.WARNS, group.reason, remedy, count=group.count, **place)
    fits = tuple(_in_order(group.fits))
    group.reason = _REASONS.get(code, group.reason)
    if not group.left:
        remedy = f"nothing: converted by {', '.join(chosen)}"
        return Finding(
            code,
            Severity.INFO,
            group.reason,
            remedy,
            count=group.count,
            policies=fits,
            chosen=chosen,
            **place,
        )
    remedy = _REFUSED.get(code) or _remedy(column, fits, group)
    if code == "value.real_digits":
        remedy = f"{as_other_type(table, name, 'real')}{remedy}"
    return Finding(
        code,
        Severity.BLOCKS,
        group.reason,
        remedy,
        count=group.left,
        policies=fits,
        chosen=chosen,
        **place,
    )


def _remedy(column: Place, fits: tuple[str, ...], group: Group) -> str:
    table, name = column.table, column.column
    if not fits and 1 < column.rows == group.left:
        type_ = "no row has a value that fits: give the column on PostgreSQL another type"
        return type_ if column.is_key else f"{type_}, or leave it out: --leave-out {table}.{name}"
    if not fits:
        return "change the value on SQLite, or accept the row in quarantine by name"
    first = next((policy for policy in column.together if policy in fits), fits[0])
    names = list(column.together) or [first]
    line = f"tables.{as_key(table)}.{as_key(name)} = {names if names[1:] else names[0]!r}"
    others = [repr(policy) for policy in fits if policy != first]
    more = f" (or {' or '.join(others)}{f' for {first!r}' if len(names) > 1 else ''})" if others else ""
    if more:
        tried = {policy: CONVERSIONS[policy](group.example) for policy in (first, *fits)}
        made = " and ".join(f"{describe(value)} by {policy}" for policy, value in tried.items())
        more += f": {describe(group.example)} becomes {made}"
    return f"change the value on SQLite, or choose a policy by this line in {DEFAULT_FILE}: {line}{more}"


def as_key(name: str) -> str:
    """A name as a key of TOML."""
    if _BARE.fullmatch(name):
        return name
    return json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f")


def respelt(ours: set[str], theirs: set[str], table: str = "") -> Iterator[Finding]:
    """Names that the sides spell with other capitals, which are taken out of both sets.

    SQLite keeps the capitals of a name without quotes and PostgreSQL does not.

    Args:
        ours, theirs: names that only SQLite has, and only PostgreSQL: of tables, or of columns of `table`.
    """
    for name in sorted(ours):
        other = next((item for item in sorted(theirs) if item.lower() == name.lower()), None)
        if other is None:
            continue
        ours.discard(name)
        theirs.discard(other)
        there, back = _renamed(table, name, other), _renamed(table, other, name)
        yield Finding(
            "schema.spelling",
            Severity.BLOCKS,
            f"the {'column' if table else 'table'} is spelt {name} on SQLite and {other} on PostgreSQL",
            f"{there} (on SQLite, whose statements find it in either spelling)",
            table=table or name,
            column=name if table else "",
            on_sqlite=there,
            undo=back,
        )


def _renamed(table: str, name: str, other: str) -> str:
    """The statements by which SQLite spells a name otherwise; a table's needs another name in between."""
    if table:
        return f"ALTER TABLE {quote(table)} RENAME COLUMN {quote(name)} TO {quote(other)}"
    between = quote(f"{name}_respelt")
    return f"ALTER TABLE {quote(name)} RENAME TO {between}; ALTER TABLE {between} RENAME TO {quote(other)}"
