"""PostgreSQL's sequences: which columns draw from them, and where they are set when a side becomes primary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.db.rows.catalog import literal, postgres_left_out, quote, takes_part
from app.db.sides.postgres.connection import Connection

# Sequences that belong to a column (serial, identity), and those that only a default names.
_SEQUENCES = """
SELECT t.relname, a.attname, s.oid::regclass::text, coalesce(pg_sequence_last_value(s.oid), q.seqstart),
       least(q.seqmax, CASE a.atttypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647
                       ELSE q.seqmax END)
FROM (
  SELECT d.objid AS sequence, d.refobjid AS relation, d.refobjsubid AS attribute
  FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
  AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
  UNION
  SELECT d.refobjid, f.adrelid, f.adnum
  FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid
  WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
) AS drawn
JOIN pg_class s ON s.oid = drawn.sequence AND s.relkind = 'S'
JOIN pg_sequence q ON q.seqrelid = s.oid AND q.seqincrement > 0
JOIN pg_class t ON t.oid = drawn.relation AND t.relnamespace = current_schema()::regnamespace
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = drawn.attribute
  AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
ORDER BY 1, 2
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
    return [Drawn(*row) for row in rows if takes_part(row[0]) and row[0] not in left_out]


def largest(connection: Connection, table: str, column: str) -> int:
    """The largest value of a column; 0 if there is none."""
    row = connection.execute(
        f"SELECT coalesce(max({quote(column)}), 0) FROM {quote(table)}".encode()
    ).fetchone()
    assert row is not None
    return int(row[0])


def set_sequences(
    connection: Connection, drawn: list[Drawn], used: Callable[[Drawn], int], gap: int
) -> list[Drawn]:
    """Set every sequence beyond what is used, and beyond itself.

    Args:
        used: the largest number that was ever used in a column.
        gap: how many numbers to leave free, so that an id which was handed out but never committed on the
            old side is not handed out again; less at the end of a range.

    Returns:
        The columns that no number is left for; nothing was set then.
    """
    wanted: dict[str, int] = {}
    full: list[Drawn] = []
    most = {item.sequence: item.most for item in drawn}
    for item in drawn:
        most[item.sequence] = min(most[item.sequence], item.most)
        wanted[item.sequence] = max(used(item), item.last, wanted.get(item.sequence, 0))
    full = [item for item in drawn if wanted[item.sequence] >= most[item.sequence]]
    if full:
        return full
    with connection.pipeline():
        for sequence, value in wanted.items():
            place = min(value + gap, most[sequence] - 1)
            connection.execute(f"SELECT setval({literal(sequence)}, {max(value, place)})".encode())
    return []


def advance_sequences(connection: Connection, gap: int) -> list[Drawn]:
    """`set_sequences` by what stands in the columns alone."""
    return set_sequences(
        connection,
        drawn_columns(connection),
        lambda item: largest(connection, item.table, item.column),
        gap,
    )
