"""Rows that are wrong together: dirty and missing keys, parents in quarantine, equal rows, wide indexes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from app.db.common.errors import Refused
from app.db.common.urls import Side
from app.db.rows.policy import active_policy
from migration.fill.backfill import Backfill
from migration.preflight.run import run
from migration.verify.run import Verify
from tests.data.dirty.dirty_stage import Stage, move, staged

Make = Callable[..., AbstractContextManager[Stage]]
Ddl = tuple[list[str], list[str]]

PARENT_AND_CHILD: Ddl = (
    [
        "CREATE TABLE parent (id INTEGER PRIMARY KEY, ok BOOLEAN)",
        "CREATE TABLE child (id INTEGER PRIMARY KEY, parent_id INTEGER REFERENCES parent ON DELETE SET NULL)",
    ],
    [
        "CREATE TABLE parent (id bigint PRIMARY KEY, ok boolean)",
        "CREATE TABLE child (id bigint PRIMARY KEY, "
        "parent_id bigint CONSTRAINT child_parent REFERENCES parent ON DELETE SET NULL)",
    ],
)
TWO_PART_KEY: Ddl = (
    ["CREATE TABLE t (a TEXT, b INTEGER, v TEXT, PRIMARY KEY (a, b))"],
    ["CREATE TABLE t (a text, b bigint, v text, PRIMARY KEY (a, b))"],
)
TEXT_KEY: Ddl = (
    ["CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT)"],
    ['CREATE TABLE t (id text COLLATE "C" PRIMARY KEY, v text)'],
)
SLOTS: Ddl = (
    [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, who TEXT, at DATETIME)",
        "CREATE UNIQUE INDEX slot ON t (who, at)",
    ],
    [
        "CREATE TABLE t (id bigint PRIMARY KEY, who text, at timestamp)",
        "CREATE UNIQUE INDEX slot ON t (who, at)",
    ],
)
SHORT, LONG, AS_T = "2026-01-02 09:15:00", "2026-01-02 09:15:00.000000", "2026-01-02T09:15:00"


@pytest.fixture
def make(tmp_path: Path, pg_url: str) -> Iterator[Make]:
    def of(ddl: Ddl, choices: str = "") -> AbstractContextManager[Stage]:
        return staged(tmp_path, pg_url, ddl[0], ddl[1], choices)

    yield of


def test_children_of_a_quarantined_parent_are_not_lost(make: Make) -> None:
    with make(PARENT_AND_CHILD) as stage:
        stage.write("INSERT INTO parent VALUES (1, 1), (2, 2)", "INSERT INTO child VALUES (1, 1), (2, 2)")
        stage.fill()
        stage.write("INSERT INTO child VALUES (3, 2)")
        stage.round()
        assert stage.on_postgres("child").keys() == {1, 2, 3}
        assert stage.quarantined().keys() == {("parent", "2")}

        # The operator accepts the loss of that row by name; its children go along as orphans.
        stage.postgres.execute("UPDATE st_quarantine SET accepted_by = 'me', accepted_at = 1")
        move(stage, Side.POSTGRES)
        assert stage.on_postgres("child").keys() == {1, 2, 3}
        valid = stage.postgres.execute(
            "SELECT convalidated FROM pg_constraint WHERE conname = 'child_parent'"
        ).fetchone()
        assert valid == (False,)


def test_repaired_parent_joins_its_children(make: Make) -> None:
    with make(PARENT_AND_CHILD) as stage:
        stage.write("INSERT INTO parent VALUES (2, 'true')", "INSERT INTO child VALUES (2, 2)")
        stage.fill()
        stage.write("UPDATE parent SET ok = 1")
        stage.round()
        assert stage.quarantined() == {}
        assert stage.mismatches("parent") == stage.mismatches("child") == []


def test_orphans_stay_as_they_are(make: Make) -> None:
    with make(PARENT_AND_CHILD) as stage:
        stage.write("INSERT INTO child VALUES (1, 9)")
        stage.fill()
        assert stage.on_postgres("child")[1]["parent_id"] == 9
        assert stage.sqlite.execute("SELECT parent_id FROM child").fetchone() == (9,)


def test_orphans_are_cleared_on_both_sides_where_chosen(make: Make) -> None:
    choices = '[tables.child]\nparent_id = "set_null_orphan"\n'
    with make(PARENT_AND_CHILD, choices) as stage:
        stage.write("INSERT INTO parent VALUES (1, 1)", "INSERT INTO child VALUES (1, 9), (2, 1), (3, NULL)")
        orphan = next(
            item for item in run(stage.path, None, active_policy()).findings if item.code == "row.orphan"
        )
        assert (orphan.policies, orphan.chosen) == (("set_null_orphan",), ("set_null_orphan",))
        stage.fill()
        assert stage.sqlite.execute("SELECT parent_id FROM child ORDER BY id").fetchall() == [
            (None,),
            (1,),
            (None,),
        ]
        assert stage.mismatches("child") == []


def test_clearing_orphans_of_what_is_no_nullable_foreign_key_is_refused(make: Make) -> None:
    policy = '[tables.child]\nid = "set_null_orphan"\n'
    with (
        make(PARENT_AND_CHILD, policy) as stage,
        pytest.raises(Refused, match=r"child\.id: values of a key are"),
    ):
        stage.prepare()


@pytest.mark.parametrize("chunk_rows", [1, 2, 20_000])
def test_rows_with_dirty_or_missing_keys_are_all_in_quarantine(make: Make, chunk_rows: int) -> None:
    with make(TEXT_KEY) as stage:
        stage.write(
            "INSERT INTO t VALUES ('a', '1'), (NULL, 'first'), (NULL, 'second'), (x'00ff', 'blob'), "
            "(CAST(x'62ff' AS TEXT), 'bad bytes'), ('c' || char(0), 'nul'), ('d', '2'), ('e', '3')"
        )
        stage.fill(chunk_rows)
        rows = stage.quarantined()
        assert {content["v"]["text"] for _, _, content in rows.values()} == {
            "first",
            "second",
            "blob",
            "bad bytes",
            "nul",
        }
        assert stage.on_postgres("t").keys() == {"a", "d", "e"}
        assert {item.key_text() for item in stage.mismatches("t")} == {key for _, key in rows}
        assert Verify(stage.applier, chunk_rows=chunk_rows).run().clean

        stage.write(
            "UPDATE t SET v = 'touched' WHERE typeof(id) <> 'text' OR v IN ('bad bytes', 'nul')",
            "INSERT INTO t VALUES (NULL, 'third')",
        )
        stage.round()
        # The two rows without a key are now equal in every value, and so one entry.
        held = Counter(content["v"]["text"] for _, _, content in stage.quarantined().values())
        assert held == {"touched": 4, "third": 1}

        stage.write("UPDATE t SET id = 'k' || rowid WHERE v IN ('touched', 'third')")
        stage.round()
        assert stage.quarantined() == {}
        assert stage.mismatches("t") == []


def test_dirty_parts_of_a_key_of_two_columns(make: Make) -> None:
    with make(TWO_PART_KEY) as stage:
        stage.write(
            "INSERT INTO t VALUES ('x', 1, 'good'), ('x', 'one', 'text'), ('x', NULL, 'null'), "
            "('x' || char(0), 1, 'nul'), ('x', 1.5, 'real')"
        )
        stage.fill()
        assert len(stage.quarantined()) == 4
        stage.write("UPDATE t SET v = v || '!'")
        stage.round()
        assert len(stage.quarantined()) == 4
        assert [row["v"] for row in on_postgres_without_id(stage)] == ["good!"]
        stage.write("DELETE FROM t WHERE v <> 'good!'")
        stage.round()
        assert stage.quarantined() == {}
        assert stage.mismatches("t") == []


def on_postgres_without_id(stage: Stage) -> list[dict[str, object]]:
    rows = stage.postgres.execute("SELECT a, b, v FROM t").fetchall()
    return [dict(zip(("a", "b", "v"), row, strict=True)) for row in rows]


def test_equal_rows_are_named_by_preflight_and_refused_by_backfill(make: Make) -> None:
    with make(SLOTS) as stage:
        stage.write(
            f"INSERT INTO t VALUES (1, 'x', '{SHORT}'), (2, 'x', '{LONG}'), (3, 'y', '{SHORT}'), "
            f"(4, NULL, '{SHORT}'), (5, NULL, '{LONG}'), (6, 'x', '{AS_T}')"
        )
        found = [item for item in run(stage.path, None, active_policy()).blocking if item.table == "t"]
        assert [(item.code, item.column, item.count, item.keys) for item in found] == [
            ("row.duplicate", "who, at", 3, ("1 = 2 = 6",))
        ]
        with pytest.raises(Refused) as refused:
            stage.fill()
        assert str(refused.value) == (
            "unique key slot on t cannot be built: Key (who, at)=(x, 2026-01-02 09:15:00) is duplicated. "
            "Rows with keys 1; 2; 6 are equal there - change or delete all but one of them on SQLite, "
            "then repeat; nothing is copied again"
        )
        assert refused.value.reasons == ("1", "2", "6")
        assert stage.on_postgres("t").keys() == {1, 2, 3, 4, 5, 6}

        stage.write("UPDATE t SET who = who || id WHERE id IN (2, 6)")
        assert Backfill(stage.applier).run() == 0
        assert stage.applier.stores.postgres.read_control().phase == "replicating"
        assert stage.mismatches("t") == []


@pytest.mark.parametrize(
    ("rule", "keys"),
    [
        ("(v) NULLS NOT DISTINCT", "1; 2; 5"),
        ("(n) WHERE v IS NULL", "1; 2"),
        ("(lower(v)) WHERE n = 2", "3; 4"),
    ],
)
def test_equal_rows_are_named_whatever_the_unique_index_covers(
    tmp_path: Path, pg_url: str, rule: str, keys: str
) -> None:
    ours = ["CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, n INTEGER)"]
    theirs = [
        "CREATE TABLE t (id bigint PRIMARY KEY, v text, n bigint)",
        f"CREATE UNIQUE INDEX u ON t {rule}",
    ]
    with staged(tmp_path, pg_url, ours, theirs) as stage:
        stage.write("INSERT INTO t VALUES (1, NULL, 1), (2, NULL, 1), (3, 'q', 2), (4, 'Q', 2), (5, NULL, 3)")
        with pytest.raises(Refused, match=f"Rows with keys {keys} are equal there"):
            stage.fill()


def test_an_equal_row_written_during_dual_write_waits_in_quarantine(make: Make) -> None:
    with make(SLOTS) as stage:
        stage.write(f"INSERT INTO t VALUES (1, 'x', '{SHORT}')")
        stage.fill()
        stage.write(f"INSERT INTO t VALUES (2, 'x', '{LONG}')", "INSERT INTO t VALUES (3, 'z', NULL)")
        assert stage.round().refused == 1
        assert stage.quarantined()["t", "2"][:2] == (
            "slot",
            'PostgreSQL: duplicate key value violates unique constraint "slot" '
            "(Key (who, at)=(x, 2026-01-02 09:15:00) already exists.)",
        )
        assert stage.on_postgres("t").keys() == {1, 3}
        stage.write("UPDATE t SET who = 'other' WHERE id = 2")
        stage.round()
        assert stage.quarantined() == {}
        assert stage.mismatches("t") == []


def test_rows_that_swap_unique_values_do_not_go_to_quarantine(make: Make) -> None:
    with make(SLOTS) as stage:
        stage.write(f"INSERT INTO t VALUES (1, 'x', '{LONG}'), (2, 'y', '{LONG}')")
        stage.fill()
        stage.write(
            "UPDATE t SET who = 'z' WHERE id = 1",
            "UPDATE t SET who = 'x' WHERE id = 2",
            "UPDATE t SET who = 'y' WHERE id = 1",
            # A row that only the server refuses makes the round go row by row.
            "INSERT INTO t VALUES (3, 'w', '9999-12-31 23:59:59.999999')",
        )
        assert stage.round().refused == 0
        assert stage.mismatches("t") == []


WIDE: Ddl = (
    ["CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)", "CREATE INDEX ix ON t (a)"],
    ["CREATE TABLE t (id bigint PRIMARY KEY, a text)", "CREATE INDEX ix ON t (a)"],
)


def test_a_text_too_long_for_an_index_is_refused_and_later_quarantined(make: Make) -> None:
    with make(WIDE) as stage:
        stage.write("INSERT INTO t VALUES (1, hex(randomblob(8000))), (2, 'short')")
        with pytest.raises(Refused) as refused:
            stage.fill()
        assert refused.value.message.startswith("index ix on t cannot be built: index row ")
        stage.write("UPDATE t SET a = 'short too' WHERE id = 1")
        Backfill(stage.applier).run()
        assert stage.mismatches("t") == []

        stage.write("UPDATE t SET a = hex(randomblob(8000)) WHERE id = 2", "INSERT INTO t VALUES (3, 'next')")
        assert stage.round().refused == 1
        assert stage.quarantined()["t", "2"][1].startswith("PostgreSQL: index row ")
        assert stage.on_postgres("t").keys() == {1, 3}


def test_the_server_checks_that_sqlite_does_not_have(make: Make) -> None:
    ddl = (
        ["CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)"],
        ["CREATE TABLE t (id bigint PRIMARY KEY, n bigint CONSTRAINT positive CHECK (n > 0))"],
    )
    with make(ddl) as stage:
        stage.write("INSERT INTO t VALUES (1, 1), (2, -1)")
        stage.fill()
        stage.write("INSERT INTO t VALUES (3, -3), (4, 4)")
        stage.round()
        assert {key: held[0] for key, held in stage.quarantined().items()} == {
            ("t", "2"): "positive",
            ("t", "3"): "positive",
        }
        assert stage.on_postgres("t").keys() == {1, 4}
