"""Random schemas for both sides: names, kinds, keys, references, indexes, generated columns."""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from random import Random

from tests.core.random.fuzz.kinds import BY_NAME, KINDS, FuzzKind, Style

PRINTABLE = [chr(n) for n in range(0x20, 0x7F)]
OTHERS = ["é", "ß", "₹", "漢", "😀", "\u202e", "%s", "%(a)s", "{0}", "$body$", "''", '""', "--", "/*"]


# How plain DDL of an application makes a kind on PostgreSQL: narrow, to be widened, or as a domain.
MADE_AS = {
    "text": ("text", 'text COLLATE "C"', "varchar(4)", "fuzz_words"),
    "integer": ("bigint", "integer", "fuzz_number"),
    "float": ("double precision", "real"),
}


# Settings of sequences that can be set beyond what was used.
SEQUENCES = ("", "INCREMENT 7", "CACHE 20", "START -50 MINVALUE -50", "CACHE 3 INCREMENT 2 START 5")


@dataclass(frozen=True)
class FuzzColumn:
    """A column: its kind, its style on SQLite, and the table whose key it holds, if it does."""

    name: str
    kind: FuzzKind
    style: Style
    required: bool = False
    refers_to: str | None = None
    made_as: str | None = None


@dataclass
class FuzzTable:
    """A table as both sides have it; `ddl` makes its parts besides the columns."""

    name: str
    key: list[FuzzColumn]
    columns: list[FuzzColumn]
    strict: bool = False
    without_rowid: bool = False
    uniques: list[FuzzColumn] = field(default_factory=list)
    deferrable: bool = False
    generated: str | None = None
    sequence: str | None = None  # the settings of the one that fills its key on PostgreSQL
    highest: int = 0  # the largest id that both sides ever had
    extra: list[str] = field(default_factory=list)  # statements for both sides
    extra_on_sqlite: list[str] = field(default_factory=list)

    @property
    def all_columns(self) -> list[FuzzColumn]:
        return [*self.key, *self.columns]

    def on_sqlite(self) -> str:
        parts = []
        for column in self.all_columns:
            declared = column.style.strict if self.strict else column.style.declared
            parts.append(f"{quote(column.name)} {declared}{' NOT NULL' if column.required else ''}")
        options = [("STRICT", self.strict), ("WITHOUT ROWID", self.without_rowid)]
        return self._create(parts, self.references(), [word for word, on in options if on], "INTEGER")

    def on_postgres(self) -> str:
        parts = [
            f"{quote(c.name)} {c.made_as or c.kind.postgres}{' NOT NULL' if c.required else ''}"
            for c in self.all_columns
        ]
        deferrable = " DEFERRABLE" if self.deferrable else ""
        return self._create(parts, [], [], "bigint", deferrable)

    def references(self) -> list[str]:
        """Its foreign keys."""
        return [
            f"FOREIGN KEY ({quote(c.name)}) REFERENCES {quote(c.refers_to)} ON DELETE {rule}"
            for c, rule in zip(self.columns, ("SET NULL", "CASCADE", "NO ACTION") * 9, strict=False)
            if c.refers_to
        ]

    def _create(
        self, parts: list[str], references: list[str], options: list[str], integer: str, of_uniques: str = ""
    ) -> str:
        if self.generated:
            source = next(c for c in self.columns if c.kind.name == "text")
            parts.append(
                f"{quote(self.generated)} {integer} GENERATED ALWAYS AS (length({quote(source.name)})) STORED"
            )
        parts.append(f"PRIMARY KEY ({', '.join(quote(c.name) for c in self.key)})")
        parts += [f"UNIQUE ({quote(c.name)}){of_uniques}" for c in self.uniques]
        parts += references
        return f"CREATE TABLE {quote(self.name)} ({', '.join(parts)}) {', '.join(options)}".strip()


def quote(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'


class SchemaMaker:
    """Makes a schema from a seed."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._made = 0

    def tables(self) -> list[FuzzTable]:
        """Two to five tables, some of which refer to themselves and to each other, also in circles."""
        tables = [self._table() for _ in range(self._rng.randrange(2, 6))]
        for table in tables:
            self._refer(table, tables)
            self._indexes(table)
        return tables

    def name(self) -> str:
        """A name of any printable characters; a number keeps it apart from all others."""
        self._made += 1
        parts = [
            self._rng.choice(OTHERS if self._rng.random() < 0.15 else PRINTABLE)
            for _ in range(self._rng.randrange(1, 6))
        ]
        return f"{''.join(parts)}{self._rng.choice(string.ascii_letters)}{self._made}"

    def _column(self, kind: FuzzKind, required: bool = False) -> FuzzColumn:
        made_as = self._rng.choice(MADE_AS.get(kind.name, (kind.postgres,)))
        return FuzzColumn(self.name(), kind, self._rng.choice(kind.styles), required, None, made_as)

    def _table(self) -> FuzzTable:
        rng = self._rng
        kinds = [kind for kind in KINDS if kind.can_be_key]
        if rng.random() < 0.4:
            key = [FuzzColumn(self.name(), BY_NAME["integer"], BY_NAME["integer"].styles[0], True)]
        else:
            key = [self._column(rng.choice(kinds), True) for _ in range(rng.choice((1, 1, 2, 3)))]
        columns = [self._column(rng.choice(KINDS), rng.random() < 0.2) for _ in range(rng.randrange(1, 8))]
        columns.append(self._column(BY_NAME["text"]))
        table = FuzzTable(self.name(), key, columns, rng.random() < 0.3, rng.random() < 0.3)
        table.deferrable = rng.random() < 0.3
        if len(key) == 1 and key[0].kind.name == "integer" and rng.random() < 0.5:
            table.sequence = rng.choice(SEQUENCES)
        table.generated = self.name() if rng.random() < 0.3 else None
        table.uniques = [
            c for c in columns if c.kind.name in ("integer", "text", "date") and rng.random() < 0.3
        ]
        return table

    def _refer(self, table: FuzzTable, tables: list[FuzzTable]) -> None:
        """Columns that hold the key of some table, their own one included."""
        for other in [t for t in tables if len(t.key) == 1 and self._rng.random() < 0.4]:
            key = other.key[0]
            table.columns.append(FuzzColumn(self.name(), key.kind, key.style, False, other.name))

    def _indexes(self, table: FuzzTable) -> None:
        rng = self._rng
        for column in table.columns:
            name, of, place = quote(self.name()), quote(table.name), quote(column.name)
            if column.kind.name in ("json", "address") or rng.random() < 0.6:
                continue
            if column.kind.name == "integer" and rng.random() < 0.5:
                table.extra.append(f"CREATE UNIQUE INDEX {name} ON {of} ({place}) WHERE {place} > 100")
            elif column.kind.name == "text" and rng.random() < 0.4:
                collation = rng.choice(("NOCASE", "RTRIM"))
                table.extra_on_sqlite.append(
                    f"CREATE UNIQUE INDEX {name} ON {of} ({place} COLLATE {collation})"
                )
            elif column.kind.name == "text" and rng.random() < 0.5:
                table.extra.append(f"CREATE INDEX {name} ON {of} (lower({place}))")
            else:
                table.extra.append(f"CREATE INDEX {name} ON {of} ({place})")


def sqlite_ddl(tables: list[FuzzTable]) -> list[str]:
    """The statements that make the schema on SQLite."""
    extra = (one for table in tables for one in (*table.extra, *table.extra_on_sqlite))
    return [*(table.on_sqlite() for table in tables), *extra]


def postgres_ddl(tables: list[FuzzTable]) -> list[str]:
    """The same on PostgreSQL, where references come last: they may form a circle."""
    return [
        "CREATE DOMAIN fuzz_words AS text",
        "CREATE DOMAIN fuzz_number AS bigint",
        "CREATE TYPE fuzz_level AS ENUM ('LOW', 'high', 'Mid %', ' q ')",
        *(table.on_postgres() for table in tables),
        *(one for n, table in enumerate(tables) for one in _numbered(table, f"fuzz_numbers_{n}")),
        *(f"ALTER TABLE {quote(t.name)} ADD {reference}" for t in tables for reference in t.references()),
        *(one for table in tables for one in table.extra),
    ]


def _numbered(table: FuzzTable, sequence: str) -> list[str]:
    """What has a sequence fill a table's key, where it has one."""
    if table.sequence is None:
        return []
    default = f"ALTER {quote(table.key[0].name)} SET DEFAULT nextval('{sequence}')"
    return [f"CREATE SEQUENCE {sequence} {table.sequence}", f"ALTER TABLE {quote(table.name)} {default}"]
