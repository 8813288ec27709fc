"""What tables there are on each side, read from the databases themselves and compared.

The databases are the truth, not the models. The same code serves any application, and a migration that ran on
one side only shows as drift. Our bookkeeping tables are left out, by their exact names. So are the
bookkeeping tables of migration frameworks, which belong to each side. So is what the operator left out
(`st_excluded` and `st_excluded_column`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_interface
from typing import Any

from app.db.rows.canonical.times import microseconds
from app.db.rows.catalog.declared import keeps_number
from app.db.rows.kinds import Kind
from app.db.rows.spelling import Spelling

# Every table of ours on either side, as `sides.tables` makes them. No other name is reserved: an application
# may have a table whose name begins in the same way.
BOOKKEEPING = frozenset(
    {
        "st_change_log",
        "st_control",
        "st_copy_range",
        "st_deferred_ddl",
        "st_excluded",
        "st_excluded_column",
        "st_found",
        "st_history",
        "st_mismatch",
        "st_pending",
        "st_quarantine",
        "st_spelling",
        "st_throttle",
        "st_verify",
        "st_verify_progress",
        "st_watermark",
    }
)
EXCLUDED_TABLE = "st_excluded"
EXCLUDED_COLUMN_TABLE = "st_excluded_column"
VERSION_TABLE = "alembic_version"
_SQLITES_OWN = ("sqlite_", "_litestream_")  # Litestream writes to two tables as long as it copies the file
# In which migration frameworks note what they have done to a database. Each side has its own, with its own rows.
# Names that an application may well have chosen itself (`migrations`, `schema_version`) are not among them.
FRAMEWORK_TABLES = frozenset(
    {
        VERSION_TABLE,
        "SequelizeMeta",
        "__EFMigrationsHistory",
        "__EFMigrationsLock",
        "__diesel_schema_migrations",
        "__drizzle_migrations",
        "_prisma_migrations",
        "_sqlx_migrations",
        "_yoyo_log",
        "_yoyo_migration",
        "_yoyo_version",
        "aerich",
        "ar_internal_metadata",
        "atlas_schema_revisions",
        "bun_migration_locks",
        "bun_migrations",
        "databasechangelog",
        "databasechangeloglock",
        "django_migrations",
        "doctrine_migration_versions",
        "flyway_schema_history",
        "goose_db_version",
        "gorp_migrations",
        "knex_migrations",
        "knex_migrations_lock",
        "kysely_migration",
        "kysely_migration_lock",
        "migratehistory",
        "mikro_orm_migrations",
        "phinxlog",
        "refinery_schema_history",
        "schema_migrations",
        "typeorm_metadata",
        "yoyo_lock",
    }
)

# The values of the integer types that take fewer than SQLite's.
NARROW = {"smallint": range(-(2**15), 2**15), "integer": range(-(2**31), 2**31)}
_TIMES = (Kind.TIMESTAMP, Kind.TIME, Kind.INSTANT)

Row = Sequence[Any]  # values in the order of Table.columns, as the reading store hands them out


@dataclass(frozen=True)
class Column:
    """A column that takes part: its name, kind, and type on PostgreSQL as a cast spells it.

    The type has no length. A cast to `varchar(10)` would cut a longer text without a word, but an assignment
    to such a column refuses it. `labels` are those of an enum; any other type has none. They are no part of
    what a verify remembers of a table: a new label makes no row that was equal different. `spelling` is how
    SQLite's values are spelt, None: as usual. `limit` is what stands in brackets behind the type, such as
    precision and scale. `affinity` is that of SQLite's column, '' where it is not known.
    """

    name: str
    kind: Kind
    cast: str
    nullable: bool
    labels: frozenset[str] = field(default=frozenset(), repr=False)
    spelling: Spelling | None = field(default=None, repr=False)  # not part of a schema's fingerprint
    limit: tuple[int, ...] = field(default=(), repr=False)  # nor these two
    affinity: str = field(default="", repr=False)

    @property
    def cast_with_parameters(self) -> str:
        """The cast for a statement with parameters. See `quote_with_parameters`."""
        return self.cast.replace("%", "%%")

    @cached_property  # asked for each value
    def is_narrow(self) -> bool:
        """Whether the type takes fewer values than the kind: an enum, a small integer, a limited length."""
        return bool(self.labels) or self.cast in NARROW or self.is_limited

    @property
    def is_limited(self) -> bool:
        """Whether the type would cut, round or refuse values: a `char` cuts blanks, a `cidr` takes networks only."""
        return bool(self.limit) or self.cast in ("bpchar", "cidr")

    @cached_property
    def keeps_documents(self) -> bool:
        """Whether SQLite keeps a json text byte for byte; a column of numeric affinity makes 1.5 of `1.50`."""
        return self.kind is Kind.JSON and self.affinity in ("text", "blob")

    def takes(self, texts: Iterable[str | None]) -> bool:
        """Whether the type has a place for all these canonical texts of its kind, without changing one."""
        if self.labels:
            return all(text is None or text in self.labels for text in texts)
        if self.is_limited:
            return all(text is None or self._fits(text) for text in texts)
        narrow = NARROW.get(self.cast)
        return narrow is None or all(text is None or int(text) in narrow for text in texts)

    def _fits(self, text: str) -> bool:
        """Whether PostgreSQL keeps a value as it is: it rounds numbers and times, and cuts blanks."""
        if self.kind is Kind.TEXT:
            padded = self.cast == "bpchar" and text.endswith(" ")
            return not padded and (not self.limit or len(text) <= self.limit[0])
        if self.kind is Kind.NUMERIC:
            return keeps_number(text, *self.limit)
        if self.kind in _TIMES:
            fraction = text.removesuffix("+00").partition(".")[2]
            return not fraction[self.limit[0] :].strip("0")
        if self.kind is Kind.INTERVAL:
            return not microseconds(text) % int("1".ljust(7 - self.limit[0], "0"))
        if self.kind is Kind.ADDRESS:
            found = ip_interface(text)
            return found.ip == found.network.network_address
        return True


@dataclass(frozen=True, order=True)
class Unique:
    """A unique key of SQLite other than the primary key.

    `parts` are columns, each with its collation, and expressions, each with ''. `condition` is that of a partial
    index, '' if all rows are covered. `row` names all columns of the table where a part is an expression, which may
    speak of any. `watched` are the columns that an update has to change to make the row collide; () for any.
    """

    parts: tuple[tuple[str, str], ...]
    condition: str = ""
    row: tuple[str, ...] = ()
    watched: tuple[str, ...] = ()


@dataclass(frozen=True)
class Replaced:
    """By what REPLACE finds a row of SQLite in its way, besides the values that a statement gives.

    `defaults`: columns that take no NULL, each with the SQL of what REPLACE puts in its place. `rowids`: the names
    of the rowid, where it is not the key; () if there is none.
    """

    defaults: tuple[tuple[str, str], ...] = ()
    rowids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table that takes part.

    `uniques` are SQLite's unique keys other than the primary key. `replaced` is what else SQLite's capture
    has to know about REPLACE. It is no part of a schema's fingerprint.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[Column, ...]
    uniques: tuple[Unique, ...] = field(default=())
    replaced: Replaced = field(default=Replaced(), repr=False)

    def __hash__(self) -> int:
        return hash(self.name)

    @cached_property
    def key_positions(self) -> tuple[int, ...]:
        """Where the key's columns stand among the columns."""
        return tuple(self.columns.index(column) for column in self.key)

    @property
    def key_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.key)

    @property
    def integer_key(self) -> bool:
        """Whether the key is one integer column, which can be cut into ranges."""
        return len(self.key) == 1 and self.key[0].kind is Kind.INTEGER


Schema = dict[str, Table]
# Equal tables are one object, so that statements remembered by table are found at once.
_known: dict[Table, Table] = {}


def quote(name: str) -> str:
    """An identifier quoted for both databases; on PostgreSQL for a statement without parameters."""
    return '"' + name.replace('"', '""') + '"'


def quote_with_parameters(name: str) -> str:
    """An identifier for a PostgreSQL statement with parameters, be there none: the driver reads percent signs."""
    return quote(name).replace("%", "%%")


def literal(text: str) -> str:
    """A text quoted as an SQL literal for both databases."""
    return "'" + text.replace("'", "''") + "'"


def takes_part(name: str) -> bool:
    """Whether a table holds application data, by its name alone. The operator may leave it out all the same."""
    return name not in BOOKKEEPING and not name.startswith(_SQLITES_OWN) and name not in FRAMEWORK_TABLES
