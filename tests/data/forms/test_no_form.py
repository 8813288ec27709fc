"""What PostgreSQL holds and SQLite's application could not read is refused, and equal to nothing."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from app.db.common.errors import UnsupportedValue
from app.db.common.urls import Side
from app.db.rows.canonical import encode
from app.db.rows.kinds import Kind
from app.db.rows.spelling import to_sqlite, to_sqlite_column
from loadtests.stage.embedded import EmbeddedPostgres
from migration.verify.run import Verify
from tests.data.verify.small_pair import SmallPair, make_small_pair

WITHOUT = [
    (Kind.DATE, "d", "infinity"),
    (Kind.DATE, "d", "-infinity"),
    (Kind.DATE, "d", "0044-03-15 BC"),
    (Kind.DATE, "d", "10000-01-01"),
    (Kind.TIMESTAMP, "ts", "infinity"),
    (Kind.TIMESTAMP, "ts", "0044-03-15 00:00:00 BC"),
    (Kind.TIMESTAMP, "ts", "10000-01-01 00:00:00.12345"),
    (Kind.TIME, "tm", "24:00:00"),
    (Kind.NUMERIC, "n", "NaN"),
    (Kind.FLOAT, "f", float("nan")),
]


@pytest.fixture(scope="module")
def on_postgres(
    postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SmallPair]:
    name = f"v_{uuid.uuid4().hex[:12]}"
    pair = make_small_pair(tmp_path_factory.mktemp("form"), postgres_server.create_database(name))
    pair.move(Side.POSTGRES)
    yield pair
    pair.applier.stores.close()
    postgres_server.drop_database(name)


@pytest.mark.parametrize(("kind", "column", "value"), WITHOUT)
def test_it_is_refused_by_name_on_its_way_to_sqlite(kind: Kind, column: str, value: object) -> None:
    good = {Kind.FLOAT: 1.5, Kind.NUMERIC: "1", Kind.TIME: "10:00:00", Kind.DATE: "2026-01-05"}.get(
        kind, "2026-01-05 10:00:00"
    )
    assert None not in to_sqlite_column(kind, [good, good], None, column)
    for refused in (
        lambda: to_sqlite(kind, value, None, column),
        lambda: to_sqlite_column(kind, [good, None, value], None, column),
    ):
        with pytest.raises(UnsupportedValue, match=f"{column}: .* has no form on SQLite"):
            refused()


@pytest.mark.parametrize(("kind", "column", "value"), WITHOUT)
def test_verify_never_takes_its_text_on_sqlite_for_equal(
    on_postgres: SmallPair, kind: Kind, column: str, value: object
) -> None:
    """Both sides hold the same text; only one is a value."""
    statement = f"UPDATE kinds SET {column} = %s WHERE id = 5"
    with on_postgres.applier.stores.postgres.write() as connection:
        connection.execute("SELECT set_config('st.applying', epoch::text, true) FROM st_control")
        connection.execute(statement.encode(), (value,))
    on_postgres.corrupt(statement, None if value != value else value)
    found = Verify(on_postgres.applier, chunk_rows=3).run().mismatches
    assert [(item.table, item.key, item.columns) for item in found] == [("kinds", ("5",), (column,))]
    good = on_postgres.applier.stores.postgres.connection
    good.execute(f"UPDATE kinds SET {column} = NULL WHERE id = 5".encode())
    on_postgres.settle()
    assert Verify(on_postgres.applier).run().clean


def test_a_jsonb_document_with_nul_is_refused_before_the_server_is_asked() -> None:
    for found in ('"a\\u0000"', '{"\\u0000": 1}', '["\\\\\\u0000"]'):
        with pytest.raises(UnsupportedValue, match="in a jsonb column"):
            encode(Kind.JSONB, found)
    assert encode(Kind.JSONB, '"\\\\u0000"') == '"\\\\u0000"'
