"""Round trips of every column kind, and arbitrary values in any column, in both directions."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.db.common.errors import UnsupportedValue
from app.db.common.urls import Side
from app.db.rows.canonical import encode, encode_column
from app.db.rows.conversions import CONVERSIONS
from app.db.rows.kinds import Kind
from app.db.rows.policy import active_policy
from loadtests.stage.embedded import EmbeddedPostgres
from migration.preflight.findings.report import SHOWN_KEYS
from migration.preflight.run import run
from tests.data.dirty.dirty_stage import KINDS, Stage, every_kind, move, staged

QUICK = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
MANY = settings(max_examples=300, deadline=None, derandomize=True)

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=40)
FLOAT = st.floats(allow_nan=False, width=64)
INSTANT = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59))
FORMS = st.sampled_from(("microseconds", "seconds", "milliseconds"))


def _instant(moment: datetime, form: str, mark: str) -> str:
    return (moment if form == "microseconds" else moment.replace(microsecond=0)).isoformat(mark, form)


def _zoned(moment: datetime, form: str, mark: str, zone: str) -> str:
    return _instant(min(max(moment, datetime(1, 1, 2)), datetime(9999, 12, 30)), form, mark) + zone


# Documents with numbers that no float holds, in whatever spelling; no NUL and no half of a letter.
JSON = st.recursive(
    st.none().map(lambda _: "null")
    | st.booleans().map(json.dumps)
    | st.integers().map(str)
    | st.decimals(allow_nan=False, allow_infinity=False, places=6).map(lambda number: format(number, "f"))
    | TEXT.map(json.dumps)
    | TEXT.map(lambda text: json.dumps(text, ensure_ascii=False)),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{' , '.join(items)}]")
        | st.dictionaries(TEXT.map(json.dumps), inner, max_size=3).map(
            lambda items: "{" + ",".join(f"{name}: {item}" for name, item in items.items()) + "}"
        )
    ),
    max_leaves=8,
).filter(lambda text: text[0] in '{["' or text in ("null", "true", "false"))
ADDRESS = st.ip_addresses().map(str) | st.ip_addresses(v=4).map(lambda address: f"{address}/24")

# What the application may store on SQLite, by column kind.
STORED: dict[str, st.SearchStrategy[Any]] = {
    "c_integer": INT64,
    "c_whole": INT64,
    "c_float": FLOAT | st.integers(-(2**53), 2**53),
    "c_boolean": st.integers(0, 1),
    "c_text": TEXT,
    "c_timestamp": st.builds(_instant, INSTANT, FORMS, st.sampled_from(" T")),
    "c_date": st.dates().map(date.isoformat),
    "c_time": st.times().map(time.isoformat),
    "c_blob": st.binary(max_size=40),
    "c_numeric": st.integers(-(2**53), 2**53) | st.floats(-1e6, 1e6, allow_nan=False),
    "c_uuid": st.uuids().map(str) | st.uuids().map(lambda value: value.hex.upper()),
    "c_json": st.sampled_from(("{}", '{"a": [1, 2.5, null]}', '"text"', "[]", "true")),
    "c_jsonb": JSON,
    "c_instant": st.builds(
        _zoned, INSTANT, FORMS, st.sampled_from(" T"), st.sampled_from(("", "Z", "+00:00", "-05:30"))
    ),
    "c_interval": st.integers(-(2**62), 2**62) | st.builds(_instant, INSTANT, FORMS, st.just(" ")),
    "c_address": ADDRESS,
}
# What it may store on PostgreSQL.
WRITTEN: dict[str, st.SearchStrategy[Any]] = {
    "c_integer": INT64,
    "c_whole": INT64,
    "c_float": FLOAT,
    "c_boolean": st.booleans(),
    "c_text": TEXT,
    "c_timestamp": INSTANT,
    "c_date": st.dates(),
    "c_time": st.times(),
    "c_blob": st.binary(max_size=40),
    "c_numeric": st.integers(-(2**53), 2**53).map(Decimal) | st.decimals(-(10**6), 10**6, places=4),
    "c_uuid": st.uuids(),
    "c_json": st.sampled_from(("{}", '{"a": [1, 2.5, null]}', '"text"', "[]", "true")),
    "c_jsonb": JSON,
    "c_instant": INSTANT.map(lambda moment: moment.replace(tzinfo=UTC)),
    "c_interval": st.timedeltas(timedelta(days=-700_000), timedelta(days=2_900_000)),
    "c_address": ADDRESS,
}
# Anything that SQLite can hold in a column, as an expression and its parameter.
ANYTHING = (
    st.none().map(lambda value: ("?", value))
    | INT64.map(lambda value: ("?", value))
    | FLOAT.map(lambda value: ("?", value))
    | st.binary(max_size=12).map(lambda value: ("?", value))
    | st.binary(max_size=12).map(lambda value: ("CAST(? AS TEXT)", value))
    | st.sampled_from(
        (
            "",
            "0",
            "1",
            "true",
            "2026-01-02",
            "2026-01-02 03:04",
            "2026-01-02T03:04:05Z",
            "10:00",
            "1e5",
            "NaN",
            "{}",
        )
    ).map(lambda value: ("?", value))
)


def rows_of(strategies: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    nullable = {name: st.none() | strategy for name, strategy in strategies.items()}
    return st.lists(st.fixed_dictionaries(nullable), min_size=1, max_size=SHOWN_KEYS)


@pytest.fixture(scope="module")
def stage(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Dual-write under way, with nothing in the tables."""
    name = f"dirty_{uuid.uuid4().hex[:12]}"
    ours, theirs = every_kind("t")
    url = postgres_server.create_database(name)
    with staged(tmp_path_factory.mktemp("properties"), url, [ours], [theirs]) as made:
        made.fill()
        yield made
    postgres_server.drop_database(name)


def put(stage: Stage, rows: list[dict[str, tuple[str, Any]]]) -> None:
    """Replace all rows of SQLite in one transaction."""
    with stage.applier.stores.sqlite.write() as connection:
        connection.execute("DELETE FROM t")
        for number, row in enumerate(rows, 1):
            marks = ", ".join(mark for mark, _ in row.values())
            connection.execute(
                f"INSERT INTO t (id, {', '.join(row)}) VALUES ({number}, {marks})",
                [value for _, value in row.values()],
            )


@QUICK
@given(rows_of(STORED))
def test_sqlite_to_postgres(stage: Stage, rows: list[dict[str, Any]]) -> None:
    if stage.applier.stores.postgres.read_control().primary is not Side.SQLITE:
        move(stage, Side.SQLITE)
    put(stage, [{name: ("?", value) for name, value in row.items()} for row in rows])
    assert stage.round().refused == 0
    assert stage.mismatches("t") == []


@settings(QUICK, max_examples=20)
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(KINDS, ANYTHING)), min_size=1, max_size=SHOWN_KEYS))
def test_anything_arrives_or_is_held_and_preflight_knew(
    stage: Stage, rows: list[dict[str, tuple[str, Any]]]
) -> None:
    """A row is either equal on PostgreSQL or in quarantine, never neither, and preflight named which."""
    put(stage, rows)
    stage.round()
    held = {key for _, key in stage.quarantined()}
    assert {(item.kind, item.key_text()) for item in stage.mismatches("t")} == {
        ("missing", key) for key in held
    }
    report = run(stage.path, stage.pair.postgres, active_policy())
    foreseen = {key for item in report.blocking if item.table == "t" for key in item.keys}
    only_the_server_knows = {
        key for (_, key), (_, reason, _) in stage.quarantined().items() if reason.startswith("PostgreSQL: ")
    }
    assert foreseen == held - only_the_server_knows


@QUICK
@given(rows_of(WRITTEN))
def test_postgres_to_sqlite(stage: Stage, rows: list[dict[str, Any]]) -> None:
    if stage.applier.stores.postgres.read_control().primary is not Side.POSTGRES:
        put(stage, [])
        stage.round()
        move(stage, Side.POSTGRES)
    with stage.applier.stores.postgres.write() as connection:
        connection.execute("DELETE FROM t")
        for number, row in enumerate(rows, 1):
            columns, marks = ", ".join(row), ", ".join(["%s"] * len(row))
            connection.execute(
                f"INSERT INTO t (id, c_required, {columns}) VALUES ({number}, 'x', {marks})".encode(),
                list(row.values()),
            )
    assert stage.round().refused == 0
    assert stage.mismatches("t") == []


OFFSETS = st.integers(-86_399, 86_399).map(lambda seconds: timezone(timedelta(seconds=seconds)))
ONE = st.none() | INT64 | FLOAT | TEXT | st.binary(max_size=8) | STORED["c_timestamp"] | STORED["c_date"]


@MANY
@given(st.sampled_from(Kind), st.lists(ONE, max_size=6))
def test_a_whole_column_is_judged_as_each_of_its_values(kind: Kind, values: list[Any]) -> None:
    texts = encode_column(kind, values)
    if texts is None:
        return
    for text, value in zip(texts, values, strict=True):
        try:
            one = encode(kind, value)
        except UnsupportedValue as error:
            raise AssertionError(f"the column was accepted, its value {value!r} is not") from error
        assert text == one or (kind is Kind.TIMESTAMP and f"{text}.000000" == one)


@MANY
@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=OFFSETS))
def test_an_offset_is_converted_to_utc_exactly(moment: datetime) -> None:
    converted = CONVERSIONS["iso_with_offset"](moment.isoformat())
    assert encode(Kind.TIMESTAMP, converted) == moment.astimezone(UTC).replace(tzinfo=None).isoformat(
        " ", "microseconds"
    )
