"""Tables that the application's own installer made: compared, refused by name, never changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest

from app.db.common.urls import Side, parse_url
from app.db.sides.locks import QUIET
from tests.operator.anyapp.conftest import Stranger

Make = Callable[..., Stranger]
EXISTING = ("--schema", "existing")
_TYPES = (
    "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a "
    "JOIN pg_class c ON c.oid = a.attrelid WHERE c.relname IN ('role', 'person') AND a.attnum > 0 ORDER BY 1, 2"
)


def test_the_whole_trip_with_tables_of_the_installer(stranger: Make) -> None:
    app = stranger()
    types = app.pg(_TYPES)
    assert app.done("preflight", *EXISTING).outcome == "clean"
    app.done("prepare", *EXISTING)
    app.done("backfill")
    app.lite("UPDATE person SET visits = 8 WHERE id = 1; DELETE FROM person WHERE id = 2")
    app.done("worker", "--until-drained")
    app.done("verify")
    assert app.done("cutover").outcome == "moved"
    assert app.pg(_TYPES) == types
    app.pg("INSERT INTO person (role_id, name) VALUES (2, 'Grace')")
    app.done("worker", "--until-drained")
    app.done("verify")
    app.done("rollback")
    assert app.lite("SELECT name, visits, thumbnail FROM person ORDER BY name") == [
        ("Ada", 8, b"\x00\xff"),
        ("Grace", 0, None),
    ]
    app.done("cutover")
    app.done("complete", "--yes")
    assert app.pg("SELECT name FROM person ORDER BY name") == [("Ada",), ("Grace",)]
    assert app.pg("SELECT id FROM django_migrations") == [(5,)]
    with pytest.raises(Exception, match="takes no application writes"):
        app.lite("INSERT INTO django_migrations VALUES (2, 'second')")


def test_a_sequence_that_belongs_to_no_column_is_set_by_its_name_or_beyond_the_keys_that_are_left(
    stranger: Make,
) -> None:
    """As a Sequence of SQLAlchemy or a generator of Hibernate makes it: the application asks for the numbers."""
    tables = "".join(
        f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, {name}_no INTEGER);"
        for name in ("car", "car_part", "tool")
    )
    sequences = "".join(
        f"CREATE SEQUENCE {name};" for name in ("car_id_seq", "seq_car_part_no", "car_part_seq", "everything")
    )
    rows = "INSERT INTO car VALUES (500, 1); INSERT INTO car_part VALUES (40, 7000); INSERT INTO tool VALUES (90000, 3)"
    app = stranger(on_sqlite=tables + rows, on_postgres=tables + sequences)
    told = [
        item
        for item in app.done("preflight", *EXISTING).data["findings"]
        if item["code"] == "postgres.free_sequence"
    ]
    assert [item["reason"].rpartition("largest ")[2] for item in told] == [
        "car.id", "car_part.id", "tool.id", "car_part.car_part_no",
    ]  # fmt: skip
    app.done("run", *EXISTING)
    app.done("cutover")
    drawn = ("car_id_seq", "seq_car_part_no", "car_part_seq", "everything")
    numbers = [app.pg(f"SELECT nextval('{name}')")[0][0] for name in drawn]
    assert all(low < number <= low + 101 for number, low in zip(numbers, (500, 7000, 40, 90000), strict=True))


def test_abort_puts_back_what_the_installer_made_and_seeded(stranger: Make) -> None:
    app = stranger()
    before = app.dump()
    rows = app.pg("SELECT * FROM role ORDER BY id")
    app.done("prepare", *EXISTING)
    app.done("backfill")
    app.lite("INSERT INTO role VALUES (3, 'guest')")
    app.done("worker", "--until-drained")
    app.done("abort", "--yes", app.url.rpartition("/")[2].partition("?")[0])
    assert app.dump() == before
    assert app.pg("SELECT * FROM role ORDER BY id") == rows
    assert app.pg("SELECT count(*) FROM person") == [(0,)]


def test_seeded_rows_are_fine_when_equal_and_refused_by_key_when_not(stranger: Make) -> None:
    app = stranger(
        on_postgres="UPDATE role SET name = 'boss' WHERE id = 1; INSERT INTO role VALUES (9, 'other')"
    )
    answer = app.run("preflight", *EXISTING)
    assert list(answer.blocking()) == [("postgres.not_empty", "role")]
    assert (
        "have other values on SQLite or are not on SQLite" in answer.blocking()["postgres.not_empty", "role"]
    )
    refused = app.run("prepare", *EXISTING)
    assert (refused.code, refused.data["codes"]) == (1, ["postgres.not_empty"])
    assert app.pg("SELECT count(*) FROM role") == [(3,)]
    name = app.url.rpartition("/")[2].partition("?")[0]
    app.done("prepare", *EXISTING, "--discard-target", "--yes", name)
    app.done("backfill")
    app.done("verify")
    assert app.pg("SELECT * FROM role ORDER BY id") == [(1, "admin"), (2, "reader")]


def test_what_does_not_fit_is_named_before_anything_is_changed(stranger: Make) -> None:
    app = stranger(
        "INSERT INTO person VALUES (3, 1, 'a name of many letters', 0, NULL), (4, 1, 'Bo', 5000000000, NULL), "
        "(5, 1, 'Bo', 1, NULL); CREATE TABLE only_there (at DATETIME, on_ BOOLEAN); INSERT INTO only_there VALUES (17, 2);"
        "CREATE TABLE _litestream_lock (id INTEGER); CREATE TABLE bun_migrations (id INTEGER)",
        "ALTER TABLE person ADD COLUMN extra text; CREATE UNIQUE INDEX one_name ON person (name); "
        "ALTER TABLE role DROP CONSTRAINT role_pkey CASCADE; ALTER TABLE role ADD PRIMARY KEY (name); "
        "CREATE TABLE only_here (id integer PRIMARY KEY)",
    )
    found = app.run("preflight", *EXISTING).blocking()
    assert found.keys() == {
        ("value.too_long", "person.name"),
        ("value.too_large", "person.visits"),
        ("row.duplicate", "person.name"),
        ("schema.drift", "person.extra"),
        ("schema.drift", "only_here"),
        ("schema.drift", "only_there"),
        ("schema.key", "role"),
    }
    before = app.dump()
    assert app.run("prepare", *EXISTING).code == 1
    assert app.dump() == before
    assert app.lite("SELECT name FROM sqlite_master WHERE name GLOB 'st_*'") == []


def test_without_tables_on_postgres_it_says_who_has_to_make_them(stranger: Make) -> None:
    app = stranger(install=False)
    app.pg("CREATE TABLE of_somebody_else (id integer)")
    answer = app.run("prepare", *EXISTING)
    assert (answer.code, answer.data["codes"]) == (1, ["schema.not_installed"])
    assert "the application's own installer" in answer.text


def test_a_row_that_the_installer_s_column_refuses_goes_to_quarantine(stranger: Make) -> None:
    app = stranger()
    app.done("prepare", *EXISTING)
    app.done("backfill")
    app.lite("INSERT INTO person VALUES (3, 1, 'a name of many letters', 0, NULL)")
    app.done("worker", "--until-drained")
    held = app.done("quarantine", "list").data["rows"]
    assert [(row["table"], row["key"]) for row in held] == [("person", "3")]


def test_a_column_that_is_left_out_is_named_and_stays_on_its_side(stranger: Make) -> None:
    app = stranger(on_postgres="ALTER TABLE person DROP COLUMN thumbnail")
    remedy = next(
        item["remedy"]
        for item in app.run("preflight", *EXISTING).data["findings"]
        if item["column"] == "thumbnail"
    )
    assert "--leave-out person.thumbnail" in remedy
    out = ("--leave-out", "person.thumbnail")
    told = app.done("preflight", *EXISTING, *out)
    assert "its values are lost to the side that is moved to" in told.text
    assert "left out, with all their values: person.thumbnail" in app.done("prepare", *EXISTING, *out).text
    app.done("backfill")
    app.lite("UPDATE person SET name = 'Lovelace' WHERE id = 1")
    app.done("worker", "--until-drained")
    assert app.done("verify").data["left_out"] == ["person.thumbnail"]
    app.done("cutover")
    assert app.pg("SELECT name FROM person WHERE id = 1") == [("Lovelace",)]
    assert app.lite("SELECT thumbnail FROM person WHERE id = 1") == [(b"\x00\xff",)]
    assert "person.thumbnail" in app.done("complete", "--yes").text


def test_a_key_or_a_needed_column_cannot_be_left_out(stranger: Make) -> None:
    app = stranger()
    found = app.run(
        "preflight",
        *EXISTING,
        "--leave-out",
        "role.id",
        "--leave-out",
        "person.role_id",
        "--leave-out",
        "nothing",
    ).blocking()
    assert found.keys() == {
        ("schema.excluded_key", "role.id"),
        ("schema.excluded_needed", "person.role_id"),
        ("schema.unknown_exclude", ""),
    }


_LONG = "person_name_and_visits_as_an_installer_names_it_that_spells_all_columns"
_SEARCH = (
    "CREATE VIRTUAL TABLE found USING fts5 (name, content='person', content_rowid='id')",
    "CREATE TRIGGER found_i AFTER INSERT ON person BEGIN INSERT INTO found (rowid, name) VALUES (new.id, new.name); END",
    "CREATE TRIGGER found_d AFTER DELETE ON person BEGIN "
    "INSERT INTO found (found, rowid, name) VALUES ('delete', old.id, old.name); END",
    "CREATE TABLE visit_log (id INTEGER PRIMARY KEY, person INTEGER)",
    f"CREATE INDEX {_LONG}_1 ON person (name, visits)",
    f"CREATE INDEX {_LONG}_2 ON person (visits, name)",
)


def test_a_full_text_index_is_left_out_whole_and_follows_its_table_on_the_way_back(stranger: Make) -> None:
    app = stranger(on_postgres="; CREATE TABLE visit_log (id integer PRIMARY KEY, person integer)")
    connection = sqlite3.connect(app.path)
    for statement in _SEARCH:
        connection.execute(statement)
    connection.execute("INSERT INTO found (found) VALUES ('rebuild')")
    connection.commit()
    connection.close()
    assert app.run("preflight", *EXISTING).blocking().keys() == {("schema.virtual_table", "found")}
    out = (*EXISTING, "--leave-out", "found")
    assert app.done("preflight", *out).outcome == "clean"
    app.done("run", *out)
    assert app.done("preflight").outcome == "clean"  # the pair knows how its tables were made
    app.done("cutover")
    app.pg("INSERT INTO person (role_id, name) VALUES (2, 'Grace'); DELETE FROM person WHERE name = 'Ada'")
    app.done("worker", "--until-drained")
    app.done("verify")
    app.done("rollback")
    assert app.lite("SELECT name FROM found WHERE found MATCH 'grace OR ada'") == [("Grace",)]


def test_a_guarded_trigger_outlives_the_move(stranger: Make) -> None:
    app = stranger(
        "CREATE TABLE visit_log (id INTEGER PRIMARY KEY, person INTEGER);",
        "; CREATE TABLE visit_log (id integer PRIMARY KEY, person integer)",
    )
    app.done("prepare", *EXISTING)
    connection = sqlite3.connect(app.path)
    connection.execute(
        f"CREATE TRIGGER logs AFTER UPDATE ON person WHEN ({QUIET[Side.SQLITE]}) AND new.visits > 1 "
        "BEGIN INSERT INTO visit_log (person) VALUES (new.id); END"
    )
    connection.close()
    app.done("abort", "--yes", app.url.rpartition("/")[2].partition("?")[0])
    app.lite("UPDATE person SET visits = 9 WHERE id = 1; UPDATE person SET visits = 0 WHERE id = 2")
    assert app.lite("SELECT person FROM visit_log") == [(1,)]


def test_a_type_without_a_form_is_named_with_the_statement_that_gives_it_one(stranger: Make) -> None:
    app = stranger(
        "ALTER TABLE person ADD COLUMN mark NUMERIC;", "; ALTER TABLE person ADD COLUMN mark money"
    )
    answer = app.run("preflight", *EXISTING)
    assert answer.blocking().keys() == {("schema.type", "person.mark")}
    (remedy,) = [item["remedy"] for item in answer.data["findings"] if item["severity"] == "blocks"]
    assert "--leave-out person.mark" in remedy
    app.pg(remedy.partition(" (on")[0])
    assert app.done("preflight", *EXISTING).outcome == "clean"


def test_tables_of_another_role_are_named_with_what_to_grant(stranger: Make) -> None:
    app = stranger()
    owner = app.url
    role = f"mover_{app.url.rpartition('/')[2].partition('?')[0]}"
    app.pg(
        f"CREATE ROLE {role} LOGIN PASSWORD 'x'; CREATE ROLE {role}_owner; GRANT CREATE ON SCHEMA public TO {role};"
        f"ALTER TABLE role OWNER TO {role}_owner; ALTER TABLE person OWNER TO {role}_owner; "
        f"ALTER TABLE django_migrations OWNER TO {role}_owner"
    )
    try:
        app.url = parse_url(owner, name="url").set(username=role, password="x").render_as_string(False)
        answer = app.run("preflight", *EXISTING)
        assert answer.blocking().keys() == {("postgres.owner", "")}
        remedy = next(item["remedy"] for item in answer.data["findings"] if item["code"] == "postgres.owner")
        grant = remedy[remedy.index("GRANT") :]
        mover, app.url = app.url, owner
        app.pg(grant)
        app.url = mover
        app.done("run", *EXISTING)
    finally:
        app.url = owner
        app.pg(
            f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}; DROP OWNED BY {role}_owner CASCADE; DROP ROLE {role}_owner"
        )


def test_row_level_security_that_hides_rows_is_named(stranger: Make) -> None:
    app = stranger()
    owner = app.url
    role = f"owner_{app.url.rpartition('/')[2].partition('?')[0]}"
    owned = "; ".join(
        f"ALTER TABLE {table} OWNER TO {role}" for table in ("role", "person", "django_migrations")
    )
    app.pg(f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT CREATE ON SCHEMA public TO {role}; {owned}")
    forced = "ALTER TABLE person ENABLE ROW LEVEL SECURITY; ALTER TABLE person FORCE ROW LEVEL SECURITY"
    app.pg(forced)
    app.url = parse_url(owner, name="url").set(username=role, password="x").render_as_string(False)
    try:
        (finding,) = [
            one for one in app.run("preflight", *EXISTING).data["findings"] if one["severity"] == "blocks"
        ]
        assert (finding["code"], finding["table"]) == ("schema.row_security", "person")
        assert "schema.row_security" in app.run("prepare", *EXISTING).data["codes"]
        app.pg(finding["remedy"].partition(" (on")[0])
        app.done("prepare", *EXISTING)
        app.done("backfill")
        app.pg(forced)
        stood = app.run("verify")
        assert stood.code == 1 and "NO FORCE ROW LEVEL SECURITY" in stood.data["hint"]
    finally:
        app.url = owner
        app.pg(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def test_the_pair_remembers_its_source(stranger: Make) -> None:
    app = stranger()
    app.done("prepare", *EXISTING)
    assert app.done("prepare").outcome == "already_prepared"
    refused = app.run("prepare", "--schema", "alembic")
    assert (refused.code, refused.data["message"]) == (1, "the pair is prepared with --schema existing")


def test_a_column_made_on_one_side_closes_the_schema_gate(stranger: Make) -> None:
    app = stranger()
    app.done("prepare", *EXISTING)
    app.done("backfill")
    app.done("verify")
    app.lite("ALTER TABLE person ADD COLUMN email TEXT")
    gates = app.run("cutover", "--dry-run").data["gates"]
    gate = next(gate for gate in gates if gate["name"] == "schema")
    assert not gate["ok"]
    assert "column person.email is only on SQLite" in gate["detail"]
    assert "st-migrate schema -- COMMAND" in gate["remedy"]
    app.lite("ALTER TABLE person DROP COLUMN email")
    app.pg("ALTER TABLE person SET UNLOGGED")
    said = app.run("status").data["blocks"]
    assert any("(ALTER TABLE person SET LOGGED (on PostgreSQL))" in line for line in said)
    assert not any("by hand" in line for line in said)


def test_a_column_of_which_no_value_fits_is_no_matter_for_quarantine(stranger: Make) -> None:
    tables = (
        "CREATE TABLE seen (id INTEGER PRIMARY KEY, at {}); CREATE TABLE odd (id INTEGER PRIMARY KEY, at {});"
    )
    rows = "INSERT INTO seen VALUES (1, 'x'), (2, 'y'); INSERT INTO odd VALUES (1, 'x'), (2, 5)"
    app = stranger(tables.format("TEXT", "INTEGER") + rows, ";" + tables.format("bigint", "bigint"))
    remedies = {item["table"]: item["remedy"] for item in app.run("preflight", *EXISTING).data["findings"]}
    assert "--leave-out seen.at" in remedies["seen"] and "quarantine" not in remedies["seen"]
    assert "quarantine" in remedies["odd"]
    app.pg("ALTER TABLE seen ALTER COLUMN at TYPE text")
    assert [place for _, place in app.run("preflight", *EXISTING).blocking()] == ["odd.at"]
