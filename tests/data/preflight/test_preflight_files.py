"""What preflight says of SQLite files: damage, locks, revisions, what it leaves alone, and policies."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app.db.common.errors import ConfigurationError
from app.db.rows.conversions import CONVERSIONS
from app.db.rows.policy import VARIABLE, Policy, active_policy, load_policy
from migration.preflight.findings.report import Finding, Report, Severity, in_order
from migration.preflight.rows import check_expressions
from migration.preflight.run import about_rows, run
from tests.data.preflight.preflight_files import about_tables, codes, sqlite_file

TABLE = "CREATE TABLE t (id INTEGER PRIMARY KEY, flag BOOLEAN, at DATETIME, note TEXT)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return sqlite_file(
        tmp_path / "a.db",
        TABLE,
        "INSERT INTO t VALUES (1, 1, '2026-01-02 09:15:00.000000', 'x'), (2, 'true', '', NULL)",
    )


def test_the_revision_is_compared_with_the_code(path: Path) -> None:
    finding = next(item for item in run(path, None, Policy()).findings if item.code == "alembic.revision")
    assert finding.reason.startswith("the SQLite file is at revision none, the code at ")
    assert finding.severity is Severity.BLOCKS


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database at all, only some text that is long enough" * 20)
    with pytest.raises(ConfigurationError, match="cannot be read: file is not a database"):
        run(tmp_path / "text.db", None, Policy())


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no SQLite file"):
        run(tmp_path / "none.db", None, Policy())
    assert not list(tmp_path.iterdir())


def test_a_damaged_page_is_a_finding_and_not_a_crash(tmp_path: Path) -> None:
    path = sqlite_file(
        tmp_path / "a.db",
        TABLE,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) "
        "INSERT INTO t SELECT i, 1, NULL, hex(randomblob(40)) FROM n",
    )
    raw = bytearray(path.read_bytes())
    raw[4096 * 3 : 4096 * 3 + 2000] = b"\xff" * 2000
    path.write_bytes(raw)
    found = run(path, None, Policy())
    assert {item.code for item in found.blocking} & {"sqlite.damaged", "sqlite.unreadable"}


def test_a_write_lock_held_by_somebody_else(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        report = run(path, None, Policy())
    assert "sqlite.locked" in {item.code for item in report.findings}
    assert report.rows == 2


def test_a_writer_at_work_in_wal_mode_is_no_hindrance(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO t (id) VALUES (3)")
        assert run(path, None, Policy()).rows == 2
        other.execute("COMMIT")
        assert run(path, None, Policy()).rows == 3


def test_a_file_that_may_not_be_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The tests may run as root, who may write everything.
    monkeypatch.setattr("migration.preflight.file.os.access", lambda place, mode: place != path.parent)
    probe = next(item for item in run(path, None, Policy()).findings if item.code.startswith("sqlite.not"))
    assert probe.severity is Severity.BLOCKS


def test_preflight_changes_no_byte(path: Path) -> None:
    before = path.read_bytes()
    run(path, None, Policy())
    assert path.read_bytes() == before
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_another_encoding_is_named(tmp_path: Path) -> None:
    path = sqlite_file(
        tmp_path / "a.db", "PRAGMA encoding = 'UTF-16le'", TABLE, "INSERT INTO t (id) VALUES (1)"
    )
    assert "sqlite.encoding" in codes(path)


def test_declared_checks_are_found_whatever_stands_around_them() -> None:
    assert check_expressions(
        "CREATE TABLE t (a TEXT DEFAULT 'CHECK (no)', -- CHECK (not this)\n"
        "\"CHECK (\" TEXT, b CHECK (b IN (1, (2))) /* CHECK (nor this) */, CHECK(a <> ')'))"
    ) == ["b IN (1, (2))", "a <> ')'"]


def test_findings_offer_the_policies_that_fit(path: Path) -> None:
    assert [
        (item.column, item.code, item.keys, item.policies) for item in about_tables(run(path, None, Policy()))
    ] == [
        ("at", "value.empty_text", ("2",), ("empty_is_null",)),
        ("flag", "value.not_boolean", ("2",), ("true_false_text",)),
    ]


def test_a_chosen_policy_that_fits_makes_it_information(path: Path) -> None:
    policy = Policy(None, {("t", "at"): ("empty_is_null",), ("t", "flag"): ("true_false_text",)})
    report = run(path, None, policy)
    assert {(item.severity, item.chosen) for item in about_tables(report)} == {
        (Severity.INFO, ("empty_is_null",)),
        (Severity.INFO, ("true_false_text",)),
    }


def test_a_chosen_policy_that_does_not_fit_blocks_still(path: Path) -> None:
    report = run(path, None, Policy(None, {("t", "flag"): ("nonzero_is_true",)}))
    flag = next(item for item in report.blocking if item.column == "flag")
    assert (flag.chosen, flag.policies) == (("nonzero_is_true",), ("true_false_text",))


def test_policies_that_can_never_apply(path: Path) -> None:
    policy = Policy(
        Path("migration.toml"),
        {
            ("t", "id"): ("integral_real",),
            ("t", "note"): ("epoch_seconds",),
            ("t", "gone"): ("strip_nul",),
            ("nothing", "a"): ("strip_nul",),
            ("t", "flag"): ("refuse",),
        },
    )
    found = {(item.code, item.place) for item in run(path, None, policy).blocking}
    assert {item for item in found if item[0].startswith("policy.")} == {
        ("policy.key_column", "t.id"),
        ("policy.kind", "t.note"),
        ("policy.unknown_column", "t.gone"),
        ("policy.unknown_column", "nothing.a"),
    }


def test_a_policy_may_make_rows_equal_and_that_is_seen_before(tmp_path: Path) -> None:
    path = sqlite_file(
        tmp_path / "a.db",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE)",
        "INSERT INTO t VALUES (1, 'a'), (2, 'a' || char(0))",
    )
    assert "row.duplicate" not in codes(path)
    assert "row.duplicate" in codes(path, Policy(None, {("t", "name"): ("strip_nul",)}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[tables.orders]\nqty = "round_it"\n',
            "table orders, column qty: unknown policy 'round_it' - known are "
            f"{', '.join(sorted([*CONVERSIONS, 'refuse', 'set_null_orphan']))}",
        ),
        ("tables = 1\n", "tables is not a table - see migration.toml.example"),
        ("[tables]\norders = 'x'\n", "tables.orders is not a table - see migration.toml.example"),
        ("[orders]\nqty = 'refuse'\n", "unknown section 'orders' - columns stand under [tables.<table>]"),
    ],
)
def test_a_bad_policy_file_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "chosen.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as error:
        load_policy(path)
    assert str(error.value) == f"{path}: {message}"


def test_a_policy_file_that_is_not_toml(tmp_path: Path) -> None:
    path = tmp_path / "chosen.toml"
    path.write_text("[tables", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="is not TOML"):
        load_policy(path)


def test_a_policy_file_that_is_named_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none.toml"))
    active_policy.cache_clear()
    with pytest.raises(ConfigurationError, match=r"none\.toml cannot be read"):
        active_policy()


def test_the_policy_file_beside_the_process_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    active_policy.cache_clear()
    assert active_policy() == Policy()
    (tmp_path / "migration.toml").write_text('[tables.t]\na = ["strip_nul", "replace_invalid_utf8"]\n')
    active_policy.cache_clear()
    assert active_policy().chosen("t", "a") == ("strip_nul", "replace_invalid_utf8")
    active_policy.cache_clear()


def test_the_example_file_is_valid() -> None:
    example = Path(__file__).resolve().parents[3] / "migration.toml.example"
    assert load_policy(example).columns


def test_the_documentation_names_every_policy_and_every_finding() -> None:
    root = Path(__file__).resolve().parents[3]
    text = (root / "docs" / "dirty-data.md").read_text(encoding="utf-8")
    assert [name for name in CONVERSIONS if f"`{name}`" not in text] == []
    folders = (root / "migration" / "preflight", root / "backend/app/db/revisions/source")
    read = [path for folder in folders for path in folder.rglob("*.py")]
    source = "\n".join(path.read_text(encoding="utf-8") for path in read)
    assert len(finding_codes(source)) > 60
    assert [code for code in sorted(finding_codes(source)) if f"`{code}`" not in text] == []


def finding_codes(source: str) -> set[str]:

    areas = "value|row|schema|policy|sqlite|postgres|alembic"
    return set(re.findall(rf'"((?:{areas})\.[a-z0-9_]+)"', source)) | {
        f"value.not_{kind}"
        for kind in ("integer", "float", "timestamp", "date", "time", "blob", "numeric", "uuid")
    }


def test_the_worst_comes_first() -> None:
    mild = Finding("value.infinity", Severity.INFO, "a")
    bad = Finding("value.nul", Severity.BLOCKS, "b")
    report = Report(in_order([mild, bad]), 0, 0, 0.0)
    assert report.findings == (bad, mild)
    assert report.blocking == (bad,)


def test_how_many_rows_a_file_has_is_no_sum_of_ids_that_jump(tmp_path: Path) -> None:
    path = sqlite_file(
        tmp_path / "a.db",
        "CREATE TABLE jumps (id INTEGER PRIMARY KEY)",
        "CREATE TABLE counts (id INTEGER PRIMARY KEY)",
        "INSERT INTO jumps VALUES (3), (1234567890123456789)",
        "INSERT INTO counts VALUES (1), (2), (3)",
    )
    assert about_rows(path) == 5
