"""Wrong calls, wrong databases, wrong moments: one clear line, the right exit code, nothing changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL

from app.db.common import errors
from migration.common.failures import failure, redact, secrets_of
from migration.common.outcome import Exit
from migration.verbs.cli import main
from tests.operator.sides import PASSWORD, Cli, Sides, assert_no_secret

AtStage = Callable[[str], Sides]
NOT_ASKED = "postgresql://u@127.0.0.1:1/d"  # what is wrong shows before PostgreSQL is connected to
NEED_A_PAIR = (
    ("prepare",),
    ("backfill",),
    ("worker", "--until-drained"),
    ("verify",),
    ("run",),
    ("copy",),
    ("cutover",),
    ("rollback",),
    ("recover",),
    ("complete", "--yes"),
    ("abort",),
    ("status",),
    ("pause",),
    ("resume",),
    ("history",),
    ("quarantine", "list"),
)
AFTER_PREPARE = tuple(
    verb for verb in NEED_A_PAIR if verb[0] not in ("prepare", "run", "copy", "complete", "abort", "status")
)


def name(verb: tuple[str, ...]) -> str:
    return verb[0]


@pytest.mark.parametrize("verb", NEED_A_PAIR, ids=name)
def test_a_missing_sqlite_file(cli: Cli, tmp_path: Path, verb: tuple[str, ...]) -> None:
    answer = cli(*verb, "--sqlite", str(tmp_path / "nosuch.db"), "--postgres", NOT_ASKED)
    assert (answer.code, answer.data["error"]) == (2, "ConfigurationError")
    assert "there is no SQLite file" in answer.data["message"]
    assert len(answer.err.strip().splitlines()) == 1
    assert not (tmp_path / "nosuch.db").exists()


def test_a_folder_in_which_sqlite_cannot_write(cli: Cli, tmp_path: Path) -> None:
    """As a read-only file system refuses it; root may write in any other folder."""
    path = tmp_path / "app.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = wal")
    connection.close()
    (tmp_path / "app.db-shm").symlink_to(tmp_path / "nosuch" / "folder")
    answer = cli("preflight", "--sqlite", str(path), "--postgres", NOT_ASKED)
    assert answer.code == 2 and f"let this user write in {tmp_path}" in answer.data["hint"]


@pytest.mark.parametrize(
    "options",
    [
        ("--sqlite", "{pg}", "--postgres", "{pg}"),
        ("--sqlite", "x.db", "--postgres", "sqlite:///y.db"),
        ("--sqlite", "mysql://u:{password}@h/d", "--postgres", "{pg}"),
        ("--sqlite", "x.db", "--postgres", "postgres:{password}"),
        ("--sqlite", "x.db", "--postgres", "postgresql://u:{password}@h:port/d"),
        ("--sqlite", "sqlite://", "--postgres", "{pg}"),
        ("--sqlite", "x.db"),
    ],
    ids=["both-postgres", "both-sqlite", "mysql", "no-url", "bad-port", "memory", "one-side"],
)
def test_wrong_urls(cli: Cli, options: tuple[str, ...]) -> None:
    answer = cli("status", *(text.format(pg=NOT_ASKED, password=PASSWORD) for text in options))
    assert (answer.code, answer.data["error"]) == (2, "ConfigurationError"), answer
    assert len(answer.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("nosuch",),
        ("status", "--nosuch"),
        ("cutover", "--max-pause-ms", "0"),
        ("cutover", "--max-pause-ms", "soon"),
        ("backfill", "--workers", "0"),
        ("quarantine", "accept", "--all"),
        ("quarantine", "show", "alerts"),
        ("history", "--limit", "0"),
    ],
    ids=" ".join,
)
def test_wrong_calls(cli: Cli, arguments: tuple[str, ...]) -> None:
    answer = cli(*arguments)
    assert (answer.code, answer.data["error"]) == (2, "UsageError")


def test_a_file_that_is_no_database(cli: Cli, pg_url: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("these are only notes, several of them, longer than a page header is")
    for verb in ("preflight", "prepare", "status"):
        answer = cli(verb, "--sqlite", str(path), "--postgres", pg_url)
        assert (answer.code, answer.data["error"]) == (2, "ConfigurationError")


def test_nothing_is_prepared(at_stage: AtStage) -> None:
    sides = at_stage("fresh")
    for verb in AFTER_PREPARE:
        answer = sides.run(*verb)
        if verb == ("history",):
            assert {event["evidence"]["outcome"] for event in answer.data["events"]} <= {"error"}
            continue
        assert (answer.code, answer.data["error"]) == (2, "NotPrepared"), verb
        assert answer.data["hint"] == "run st-migrate prepare"
    assert sides.traces() == ([], [])


def test_ending_a_move_that_never_began(at_stage: AtStage) -> None:
    sides = at_stage("fresh")
    assert sides.run("complete", "--yes").outcome == "already_complete"
    assert sides.run("abort", "--yes", sides.database).outcome == "already_single"
    assert sides.run("status").data["next"] == "st-migrate preflight"


def test_the_wrong_phase(at_stage: AtStage) -> None:
    sides = at_stage("prepared")
    for verb, code in (("verify", 1), ("cutover", 1), ("rollback", 0), ("complete --yes", 1)):
        assert sides.run(*verb.split()).code == code, verb  # of the rollback: SQLite is primary already
    assert sides.run("status").data["state"] == "copying"


def test_the_file_of_another_pair(at_stage: AtStage) -> None:
    mine, other = at_stage("moved"), at_stage("fresh")
    assert other.run("prepare").code == 0
    crossed = replace(mine, path=other.path)
    for verb in NEED_A_PAIR:
        answer = crossed.run(*verb)
        if verb == ("status",):
            assert answer.data["state"] == "mismatched"
        elif verb == ("history",):
            assert "primary postgres" not in [event["event"] for event in answer.data["events"]]
            assert "pair" in answer.data["missing"][0]
        else:
            assert answer.code in (1, 2), verb
            assert "pair" in answer.data["message"], verb
    assert mine.postgres("SELECT count(*) > 0 FROM alerts") == [(True,)]
    assert mine.writable("postgres") and other.writable("sqlite")


def test_a_plain_file_beside_a_live_postgres(at_stage: AtStage) -> None:
    """The wrong --sqlite must not cost PostgreSQL its rows."""
    mine = at_stage("moved")
    crossed = replace(mine, path=at_stage("fresh").path)
    for verb in (("prepare", "--discard-target"), ("run", "--discard-target"), ("copy",), ("abort",)):
        answer = crossed.run(*verb)
        assert answer.code in (1, 2), verb
    assert mine.postgres("SELECT count(*) FROM alerts") == [(120,)]
    assert crossed.traces()[0] == []


def test_a_wrong_password_and_a_missing_database(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    for url in (sides.url.replace("%23", "%24"), sides.url + "_nosuch"):
        answer = replace(sides, url=url).run("verify")
        assert (answer.code, answer.data["error"]) == (2, "ConfigurationError")


def test_a_user_without_privileges(at_stage: AtStage) -> None:
    sides = at_stage("fresh")
    sides.postgres("DROP ROLE IF EXISTS st_weak; CREATE ROLE st_weak LOGIN PASSWORD 'weak-secret'")
    at = sides.url.rpartition("@")[2]
    weak = replace(sides, url=f"postgresql://st_weak:weak-secret@{at}")
    answer = weak.run("prepare")
    assert (answer.code, answer.data["error"]) == (1, "Refused")
    assert "may not create tables" in answer.data["message"]
    assert "weak-secret" not in answer.err + str(answer.data)
    assert sides.traces() == ([], [])
    owner = at_stage("verified")
    weak = replace(owner, url=f"postgresql://st_weak:weak-secret@{owner.url.rpartition('@')[2]}")
    answer = weak.run("verify")
    assert (answer.code, answer.data["error"]) == (2, "InsufficientPrivilege")
    sides.postgres("DROP ROLE st_weak")


def test_postgres_that_holds_rows_already(at_stage: AtStage) -> None:
    sides = at_stage("moved")
    assert sides.run("complete", "--yes", "--unfence-retired").code == 0
    answer = sides.run("prepare")
    assert (answer.code, answer.data["error"]) == (1, "Refused")
    assert "serves as primary since epoch 2" in answer.data["message"]
    sides.postgres("DROP FUNCTION st_served()")  # as a version without that record left it
    answer = sides.run("prepare")
    assert (answer.code, answer.data["error"]) == (1, "Refused")
    assert "--discard-target" in answer.data["hint"]
    assert sides.postgres("SELECT count(*) FROM alerts") == [(120,)]


def test_a_locked_file(at_stage: AtStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ST_SQLITE_BUSY_TIMEOUT_MS", "50")
    sides = at_stage("fresh")
    other = sqlite3.connect(sides.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    answer = sides.run("prepare")
    other.close()
    assert answer.code in (2, 3) and "locked" in answer.data["message"]
    assert sides.traces() == ([], [])


def test_a_file_that_cannot_be_written(at_stage: AtStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions do not stop root, so the connection itself is read-only here."""
    sides = at_stage("fresh")
    connect = sqlite3.connect

    def read_only(target: str, **options: object) -> sqlite3.Connection:
        return connect(target.replace("mode=rw", "mode=ro"), **options)

    monkeypatch.setattr("app.db.sides.sqlite.connection.sqlite3.connect", read_only)
    answer = sides.run("prepare")
    monkeypatch.undo()
    assert (answer.code, "cannot be written" in answer.data["message"]) == (2, True)
    assert sides.traces() == ([], [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ST_PG_POOL_SIZE", "many"),
        ("ST_DUAL_WRITE", "Sync"),
        ("ST_DUAL_WRITE", ""),
        ("ST_CUTOVER", "yes"),
        ("ST_CUTOVER_HOLD_MS", "-1"),
        ("ST_SHADOW_READS", "on"),
        ("ST_SHADOW_READ_RATE", "nan"),
        # What the databases themselves would refuse at each connection, or take for no time at all.
        ("ST_PG_LOCK_TIMEOUT_MS", "2147483648"),
        ("ST_PG_STATEMENT_TIMEOUT_MS", "2147483648"),
        ("ST_PG_IDLE_TRANSACTION_TIMEOUT_MS", "2147483648"),
        ("ST_SQLITE_BUSY_TIMEOUT_MS", "2147483648"),
    ],
)
def test_a_variable_that_cannot_be_read(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    answer = cli("status", "--sqlite", "x.db")
    assert (answer.code, answer.data["error"]) == (2, "ConfigurationError")
    assert name in answer.data["message"]


def test_an_unexpected_error_is_one_line_and_shows_where_on_request(
    at_stage: AtStage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sides = at_stage("verified")

    def broken(*_: object) -> None:
        raise RuntimeError(f"unforeseen: {sides.url}\nsecond line")

    monkeypatch.setattr("migration.verbs.watch.set_paused", broken)
    answer = sides.run("pause")
    assert (answer.code, answer.data["error"]) == (3, "RuntimeError")
    assert len(answer.err.strip().splitlines()) == 1
    assert main(["pause", "--sqlite", str(sides.path), "--postgres", sides.url, "--debug"]) == 3
    text = "".join(capsys.readouterr())
    assert "Traceback" in text
    assert_no_secret(text)


@pytest.mark.parametrize(
    "error, exit_code",
    [
        (errors.ConfigurationError("m"), Exit.USAGE),
        (errors.NotPrepared("m"), Exit.USAGE),
        (errors.Refused("m"), Exit.FINDINGS),
        (errors.SchemaDrift("m"), Exit.FINDINGS),
        (errors.StaleAttempt("m"), Exit.FAILED),
        (errors.ShadowUnavailable("m"), Exit.FAILED),
        (errors.UnsupportedValue("c", "r"), Exit.FAILED),
        (psycopg.OperationalError("gone"), Exit.FAILED),
        (KeyboardInterrupt(), Exit.FAILED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_kind_of_error_has_its_exit_code(error: BaseException, exit_code: Exit) -> None:
    assert failure(error).exit is exit_code


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (psycopg.OperationalError("server closed the connection"), "went away"),
        (psycopg.errors.AdminShutdown("terminating connection"), "went away"),
        (psycopg.errors.QueryCanceled("canceling statement due to statement timeout"), "gave a statement up"),
        (psycopg.errors.ConfigurationLimitExceeded("temporary file size exceeds"), "gave a statement up"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_server_that_runs_is_not_called_away(error: psycopg.Error, said: str) -> None:
    assert f"PostgreSQL {said}" in failure(error).message


def test_every_form_of_a_password_is_taken_out() -> None:
    secrets = secrets_of(errors_url := _url(PASSWORD))
    for text in (PASSWORD, errors_url.render_as_string(False), "postgresql://u:other@h/d"):
        assert_no_secret(redact(f"x {text} y", secrets))
        assert "other" not in redact(text, secrets)
    assert redact("the primary is postgres", secrets_of(_url("postgres"))) == "the primary is postgres"
    assert redact("text.db: x@h", {"x"}) == "text.db: ***@h"


def _url(password: str) -> URL:
    return URL.create("postgresql+psycopg", "u", password, "h", 1, "d")
