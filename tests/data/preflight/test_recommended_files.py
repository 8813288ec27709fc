"""`preflight --write` writes files; whoever uses them has exactly these findings less."""

from __future__ import annotations

import json
import sqlite3
import tomllib
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.db.common.urls import Side, connect_arguments, parse_url
from app.db.revisions.source.chosen import make_source
from app.db.rows.policy import VARIABLE, Policy, active_policy, load_policy
from migration.preflight import values
from migration.preflight.findings import remedies
from migration.preflight.findings.report import Finding, Report, Severity
from migration.preflight.findings.wording import Group, Place, finding
from migration.preflight.run import run
from migration.verbs.cli import main
from tests.data.preflight.preflight_files import sqlite_file


def blocking(report: dict[str, Any]) -> set[str]:
    """The codes of what blocks."""
    return {item["code"] for item in report["findings"] if item["severity"] == "blocks"}


def awkward(path: Path, arguments: dict[str, Any]) -> None:
    """A SQLite file and PostgreSQL tables with much to advise on."""
    sqlite_file(
        path,
        'CREATE TABLE "odd ""t" (id INTEGER PRIMARY KEY, "fl.ag" BOOLEAN, at DATETIME, note TEXT, '
        'parent INTEGER REFERENCES "odd ""t" (id))',
        "INSERT INTO \"odd \"\"t\" VALUES (1, 'yes', '', 'x' || char(0), NULL), (2, 'no', 1767225600, 'y', 99)",
        'CREATE TRIGGER noisy AFTER INSERT ON "odd ""t" BEGIN UPDATE "odd ""t" SET note = upper(note); END',
    )
    with psycopg.connect(autocommit=True, **arguments) as server:
        name = server.info.dbname
        server.execute(
            'CREATE TABLE "odd ""t" (id bigint PRIMARY KEY, "fl.ag" boolean, at timestamp, note text, '
            'parent bigint REFERENCES "odd ""t" (id))'
        )
        server.execute('CREATE TABLE outside (id bigint REFERENCES "odd ""t" (id))')
        server.execute(f'ALTER DATABASE "{name}" SET session_replication_role = replica'.encode())


def run_files(path: Path, arguments: dict[str, Any], on_sqlite: Path, on_postgres: Path) -> None:
    """What an operator does with two files of the advice."""
    with sqlite3.connect(path) as connection:
        connection.executescript(on_sqlite.read_text(encoding="utf-8"))
    connection.close()
    with psycopg.connect(autocommit=True, **arguments) as server:
        server.execute(on_postgres.read_bytes())


def test_using_the_files_takes_away_exactly_what_they_speak_of(
    tmp_path: Path, pg_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, arguments = tmp_path / "a.db", connect_arguments(parse_url(pg_url, name="test"))
    awkward(path, arguments)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)

    def preflight(*more: str) -> tuple[int, dict[str, Any]]:
        active_policy.cache_clear()
        capsys.readouterr()
        given = ("--schema", "existing", "--leave-out", "outside", "--json", *more)
        code = main(["preflight", "--sqlite", str(path), "--postgres", pg_url, *given])
        return code, json.loads(capsys.readouterr().out)

    code, before = preflight("--write", "advice")
    folder = Path("advice")
    files = ["migration.toml", "sqlite.sql", "postgres.sql", "undo-sqlite.sql", "undo-postgres.sql"]
    assert (code, before["written"]) == (1, [f"advice/{file}" for file in files])
    text = (folder / "migration.toml").read_text(encoding="utf-8")
    assert '; to clear them: parent = "set_null_orphan"\n' in text and "; choose one: epoch_" in text
    (folder / "sqlite.sql").rename("kept.sql")
    code, refused = preflight("--write", "advice")
    assert (code, refused["message"]) == (2, "advice/migration.toml exists already: nothing was written")
    assert not (folder / "sqlite.sql").exists()
    run_files(path, arguments, Path("kept.sql"), folder / "postgres.sql")
    monkeypatch.setenv(VARIABLE, "advice/migration.toml")
    code, after = preflight("--write", "again")
    active_policy.cache_clear()
    assert blocking(before) == blocking(after) | {
        "value.empty_text", "value.not_boolean", "value.nul", "schema.trigger", "postgres.triggers_off", "postgres.foreign_key",
    }  # fmt: skip
    assert (code, blocking(after)) == (
        1,
        {"value.storage_class"},
    )  # seconds or milliseconds: nobody has chosen
    assert load_policy(Path(after["written"][0])).columns == load_policy(folder / "migration.toml").columns
    run_files(path, arguments, folder / "undo-sqlite.sql", folder / "undo-postgres.sql")
    taken_back = {
        "schema.trigger",
        "postgres.triggers_off",
        "postgres.foreign_key",
    }
    assert blocking(preflight()[1]) >= taken_back
    active_policy.cache_clear()


def test_what_only_warns_is_a_comment() -> None:
    warns = Finding("a.b", Severity.WARNS, "w", on_postgres="SET x = 1;\nSET y = 2", undo="RESET x")
    report = Report((warns,), 1, 1, 0.0)
    for text in (remedies.statements_text(report, Side.POSTGRES), remedies.undo_text(report, Side.POSTGRES)):
        assert text and all(line.startswith("--") for line in text.splitlines() if line)


def test_choices_in_force_are_kept_and_several_that_fit_are_left_to_people() -> None:
    policy = Policy(None, {('a "b', "c.d"): ("number_as_text",), ("z", "y"): ("refuse",)})

    def written(*policies: str) -> dict[str, Any]:
        nul = Finding("value.nul", Severity.BLOCKS, "a\nb", table='a "b', column="c.d", policies=policies)
        same = replace(nul, table="z", column="y", policies=("strip_nul",))
        return tomllib.loads(remedies.policy_text(Report((nul, same), 1, 1, 0.0), policy))["tables"]  # type: ignore[no-any-return]

    kept = {"z": {"y": ["refuse"]}}
    assert written("strip_nul") == {'a "b': {"c.d": ["number_as_text", "strip_nul"]}, **kept}
    assert written("strip_nul", "blob_as_text") == {'a "b': {"c.d": ["number_as_text"]}, **kept}
    assert remedies.policy_text(Report((), 1, 1, 0.0), policy) == ""


def lines(path: Path, *findings: Finding) -> dict[tuple[str, str], tuple[str, ...]]:
    """What a file says that has the line of each remedy, as a person types them."""
    said = (item.remedy.partition("migration.toml: ")[2].partition(" (or")[0] for item in findings)
    path.write_text("\n".join(dict.fromkeys(said)))
    return dict(load_policy(path).columns)


def test_a_finding_names_a_policy_as_the_line_of_its_file(tmp_path: Path) -> None:
    group = Group(count=1, left=1, fits={"strip_nul", "replace_invalid_utf8"})
    found = finding(Place("Order lines", "due-at"), "value.nul", group)
    assert lines(tmp_path / "migration.toml", found) == {("Order lines", "due-at"): ("strip_nul",)}


MIXED = """
CREATE TABLE kv (key TEXT PRIMARY KEY, value);
INSERT INTO kv VALUES ('a', 1), ('b', 'two'), ('c', x'03'), ('d', 2.5), ('e', NULL);
CREATE TABLE visit (id INTEGER PRIMARY KEY, at DATETIME, ok BOOLEAN, gone TIMESTAMPTZ, owner TEXT);
INSERT INTO visit VALUES (1, '', '', 2460310.5, '7'), (2, 1700000000, 'true', 2460311, '70000000000'),
    (3, '2024-01-02', 1, '2024-01-02 03:04:05.1234567+02:00', NULL), (4, '2024-01-02T03:04:05Z', 2, NULL, NULL),
    (5, NULL, 'Y', 1e300, NULL), (6, 'soon', 0, NULL, NULL);
"""
MIXED_THERE = """CREATE TABLE kv (key text PRIMARY KEY, value text);
    CREATE TABLE visit (id integer PRIMARY KEY, at timestamp, ok boolean, gone timestamptz, owner bigint)"""


@pytest.mark.parametrize("tried", [2, values.TRIED_VALUES])
def test_one_line_for_each_column_reads_what_it_holds(
    tmp_path: Path, pg_url: str, tried: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(values, "TRIED_VALUES", tried)
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("app.db")) as connection:
        connection.executescript(MIXED)
    with psycopg.connect(**connect_arguments(parse_url(pg_url, name="url"))) as there:
        there.execute(MIXED_THERE)

    def found(policy: Policy) -> tuple[Finding, ...]:
        return run(
            Path("app.db"), parse_url(pg_url, name="url"), policy, source=make_source("existing")
        ).findings

    assert lines(Path("migration.toml"), *(item for item in found(Policy()) if item.policies)) == {
        ("kv", "value"): ("number_as_text", "blob_as_text"),
        ("visit", "at"): ("empty_is_null", "epoch_seconds", "date_is_midnight", "iso_with_offset"),
        ("visit", "ok"): ("empty_is_null", "true_false_text", "nonzero_is_true"),
        ("visit", "gone"): ("julian_day", "cut_fraction"),
        ("visit", "owner"): ("text_as_number",),
    }
    left = found(load_policy(Path("migration.toml")))
    assert {(item.place, item.keys) for item in left if item.severity is Severity.BLOCKS} == {
        ("visit.at", ("6",)),
        ("visit.gone", ("5",)),
    }


def test_of_several_policies_that_fit_each_says_what_it_would_make_of_a_value() -> None:
    group = Group(count=2, left=2, fits={"epoch_millis", "epoch_seconds"}, example=1767596400)
    assert finding(Place("t", "at"), "value.storage_class", group).remedy.partition("tables.")[2] == (
        "t.at = 'epoch_seconds' (or 'epoch_millis'): integer 1767596400 becomes text '2026-01-05 07:00:00.000000' by "
        "epoch_seconds and text '1970-01-21 10:59:56.400000' by epoch_millis"
    )


def test_a_key_of_which_no_value_fits_is_not_to_be_left_out() -> None:
    group = Group(count=2, left=2)
    told = [
        finding(Place("t", "c", rows=2, is_key=key), "value.not_integer", group).remedy
        for key in (False, True)
    ]
    assert ["--leave-out" in remedy for remedy in told] == [True, False]
    assert all("another type" in remedy for remedy in told)
