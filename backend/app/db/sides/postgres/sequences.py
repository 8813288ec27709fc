"""PostgreSQL's sequences: which columns draw from them, and where they are set when a side becomes primary.

A sequence that no column names is drawn from by the application itself, as with a `Sequence` of SQLAlchemy. Its name
tells the column (`person_id_seq`). One whose name tells none may serve every key that has no sequence of its own.

Only sequences that go up, and end at their end, can be set beyond what was used. `unfit_sequences` names the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from app.db.rows.catalog import literal, postgres_left_out, quote, takes_part
from app.db.sides.postgres.connection import Connection

# Each type, a domain too, and the type that it is in the end.
_PLAIN = """
WITH RECURSIVE plain(type, base) AS (
  SELECT oid, oid FROM pg_type WHERE typtype <> 'd'
  UNION ALL SELECT d.oid, p.base FROM pg_type d JOIN plain p ON d.typbasetype = p.type AND d.typtype = 'd'
)"""
_INTEGER = "plain.base IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)"
# Sequences that belong to a column (serial, identity), and those that only a default names, of a column or its domain.
_DRAWN = """(
  SELECT d.objid AS sequence, d.refobjid AS relation, d.refobjsubid AS attribute, false AS by_default
  FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
  AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
  UNION
  SELECT d.refobjid, f.adrelid, f.adnum, true
  FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid
  WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
  UNION
  SELECT d.refobjid, c.attrelid, c.attnum, false
  FROM pg_depend d JOIN pg_attribute c ON c.atttypid = d.objid
  WHERE d.classid = 'pg_type'::regclass AND d.refclassid = 'pg_class'::regclass
) AS drawn
JOIN pg_class s ON s.oid = drawn.sequence AND s.relkind = 'S'
JOIN pg_sequence q ON q.seqrelid = s.oid
JOIN pg_class t ON t.oid = drawn.relation AND t.relnamespace = current_schema()::regnamespace AND t.relkind IN ('r', 'p')
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = drawn.attribute
JOIN plain ON plain.type = a.atttypid"""
_SEQUENCES = f"""{_PLAIN}
SELECT DISTINCT t.relname, a.attname, s.oid::regclass::text, coalesce(pg_sequence_last_value(s.oid), q.seqstart),
       least(q.seqmax, CASE plain.base WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647
                       ELSE q.seqmax END)
FROM {_DRAWN}
WHERE q.seqincrement > 0 AND {_INTEGER}
ORDER BY 1, 2
"""

# Sequences that give numbers out twice, or of which nobody knows what they gave out, where that must not happen.
_UNFIT = f"""{_PLAIN}
SELECT DISTINCT t.relname, a.attname, s.oid::regclass::text, q.seqincrement < 0, q.seqcycle
FROM {_DRAWN}
WHERE EXISTS (SELECT FROM pg_index i WHERE i.indrelid = t.oid AND i.indisunique AND a.attnum = ANY (i.indkey))
AND (q.seqincrement < 0 OR q.seqcycle OR drawn.by_default AND NOT {_INTEGER})
ORDER BY 1, 2
"""

_CACHING = "SELECT seqrelid::regclass::text FROM pg_sequence WHERE seqcache > 1"

_Column = tuple[str, str, bool, int]  # table, column, whether it alone is the primary key, its largest number
# Sequences that nothing in the catalog ties to a column.
_FREE = """
SELECT s.relname, s.oid::regclass::text, coalesce(pg_sequence_last_value(s.oid), q.seqstart), q.seqmax,
       q.seqincrement < 0, q.seqcycle
FROM pg_class s JOIN pg_sequence q ON q.seqrelid = s.oid
WHERE s.relkind = 'S' AND s.relnamespace = current_schema()::regnamespace
AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = s.oid
                AND d.deptype IN ('a', 'i', 'e'))
AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = s.oid
                AND d.classid IN ('pg_attrdef'::regclass, 'pg_type'::regclass))
ORDER BY 1
"""
# Integer columns, whether each is alone the primary key, and whether PostgreSQL numbers it.
_INTEGERS = f"""{_PLAIN}
SELECT t.relname, a.attname, a.attidentity <> '' OR d.oid IS NOT NULL, EXISTS (
  SELECT 1 FROM pg_index i WHERE i.indrelid = t.oid AND i.indisprimary AND i.indnkeyatts = 1 AND a.attnum = i.indkey[0]
), CASE plain.base WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647
   ELSE 9223372036854775807 END
FROM pg_class t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN plain ON plain.type = a.atttypid AND {_INTEGER}
LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum AND pg_get_expr(d.adbin, d.adrelid) ~ 'nextval'
WHERE t.relkind IN ('r', 'p') AND t.relnamespace = current_schema()::regnamespace
"""


@dataclass(frozen=True)
class Drawn:
    """A column that draws its numbers from a sequence.

    `last` is the number that the sequence gave out last, `most` the largest that sequence and column can hold.
    """

    table: str
    column: str
    sequence: str
    last: int
    most: int


def drawn_columns(connection: Connection) -> list[Drawn]:
    """Every integer column of the application that draws from an ascending sequence."""
    left_out = postgres_left_out(connection)
    rows = connection.execute(_SEQUENCES).fetchall()
    tied = [Drawn(*row) for row in rows if takes_part(row[0]) and row[0] not in left_out]
    return tied + [item for columns in free_sequences(connection).values() for item in columns]


def unfit_sequences(connection: Connection) -> list[str]:
    """Why sequences of unique columns cannot be set beyond what was used, with the statement that mends each."""
    left_out = postgres_left_out(connection)
    rows = connection.execute(_UNFIT).fetchall()
    rows += [
        (item.table, item.column, item.sequence, down, again)
        for _, columns, down, again in _free(connection)
        if down or again
        for item in columns[:1]
    ]
    return [
        f"table {table}, column {column}: sequence {sequence} {_fault(table, column, sequence, down, again)}"
        for table, column, sequence, down, again in rows
        if takes_part(table) and table not in left_out
    ]


def _fault(table: str, column: str, sequence: str, down: bool, again: bool) -> str:
    if again:
        return f"starts again at its end and gives numbers out twice: ALTER SEQUENCE {sequence} NO CYCLE"
    if down:
        return (
            f"counts down, and only one that counts up is set beyond what was used: ALTER SEQUENCE {sequence} "
            "INCREMENT 1 NO MINVALUE NO MAXVALUE START 1 RESTART"
        )
    return (
        "fills a column that is no integer, so nobody knows what was used: "
        f"ALTER TABLE {quote(table)} ALTER {quote(column)} DROP DEFAULT"
    )


def free_sequences(connection: Connection) -> dict[str, list[Drawn]]:
    """Sequences that go up and that nothing ties to a column, by name, each with the columns that may draw from it."""
    return {name: columns for name, columns, down, _ in _free(connection) if not down}


def _free(connection: Connection) -> list[tuple[str, list[Drawn], bool, bool]]:
    """Every sequence that nothing ties to a column: name, columns, whether it counts down, and starts again."""
    free = [row for row in connection.execute(_FREE).fetchall() if takes_part(row[0])]
    if not free:
        return []
    left_out = postgres_left_out(connection)
    columns = [
        (table, column, alone, most)
        for table, column, numbered, alone, most in connection.execute(_INTEGERS).fetchall()
        if not numbered and takes_part(table) and table not in left_out
    ]
    named = {name: _named_by(name, columns) for name, *_ in free}
    taken = {column[:2] for found in named.values() for column in found}
    rest = [column for column in columns if column[2] and column[:2] not in taken]
    return [
        (
            name,
            [
                Drawn(table, column, sequence, last, min(most, limit))
                for table, column, _, limit in named[name] or rest
            ],
            down,
            again,
        )
        for name, sequence, last, most, down, again in free
    ]


def _named_by(sequence: str, columns: list[_Column]) -> list[_Column]:
    """The column that a sequence's name tells: of the longest table in it, the column in it or else the key."""
    name = sequence.lower()
    table = max((table for table, *_ in columns if table.lower() in name), key=len, default="")
    rest = name.replace(table.lower(), "", 1)
    of_table = [column for column in columns if column[0] == table]
    told = [c for c in of_table if c[1].lower() in (name if len(c[1]) > len(table) else rest)]
    told.sort(key=lambda column: len(column[1]))
    return told[-1:] or [column for column in of_table if column[2]]


def largest(connection: Connection, table: str, column: str) -> int:
    """The largest value of a column. 0 if there is none."""
    row = connection.execute(
        f"SELECT coalesce(max({quote(column)}), 0) FROM {quote(table)}".encode()
    ).fetchone()
    assert row is not None
    return int(row[0])


def exhausted(drawn: list[Drawn], used: Callable[[Drawn], int]) -> list[Drawn]:
    """The columns that no number is left for, because of their own values or those of another on the same sequence."""
    return _full(drawn, *_places(drawn, used))


def _full(drawn: list[Drawn], wanted: dict[str, int], most: dict[str, int]) -> list[Drawn]:
    return [
        replace(item, most=most[item.sequence])
        for item in drawn
        if wanted[item.sequence] >= most[item.sequence]
    ]


def _places(drawn: list[Drawn], used: Callable[[Drawn], int]) -> tuple[dict[str, int], dict[str, int]]:
    """Of each sequence the largest number used in any of its columns, and the largest that all of them can hold."""
    wanted: dict[str, int] = {}
    most = {item.sequence: item.most for item in drawn}
    for item in drawn:
        most[item.sequence] = min(most[item.sequence], item.most)
        wanted[item.sequence] = max(used(item), item.last, wanted.get(item.sequence, 0))
    return wanted, most


def set_sequences(
    connection: Connection, drawn: list[Drawn], used: Callable[[Drawn], int], gap: int
) -> list[Drawn]:
    """Set every sequence beyond what is used, and beyond itself.

    Args:
        used: the largest number that was ever used in a column.
        gap: how many numbers to leave free, less at the end of a range. So an id which was handed out but
            never committed on the old side is not handed out again.

    Returns:
        The columns that no number is left for. Nothing was set then.
    """
    wanted, most = _places(drawn, used)
    if full := _full(drawn, wanted, most):
        return full
    caching = {name for (name,) in connection.execute(_CACHING).fetchall()}
    with connection.pipeline():
        for sequence, value in wanted.items():
            place = max(value, min(value + gap, most[sequence] - 1))
            # Sessions that still hold numbers of their own (CACHE) throw them away at a restart, at setval they do not.
            connection.execute(
                f"ALTER SEQUENCE {sequence} RESTART WITH {place + 1}".encode()
                if sequence in caching
                else f"SELECT setval({literal(sequence)}, {place})".encode()
            )
    return []


def advance_sequences(connection: Connection, gap: int) -> list[Drawn]:
    """`set_sequences` by what stands in the columns alone."""
    return set_sequences(
        connection,
        drawn_columns(connection),
        lambda item: largest(connection, item.table, item.column),
        gap,
    )
