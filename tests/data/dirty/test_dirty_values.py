"""Every value of the case table through preflight, copy, dual-write and repair, with and without policies."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dirty_cases import Value, chosen, values

from app.db.common.urls import Side
from app.db.rows.conversions import CONVERSIONS
from app.db.rows.kinds import Kind
from app.db.rows.policy import Policy, active_policy
from loadtests.stage.embedded import EmbeddedPostgres
from migration.preflight.findings.report import Report, Severity
from migration.preflight.run import run
from migration.verify.run import Verify
from tests.data.dirty.dirty_stage import KINDS, Stage, every_kind, move, staged

VALUES = values()
FAILING = [case for case in VALUES if case.fails]
PASSING = [case for case in VALUES if not case.fails]
# The same rows twice more, which turn dirty (`late`) or come with a policy (one table per policy).
TABLES = ("things", "late")


@contextmanager
def database(server: EmbeddedPostgres, folder: Path, tables: list[str], choices: str = "") -> Iterator[Stage]:
    name = f"dirty_{uuid.uuid4().hex[:12]}"
    pairs = [every_kind(table) for table in tables]
    try:
        with staged(
            folder, server.create_database(name), [a for a, _ in pairs], [b for _, b in pairs], choices
        ) as stage:
            yield stage
    finally:
        server.drop_database(name)


def insert(table: str, case: Value) -> str:
    return f"INSERT INTO {table} (id, {case.column}) VALUES ({case.id}, {case.sql})"


@pytest.fixture(scope="module")
def copied(
    postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stage, Report]]:
    """All cases copied in small chunks; preflight ran before."""
    folder = tmp_path_factory.mktemp("copied")
    with database(postgres_server, folder, list(TABLES)) as stage:
        stage.write(*(insert("things", case) for case in VALUES))
        stage.write(*(f"INSERT INTO late (id) VALUES ({case.id})" for case in VALUES))
        stage.prepare()
        report = run(stage.path, stage.pair.postgres, active_policy())
        stage.fill(chunk_rows=7)
        yield stage, report


def named_by_preflight(report: Report, case: Value) -> set[str]:
    return {
        item.code
        for item in report.findings
        if item.table == "things" and item.column == case.column and str(case.id) in item.keys
    }


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    """Preflight before PostgreSQL has any table, by case; no two cases of one file share a finding."""
    files: dict[int, list[Value]] = {}
    met: Counter[tuple[str, str]] = Counter()
    for case in VALUES:
        files.setdefault(met[case.column, case.finding], []).append(case)
        met[case.column, case.finding] += bool(case.finding)
    found: dict[str, Report] = {}
    for number, cases in files.items():
        path = tmp_path_factory.mktemp("file") / f"{number}.db"
        with sqlite3.connect(path) as connection:
            connection.execute(every_kind("things")[0])
            for case in cases:
                connection.execute(f"INSERT INTO things (id, {case.column}) VALUES ({case.id}, {case.sql})")
        connection.close()
        report = run(path, None, Policy())
        found |= {case.name: report for case in cases}
    return found


# That a column takes no NULL there only PostgreSQL knows; the report of `copied` asks it.
KNOWN_BEFORE = [case for case in VALUES if case.finding != "value.null"]


@pytest.mark.parametrize("case", KNOWN_BEFORE, ids=lambda case: case.name)
def test_preflight_names_the_row(reports: dict[str, Report], case: Value) -> None:
    own = reports[case.name]
    assert named_by_preflight(own, case) == ({case.finding} if case.finding else set())
    for item in own.findings:
        if (item.table, item.column, item.code) == ("things", case.column, case.finding):
            assert (item.severity is Severity.BLOCKS) == case.fails
            assert set(item.policies) == set(case.policies)
            assert item.remedy


def test_preflight_counts_all_of_them(copied: tuple[Stage, Report]) -> None:
    _, report = copied
    counted = sum(
        item.count for item in report.blocking if item.table == "things" and item.code.startswith("value.")
    )
    only_the_server_knows = sum(case.finding == "" for case in FAILING)
    assert counted == len(FAILING) - only_the_server_knows
    assert not report.clean


def test_exactly_the_failing_rows_are_in_quarantine(copied: tuple[Stage, Report]) -> None:
    stage, _ = copied
    held = {int(key) for table, key in stage.quarantined() if table == "things"}
    assert held == {case.id for case in FAILING}
    assert stage.on_postgres("things").keys() == {case.id for case in PASSING}


def test_what_arrived_is_exact(copied: tuple[Stage, Report]) -> None:
    stage, _ = copied
    assert {(item.kind, item.key) for item in stage.mismatches("things")} == {
        ("missing", (str(case.id),)) for case in FAILING
    }


@pytest.mark.parametrize("case", [c for c in PASSING if c.arrives is not None], ids=lambda case: case.name)
def test_it_arrives_as_stated(copied: tuple[Stage, Report], case: Value) -> None:
    stage, _ = copied
    assert stage.on_postgres("things")[case.id][case.column] == case.arrives


@pytest.mark.parametrize("case", FAILING, ids=lambda case: case.name)
def test_quarantine_holds_reason_and_exact_content(copied: tuple[Stage, Report], case: Value) -> None:
    stage, _ = copied
    column, reason, content = stage.quarantined()["things", str(case.id)]
    assert reason == case.reason
    assert column in (case.column, "")  # what only the server can tell comes without a column
    stored, kind = stage.sqlite.execute(
        f"SELECT CAST({case.column} AS BLOB), typeof({case.column}) FROM things WHERE id = {case.id}"
    ).fetchone()
    value = content[case.column]
    match kind:
        case "text":
            assert (value.get("text", "").encode() or bytes.fromhex(value.get("text_hex", ""))) == stored
        case "blob":
            assert bytes.fromhex(value["blob_hex"]) == stored
        case "null":
            assert value is None
        case _:
            (number,) = stage.sqlite.execute(
                f"SELECT {case.column} FROM things WHERE id = {case.id}"
            ).fetchone()
            assert value == number or float(value["real"]) == number
    assert set(content) == {"id", "c_required", *KINDS}


def test_dirty_writes_do_not_stop_apply_and_repair_releases_them(copied: tuple[Stage, Report]) -> None:
    """The rows of `late` turn dirty one transaction after the other, among clean writes, and back."""
    stage, _ = copied
    stage.round()
    for case in VALUES:
        stage.write(f"UPDATE late SET {case.column} = {case.sql} WHERE id = {case.id}")
    stage.write("INSERT INTO late (id, c_text) VALUES (100000, 'after all of them')")
    outcome = stage.round()
    assert outcome.refused == len(FAILING)
    held = {int(key) for table, key in stage.quarantined() if table == "late"}
    assert held == {case.id for case in FAILING}
    assert 100_000 in stage.on_postgres("late")
    assert {item.kind for item in stage.mismatches("late")} == {"missing"}

    stage.write(*(f"UPDATE late SET {column} = NULL" for column in KINDS), "UPDATE late SET c_required = 'y'")
    assert stage.round().refused == 0
    assert not [key for key in stage.quarantined() if key[0] == "late"]
    assert stage.mismatches("late") == []


def test_deleting_a_dirty_row_releases_it(copied: tuple[Stage, Report]) -> None:
    stage, _ = copied
    stage.write("INSERT INTO late (id, c_boolean) VALUES (200000, 2)")
    assert stage.round().refused == 1
    stage.write("DELETE FROM late WHERE id = 200000")
    stage.round()
    assert ("late", "200000") not in stage.quarantined()


def table_for(policy: str) -> str:
    return f"with_{policy}"


@pytest.fixture(scope="module")
def converted(
    postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stage, Report]]:
    """One table per policy, with the values that it fits; each column chooses it."""
    tables = sorted({policy for _, policy in chosen()})
    columns = {
        policy: sorted({case.column for case, name in chosen() if name == policy}) for policy in tables
    }
    choices = "\n".join(
        f"[tables.{table_for(policy)}]\n" + "\n".join(f'{column} = "{policy}"' for column in columns[policy])
        for policy in tables
    )
    folder = tmp_path_factory.mktemp("converted")
    with database(postgres_server, folder, [table_for(policy) for policy in tables], choices) as stage:
        stage.write(*(insert(table_for(policy), case) for case, policy in chosen()))
        # A second row of each is clean until the copy is over.
        stage.write(
            *(f"INSERT INTO {table_for(policy)} (id) VALUES ({case.id + 1000})" for case, policy in chosen())
        )
        stage.prepare()
        report = run(stage.path, stage.pair.postgres, active_policy())
        stage.fill()
        stage.write(
            *(
                f"UPDATE {table_for(policy)} SET {case.column} = {case.sql} WHERE id = {case.id + 1000}"
                for case, policy in chosen()
            )
        )
        stage.round()
        yield stage, report


def test_with_policies_nothing_blocks_and_nothing_is_held(converted: tuple[Stage, Report]) -> None:
    stage, report = converted
    of_rows = [item for item in report.findings if item.table]
    assert of_rows
    assert {item.severity for item in of_rows} == {Severity.INFO}
    assert all(item.chosen for item in of_rows if item.policies)
    assert stage.quarantined() == {}


@pytest.mark.parametrize(("case", "policy"), chosen(), ids=lambda v: v.name if isinstance(v, Value) else v)
def test_a_policy_converts_in_copy_and_in_apply(
    converted: tuple[Stage, Report], case: Value, policy: str
) -> None:
    stage, _ = converted
    rows = stage.on_postgres(table_for(policy))
    wanted = None if case.policies[policy] == "NULL" else case.policies[policy]
    assert rows[case.id][case.column] == wanted
    assert rows[case.id + 1000][case.column] == wanted


def test_the_verifier_knows_quarantined_and_converted_rows(
    copied: tuple[Stage, Report], converted: tuple[Stage, Report]
) -> None:
    for stage, _ in (copied, converted):
        stage.round()
        result = Verify(stage.applier, chunk_rows=5).run()
        assert result.clean, result.mismatches


def test_the_verifier_finds_a_converted_value_that_was_altered(converted: tuple[Stage, Report]) -> None:
    stage, _ = converted
    case, policy = next(pair for pair in chosen() if pair[1] == "true_false_text")
    with stage.applier.stores.postgres.write() as connection:
        connection.execute("SELECT set_config('st.applying', '1', true)")
        connection.execute(
            f"UPDATE {table_for(policy)} SET {case.column} = NOT {case.column} WHERE id = {case.id}".encode()
        )
    found = Verify(stage.applier).run().mismatches
    assert [(item.table, item.key, item.columns) for item in found] == [
        (table_for(policy), (str(case.id),), (case.column,))
    ]
    stage.write(f"UPDATE {table_for(policy)} SET c_text = 'again' WHERE id = {case.id}")
    stage.round()
    assert Verify(stage.applier).run().clean


def test_comparison_finds_converted_rows_equal(converted: tuple[Stage, Report]) -> None:
    stage, _ = converted
    for policy in {policy for _, policy in chosen()}:
        assert stage.mismatches(table_for(policy)) == []


def test_sqlite_keeps_the_original_until_postgres_changes_the_value(
    postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    choices = '[tables.things]\nc_boolean = "true_false_text"\nc_timestamp = "iso_with_offset"\n'
    with database(postgres_server, tmp_path, ["things"], choices) as stage:
        stage.write(
            "INSERT INTO things (id, c_boolean, c_timestamp) "
            "VALUES (1, 'true', '2026-01-02T09:15:00Z'), (2, 'true', '2026-01-02T09:15:00Z'), "
            "(3, 'true', '2026-01-02T09:15:00Z')"
        )
        stage.fill()
        move(stage, Side.POSTGRES)
        stage.postgres.execute("UPDATE things SET c_text = 'changed' WHERE id = 2")
        stage.postgres.execute("UPDATE things SET c_boolean = false, c_timestamp = '2026-02-03' WHERE id = 3")
        stage.round()
        move(stage, Side.SQLITE)
        assert stage.sqlite.execute("SELECT c_boolean, c_timestamp FROM things ORDER BY id").fetchall() == [
            ("true", "2026-01-02T09:15:00Z"),
            ("true", "2026-01-02T09:15:00Z"),
            ("false", "2026-02-03 00:00:00.000000"),
        ]
        assert stage.mismatches("things") == []


def test_every_conversion_has_a_case() -> None:
    untested = CONVERSIONS.keys() - {policy for _, policy in chosen()}
    # SQLite itself turns 5.0 into 5 in an INTEGER column, and 5 into a text in a column that is declared as one.
    # A text of digits in a TEXT column, which is a number on PostgreSQL, is in test_spellings and test_recommended_files.
    # A real is widened here; test_narrow_types has the case of one that stays.
    assert untested == {"integral_real", "number_as_text", "round_real", "text_as_number"}
    assert CONVERSIONS["number_as_text"](5) == "5"
    texts = ("-007", "1.50", "1e2", "1,5", " 5", "0.1000000000000000055", "1e400", "٣")
    assert list(map(CONVERSIONS["text_as_number"], texts)) == [-7, 1.5, 100.0, *texts[3:]]


def test_integral_real_where_sqlite_keeps_the_real(postgres_server: EmbeddedPostgres, tmp_path: Path) -> None:
    """A column of no declared type keeps 5.0 a real."""
    name = f"dirty_{uuid.uuid4().hex[:12]}"
    choices = '[tables.t]\nn = "integral_real"\n'
    with staged(
        tmp_path,
        postgres_server.create_database(name),
        ["CREATE TABLE t (id INTEGER PRIMARY KEY, n)"],
        ["CREATE TABLE t (id bigint PRIMARY KEY, n bigint)"],
        choices,
    ) as stage:
        stage.write("INSERT INTO t VALUES (1, 5.0), (2, 5.5)")
        stage.fill()
        assert stage.on_postgres("t") == {1: {"id": 1, "n": 5}}
        assert stage.quarantined()["t", "2"][1] == "real 5.5 in an integer column"
    postgres_server.drop_database(name)


def test_quarantine_content_is_json_that_any_tool_reads(copied: tuple[Stage, Report]) -> None:
    stage, _ = copied
    for (content,) in stage.postgres.execute("SELECT content FROM st_quarantine").fetchall():
        assert json.loads(content)
        assert content.isascii()


def test_all_kinds_are_covered() -> None:
    assert {column.removeprefix("c_") for column in KINDS} >= {kind.value for kind in Kind}
