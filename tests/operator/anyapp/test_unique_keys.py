"""Tables without a primary key: a unique key names their rows, or the operator makes one for the time of the move."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing

from tests.operator.anyapp.conftest import Stranger

EXISTING = ("--schema", "existing")
Make = Callable[..., Stranger]
ON_SQLITE = """
CREATE TABLE page (name TEXT, version INTEGER, body TEXT, UNIQUE (name, version));
INSERT INTO page VALUES ('Start', 1, 'a'), ('Start', 2, 'b'), ('End', 1, 'c');
CREATE TABLE claim (brid INTEGER NOT NULL, worker TEXT NOT NULL, token TEXT UNIQUE, CONSTRAINT one UNIQUE (brid), UNIQUE (worker, brid));
INSERT INTO claim VALUES (1, 'w', 't'), (2, 'w', NULL);
"""
ON_POSTGRES = """;
CREATE TABLE page (name text, version integer, body text, PRIMARY KEY (name, version));
CREATE TABLE claim (brid integer NOT NULL, worker text NOT NULL, token text UNIQUE, UNIQUE (worker, brid), UNIQUE (brid))
"""


def test_a_unique_key_stands_in_on_the_whole_trip(stranger: Make) -> None:
    app = stranger(ON_SQLITE, ON_POSTGRES)
    app.done("run", *EXISTING)
    with closing(sqlite3.connect(app.path)) as connection, connection:
        connection.execute("INSERT OR REPLACE INTO page VALUES ('Start', 2, 'replaced')")
        connection.execute("UPDATE page SET version = 7 WHERE name = 'End'")
        connection.execute("INSERT OR REPLACE INTO claim VALUES (3, 'v', 't')")
    app.done("worker", "--until-drained")
    app.done("cutover")
    claims = [(2, "w", None), (3, "v", "t")]
    assert app.pg("SELECT * FROM claim ORDER BY brid") == claims
    app.pg("UPDATE page SET name = 'Fin' WHERE name = 'End'; DELETE FROM claim WHERE brid = 2")
    app.done("worker", "--until-drained")
    app.done("verify")
    app.done("rollback")
    assert app.lite("SELECT * FROM page ORDER BY name, version") == [
        ("Fin", 7, "c"), ("Start", 1, "a"), ("Start", 2, "replaced"),
    ]  # fmt: skip
    assert app.lite("SELECT * FROM claim") == claims[1:]


def test_the_remedies_of_tables_that_one_side_cannot_name_do_what_they_say(stranger: Make) -> None:
    app = stranger(
        "CREATE TABLE other (a INTEGER PRIMARY KEY, b INTEGER NOT NULL UNIQUE);"
        "CREATE TABLE link (a INTEGER, b INTEGER); CREATE TABLE loose (a INTEGER, b TEXT);"
        "CREATE TABLE wide (a INTEGER, b INTEGER, c INTEGER, d INTEGER);"
        'CREATE TABLE "Odd ""one" (a INTEGER, "B" TEXT, UNIQUE (a, "B"));'
        "CREATE TABLE told (a INTEGER, b TEXT COLLATE NOCASE, c TEXT, d INTEGER);"
        "INSERT INTO told VALUES (1, 'x', 'y', 1), (1, 'y', 'Y', 1), (2, 'z', 'y', NULL);"
        "CREATE TABLE twice (a INTEGER); INSERT INTO twice VALUES (1), (1);"
        "CREATE TABLE joins (a INTEGER, b TEXT); INSERT INTO joins VALUES (1, 'x'), (2, 'x');"
        "CREATE TABLE facts (a INTEGER NOT NULL, b TEXT NOT NULL, c TEXT NOT NULL, d TEXT);"
        f"INSERT INTO facts VALUES (1, 'x', '{'long' * 99}', 'y'), (2, 'x', 'z', 'y');",
        "; CREATE TABLE other (a integer NOT NULL, b integer NOT NULL UNIQUE);"
        "CREATE TABLE link (a integer, b integer, PRIMARY KEY (b, a)); CREATE TABLE loose (a integer, b text);"
        "CREATE TABLE wide (a integer, b integer, c integer, d integer);"
        'CREATE TABLE "Odd ""one" (a integer, "B" text, UNIQUE (a, "B"));'
        "CREATE TABLE told (a integer, b text, c text, d integer); CREATE TABLE joins (a integer, b text);"
        "CREATE TABLE facts (a integer, b text, c text, d text); CREATE TABLE twice (a integer)",
    )
    found = {
        item["table"]: item
        for item in app.run("preflight", *EXISTING).data["findings"]
        if item["severity"] == "blocks"
    }
    assert {table: item["code"] for table, item in found.items()} == {
        "link": "schema.no_primary_key",
        "loose": "schema.no_primary_key",
        "wide": "schema.no_primary_key",
        "told": "schema.no_primary_key",
        "joins": "schema.no_primary_key",
        "twice": "schema.no_primary_key",
        "facts": "schema.no_primary_key",
        'Odd "one': "schema.key",
        "other": "schema.key",
    }
    assert (
        '(COLUMN, ...) (on SQLite), and ALTER TABLE "wide" ADD PRIMARY KEY (COLUMN, ...) (on PostgreSQL)'
        in found["wide"]["remedy"]
    )
    assert found["twice"]["remedy"].startswith("leave the table out: --leave-out twice,")
    app.lite("DELETE FROM twice WHERE rowid = 1; CREATE UNIQUE INDEX twice_names_rows ON twice (a)")
    app.pg("ALTER TABLE twice ADD PRIMARY KEY (a)")
    # A row of tomorrow that links the same parent again is not refused: the other columns join the key.
    for table, columns in (
        ("loose", '("a", "b")'),
        ("told", '("a", "c")'),
        ("joins", '("a", "b")'),
        ("facts", '("a", "b")'),
    ):
        made = re.search(
            r"(CREATE .+) \(on SQLite\), and (ALTER .+) \(on PostgreSQL\), if no", found[table]["remedy"]
        )
        assert made is not None and columns in made[1]
        app.lite(made[1])
        app.pg(made[2])
    assert "by nothing on PostgreSQL" in found['Odd "one']["reason"]
    app.lite(found["link"]["on_sqlite"])
    app.pg(found['Odd "one']["on_postgres"] + ";" + found["other"]["on_postgres"])
    app.lite("CREATE UNIQUE INDEX wide_names_rows ON wide (a)")
    app.pg("ALTER TABLE wide ADD PRIMARY KEY (a)")
    assert app.done("preflight", *EXISTING).outcome == "clean"
    app.done("prepare", *EXISTING)


def test_a_column_that_folds_names_no_rows_and_the_remedy_says_so(stranger: Make) -> None:
    """A comparison with it would find rows of other keys, whatever index stands over it."""
    app = stranger(
        "CREATE TABLE super (ip TEXT NOT NULL, server TEXT NOT NULL COLLATE NOCASE); CREATE UNIQUE INDEX named ON super (ip, server);",
        "; CREATE TABLE super (ip text NOT NULL, server text NOT NULL, PRIMARY KEY (ip, server))",
    )
    app.lite("CREATE UNIQUE INDEX bytewise ON super (ip, server COLLATE BINARY)")
    answer = app.run("preflight", *EXISTING)
    assert list(answer.blocking()) == [("schema.no_primary_key", "super")]
    (remedy,) = [item["remedy"] for item in answer.data["findings"] if item["severity"] == "blocks"]
    assert remedy.startswith("leave the table out: --leave-out super,")
    app.done("prepare", *EXISTING, "--leave-out", "super")


def test_a_row_with_null_in_a_key_that_stands_in_is_refused_by_its_table_and_columns(stranger: Make) -> None:
    app = stranger(ON_SQLITE + "INSERT INTO page VALUES ('Lost', NULL, 'x')", ON_POSTGRES)
    assert ("row.null_key", "page.name, version") in app.run("preflight", *EXISTING).blocking()


def test_a_column_of_a_key_that_stands_in_cannot_be_left_out(stranger: Make) -> None:
    app = stranger(ON_SQLITE, ON_POSTGRES)
    blocks = app.run("preflight", *EXISTING, "--leave-out", "page.version").blocking()
    assert list(blocks) == [("schema.excluded_key", "page.version")]


def test_names_with_other_capitals_are_respelt_by_the_statement_of_the_remedy(stranger: Make) -> None:
    app = stranger(
        "CREATE TABLE userNotes (userId INTEGER PRIMARY KEY,"
        ' Body TEXT REFERENCES "userNotes" (userId), seenAt INTEGER);'
        "CREATE INDEX bodies ON usernotes (body); INSERT INTO usernotes VALUES (1, NULL, 1700000000000000)",
        "; CREATE TABLE userNotes (userId integer PRIMARY KEY, Body text, seenAt bigint)",
    )
    found = [
        item for item in app.run("preflight", *EXISTING).data["findings"] if item["severity"] == "blocks"
    ]
    assert {item["code"] for item in found} == {
        "schema.spelling"
    }  # and no value of a column that is found there
    app.lite(";".join(item["on_sqlite"] for item in found))
    assert app.done("preflight", *EXISTING).outcome == "clean"
    assert app.lite("SELECT userId, Body FROM userNotes") == [(1, None)]


def test_citext_means_what_nocase_means(stranger: Make) -> None:
    app = stranger(
        "CREATE TABLE mail (id INTEGER PRIMARY KEY, at TEXT COLLATE NOCASE UNIQUE, plain TEXT COLLATE NOCASE UNIQUE)",
        "; CREATE EXTENSION citext; CREATE TABLE mail (id integer PRIMARY KEY, at citext UNIQUE, plain text UNIQUE)",
    )
    found = app.done("preflight", *EXISTING).data["findings"]
    assert {item["column"] for item in found if item["table"] == "mail"} == {"plain"}
