"""What the operator chose to do with values that have no canonical form, column by column.

Without a choice such a row is refused: it goes to quarantine and blocks the cutover. A choice names one or
more conversions in `migration.toml`. Each turns the stored value into one that the column's kind knows, or
leaves it alone. The converted value is the row's canonical value from then on, for copy, apply and verify
alike. All of them encode through `encode_cell`. The row on SQLite keeps its original until it is changed on
PostgreSQL. Then the canonical value comes back.

Conversions are tried only on values that have no canonical form, so the ordinary column costs nothing.
They never touch key columns: two rows could become one.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.db.common.errors import ConfigurationError, UnsupportedValue
from app.db.rows.canonical import describe, encode, encode_column
from app.db.rows.catalog import Column, Table
from app.db.rows.conversions import CONVERSIONS, Conversion

VARIABLE = "ST_MIGRATION_CONFIG"
DEFAULT_FILE = "migration.toml"
REFUSE = "refuse"
ORPHANS_TO_NULL = "set_null_orphan"  # acts on rows at the source, see migration.preflight.findings.orphans


@dataclass(frozen=True)
class Policy:
    """The choices of one file: (table, column) to names, in the order in which they are tried."""

    source: Path | None = None
    columns: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    def chosen(self, table: str, column: str) -> tuple[str, ...]:
        """The names chosen for a column, `refuse` left out."""
        return tuple(name for name in self.columns.get((table, column), ()) if name != REFUSE)

    def conversions(self, table: Table, column: Column) -> tuple[Conversion, ...]:
        """The conversions that apply to a column's values."""
        if not self.columns or column.name in table.key_names:
            return ()
        known = (CONVERSIONS.get(name) for name in self.chosen(table.name, column.name))
        return tuple(item for item in known if item is not None and column.kind in item.kinds)


def convert(conversions: tuple[Conversion, ...], value: Any) -> Any:
    """A value after every conversion that has something to do with it."""
    for conversion in conversions:
        value = conversion(value)
    return value


def encode_in(column: Column, value: Any) -> str | None:
    """The canonical text of a value in a column, whose type may take fewer values than its kind.

    Raises:
        UnsupportedValue: as `encode`; or it is no label of the enum, or too large for the integer type.
    """
    text = encode(column.kind, value, column.name)
    if column.keeps_documents and isinstance(value, str):
        text = value
    if column.is_narrow and not column.takes((text,)):
        raise UnsupportedValue(column.name, f"{describe(value)} is outside of the type {column.cast}")
    return text


def encode_column_in(column: Column, values: Sequence[Any]) -> list[str | None] | None:
    """As `encode_column`, for a column whose type may take fewer values than its kind."""
    texts = encode_column(column.kind, values)
    return texts if texts is None or column.takes(texts) else None


def encode_cell(table: Table, column: Column, value: Any) -> str | None:
    """The canonical text of a value as SQLite stores it, after the column's conversions if it needs them.

    Raises:
        UnsupportedValue: it has no canonical form, and no chosen conversion gives it one.
    """
    try:
        return encode_in(column, value)
    except UnsupportedValue as refusal:
        conversions = active_policy().conversions(table, column)
        if not conversions:
            raise
        try:
            return encode_in(column, convert(conversions, value))
        except UnsupportedValue:
            raise refusal from None


def load_policy(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        ConfigurationError: it cannot be read, is not TOML, or names something unknown.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}", hint=f"check {VARIABLE}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}", hint="see migration.toml.example") from None
    if unknown := document.keys() - {"tables"}:
        raise ConfigurationError(
            f"{path}: unknown section {sorted(unknown)[0]!r}", hint="columns stand under [tables.<table>]"
        )
    tables = _section(path, "tables", document.get("tables", {}))
    return Policy(
        path,
        {
            (table, column): _names(path, table, column, value)
            for table, columns in tables.items()
            for column, value in _section(path, f"tables.{table}", columns).items()
        },
    )


def _section(path: Path, name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path}: {name} is not a table", hint="see migration.toml.example")
    return value


def _names(path: Path, table: str, column: str, value: object) -> tuple[str, ...]:
    known = (REFUSE, ORPHANS_TO_NULL, *CONVERSIONS)
    names = value if isinstance(value, list) else [value]
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f"{path}: table {table}, column {column}: unknown policy {name!r}",
                hint=f"known are {', '.join(sorted(known))}",
            )
    return tuple(names)


@lru_cache(maxsize=1)
def active_policy() -> Policy:
    """The policy of this process: the file that ST_MIGRATION_CONFIG names, else ./migration.toml, else none.

    Raises:
        ConfigurationError: see `load_policy`.
    """
    if named := os.environ.get(VARIABLE):
        return load_policy(Path(named))
    default = Path(DEFAULT_FILE)
    return load_policy(default) if default.is_file() else Policy()
