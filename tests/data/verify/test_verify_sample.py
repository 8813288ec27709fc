"""Every table and every column of the sample database: damage in each is found exactly, and repaired."""

from __future__ import annotations

import math
from collections.abc import Callable

from psycopg import errors as pg_errors

from app.db.apply.compare import Mismatch
from app.db.common.urls import Side
from app.db.rows.catalog import Column, Table, quote
from app.db.rows.kinds import Kind
from migration.verify.run import Verify, repair
from tests.data.verify.small_pair import SmallPair

# How a value of each kind is changed by as little as can be; NULL becomes the emptiest value there is.
CHANGES: dict[Kind, tuple[str, str]] = {
    Kind.INTEGER: ("{} + 1", "0"),
    Kind.BOOLEAN: ("NOT {}", "false"),
    Kind.TEXT: ("{} || ' '", "''"),
    Kind.TIMESTAMP: ("{} + interval '1 microsecond'", "'1970-01-01'"),
    Kind.DATE: ("{} + 1", "'1970-01-01'"),
    Kind.TIME: ("{} + interval '1 microsecond'", "'00:00'"),
}
SPARE = 2  # rows kept whole for a lost row and its neighbour


def _change(pair: SmallPair, table: Table, column: Column, key: int) -> bool:
    """Change one value on the shadow; False if a constraint does not let it."""
    connection = pair.applier.stores.postgres.connection
    name = quote(column.name)
    try:
        with connection.transaction():
            if column.kind is Kind.FLOAT:
                query = f"SELECT {name} FROM {quote(table.name)} WHERE id = %s".encode()
                row = connection.execute(query, (key,)).fetchone()
                assert row is not None
                value = 0.0 if row[0] is None else math.nextafter(row[0], math.inf)
                update, parameters = "%s", [value]
            else:
                some, none = CHANGES[column.kind]
                update, parameters = f"CASE WHEN {name} IS NULL THEN {none} ELSE {some.format(name)} END", []
            connection.execute(
                f"UPDATE {quote(table.name)} SET {name} = {update} WHERE id = {key}".encode(), parameters
            )
    except pg_errors.IntegrityError:
        return False
    return True


def _damage(pair: SmallPair, table: Table, keys: list[int], note: Callable[..., None]) -> set[str]:
    """Damage a table: every column in one row each, one row lost, one added; returns what was spared."""
    connection = pair.applier.stores.postgres.connection
    spared: set[str] = set()
    damaged: dict[int, list[str]] = {}
    victims = keys[1:] if len(keys) >= SPARE else keys
    for n, column in enumerate(column for column in table.columns if column.name != "id"):
        for m in range(len(victims)):
            key = victims[(n + m) % len(victims)]
            if _change(pair, table, column, key):
                damaged.setdefault(key, []).append(column.name)
                break
        else:
            spared.add(f"{table.name}.{column.name}")
    for key, columns in damaged.items():
        note(table.name, key, "different", *columns)
    if len(keys) >= SPARE:
        connection.execute(f"DELETE FROM {quote(table.name)} WHERE id = {keys[0]}".encode())
        note(table.name, keys[0], "missing")
    others = ", ".join(quote(column.name) for column in table.columns if column.name != "id")
    try:
        with connection.transaction():
            connection.execute(
                f"INSERT INTO {quote(table.name)} (id, {others}) SELECT 9000000, {others} FROM {quote(table.name)} "
                f"WHERE id = {keys[-1]}".encode()
            )
            note(table.name, 9_000_000, "extra")
    except pg_errors.UniqueViolation:
        pass
    return spared


def _drop_checks(pair: SmallPair) -> None:
    """Let the shadow take any text where the application allows a few words only."""
    connection = pair.applier.stores.postgres.connection
    for (statement,) in connection.execute(
        "SELECT format('ALTER TABLE %I DROP CONSTRAINT %I', t.relname, c.conname) FROM pg_constraint c "
        "JOIN pg_class t ON t.oid = c.conrelid "
        "WHERE c.contype = 'c' AND t.relnamespace = current_schema()::regnamespace"
    ).fetchall():
        connection.execute(statement.encode())


def test_every_table_and_column(sample: SmallPair) -> None:
    applier = sample.applier
    sample.move(Side.SQLITE)
    schema = applier.schema()
    expected: set[Mismatch] = set()

    def note(table: str, key: int, kind: str, *columns: str) -> None:
        expected.add(Mismatch(table, (str(key),), kind, columns))

    _drop_checks(sample)
    filled, spared = set(), set()
    with sample.silently():
        for table in schema.values():
            rows = applier.stores.postgres.connection.execute(
                f"SELECT id FROM {quote(table.name)} ORDER BY random() LIMIT 50".encode()
            ).fetchall()
            if rows:
                filled.add(table.name)
                spared |= _damage(sample, table, sorted(key for (key,) in rows), note)
    assert filled == set(schema), "the sample has rows in every table"
    assert len(spared) < 5, f"constraints kept too many columns from being damaged: {spared}"
    result = Verify(applier).run()
    assert set(result.mismatches) == expected
    assert set(result.per_table) == set(schema)
    assert repair(applier, result.mismatches) == len(expected)
    again = Verify(applier).run()
    assert again.clean and again.rows == result.rows


def test_both_directions_are_clean(sample: SmallPair) -> None:
    sample.move(Side.SQLITE)
    forward = Verify(sample.applier).run()
    sample.move(Side.POSTGRES)
    back = Verify(sample.applier, chunk_rows=777).run()
    assert forward.clean and back.clean
    assert forward.rows == back.rows
