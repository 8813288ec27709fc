"""The binary format of the copy against the text format: PostgreSQL must end with the same rows."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.db.rows.catalog import Column, Table
from app.db.rows.kinds import Kind
from app.db.sides.postgres.target import copy_text, encode_rows
from migration.fill.binary import SIGNATURE, TRAILER, OutOfRange, encode_binary, supports
from tests.support.pairs import connect

CASTS: dict[str, Kind] = {
    "smallint": Kind.INTEGER,
    "integer": Kind.INTEGER,
    "bigint": Kind.INTEGER,
    "double precision": Kind.FLOAT,
    "boolean": Kind.BOOLEAN,
    "text": Kind.TEXT,
    "json": Kind.TEXT,
    "timestamp without time zone": Kind.TIMESTAMP,
    "date": Kind.DATE,
    "time without time zone": Kind.TIME,
    "bytea": Kind.BLOB,
    "uuid": Kind.UUID,
}
_TIMES = st.datetimes().map(lambda moment: moment.isoformat(" "))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1) | st.text(max_size=3),
    "double precision": st.floats(allow_nan=False) | st.integers(-(2**60), 2**60) | st.just(-0.0),
    "boolean": st.sampled_from([0, 1, 2]),
    "text": st.text(max_size=6) | st.sampled_from(["NSE", "1m", "a\tb\\N\n", "\x00", b"x", "\udcff"]),
    "json": st.sampled_from(["{}", '{"a": [1, 2]}']),
    "timestamp without time zone": _TIMES
    | st.sampled_from(["2026-02-30 00:00:00", "2026-02-02 09:15", "soon"]),
    "date": st.dates().map(str) | st.just("2026-13-01"),
    "time without time zone": st.times().map(str),
    "bytea": st.binary(max_size=5) | st.just("text"),
    "uuid": st.uuids().map(lambda value: value.hex),
}
ORDINARY: dict[str, Any] = {
    "smallint": 7, "integer": 7, "bigint": 7, "double precision": 0.1, "boolean": 1, "text": "x",
    "json": "{}", "timestamp without time zone": "2026-02-02 09:15:00.000000", "date": "2026-02-02",
    "time without time zone": "09:15:00", "bytea": b"\x00\x01", "uuid": "0" * 32,
}  # fmt: skip


def _table(nullable: bool) -> Table:
    columns = tuple(Column(f"c{n}", kind, cast, nullable) for n, (cast, kind) in enumerate(CASTS.items()))
    return Table("wide", columns, columns[:1])


@pytest.fixture(scope="module")
def server(postgres_server: Any) -> Any:
    name = f"binary_{uuid.uuid4().hex[:8]}"
    with connect(postgres_server.create_database(name)) as connection:
        columns = ", ".join(f"c{n} {cast}" for n, cast in enumerate(CASTS))
        connection.execute(f"CREATE TABLE wide ({columns})".encode())
        yield connection
    postgres_server.drop_database(name)


def _stored(connection: psycopg.Connection[Any], form: str, data: bytes) -> list[Any]:
    with connection.transaction(force_rollback=True):
        with connection.cursor().copy(f"COPY wide FROM STDIN (FORMAT {form})".encode()) as copy:
            copy.write(data)
        # Sorted: space that earlier rows left is used again, wherever it is.
        return connection.execute("SELECT wide::text FROM wide ORDER BY 1").fetchall()


_ROWS = st.lists(st.tuples(*(st.none() | VALUES[cast] for cast in CASTS)), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=_ROWS, nullable=st.booleans(), repeats=st.sampled_from([1, 5]))
def test_same_rows_by_both_formats(server: Any, rows: list[Any], nullable: bool, repeats: int) -> None:
    table, rows = _table(nullable), rows * repeats
    columns, rejected = encode_rows(table, rows)
    data, count, refused = encode_binary(table, rows)
    assert refused == rejected
    assert count == len(columns[0])
    if count:
        text = _stored(server, "text", copy_text(columns).encode())
        assert _stored(server, "binary", SIGNATURE + data + TRAILER) == text
    else:
        assert data == b""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_unusual_column_among_ordinary_ones(server: Any, data: st.DataObject) -> None:
    cast = data.draw(st.sampled_from(list(CASTS)))
    values = data.draw(st.lists(st.none() | VALUES[cast], min_size=2, max_size=10))
    rows = [tuple(value if name == cast else ORDINARY[name] for name in CASTS) for value in values]
    test = test_same_rows_by_both_formats.hypothesis.inner_test
    test(server, rows, data.draw(st.booleans()), 1)


def test_a_number_too_wide_for_its_column_is_told() -> None:
    table = Table("t", (Column("n", Kind.INTEGER, "smallint", True),), ())
    with pytest.raises(OutOfRange, match="n"):
        encode_binary(table, [(40_000,)])


def test_a_type_without_a_simple_form_goes_as_text() -> None:
    assert supports(_table(nullable=True))
    assert not supports(Table("t", (Column("n", Kind.NUMERIC, "numeric", True),), ()))
    assert not supports(Table("t", (Column("n", Kind.TEXT, "some_enum", True),), ()))
