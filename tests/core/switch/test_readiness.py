"""One answer to "is the last verify good": what the gates, `complete` and status are told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.db.common.urls import Side
from app.db.switch.state import readiness
from app.db.switch.state.readiness import LastVerify, Objection, verify_objection
from migration.verify import state
from migration.verify.run import Verify, repair
from migration.watch.status import gather
from tests.core.switch.gated import the_only
from tests.data.verify.small_pair import SmallPair
from tests.support.pairs import PlainTables, TestPair

GOOD = LastVerify("x", ("item",), 1.0, 2.0, epoch=3, rows=10, mismatches=0, later=0)


@pytest.mark.parametrize(
    ("change", "command"),
    [
        ({"finished_at": None}, "verify"),
        ({"epoch": 2}, "verify"),
        ({"mismatches": 1}, "verify --repair"),
        ({"later": 1}, "verify --repair"),
        ({"epoch": 2, "mismatches": 1}, "verify"),
    ],
)
def test_a_verify_that_does_not_count(change: dict[str, Any], command: str) -> None:
    objection = verify_objection(replace(GOOD, **change), 3)
    assert objection is not None
    assert objection.command == command


def test_a_verify_that_counts() -> None:
    assert verify_objection(GOOD, 3) is None
    assert verify_objection(None, 3) == Objection("there is no finished verify", "verify")


def test_a_later_mismatch_holds_up_the_end_of_the_move_and_shows_in_status(promoted: TestPair) -> None:
    """A verify of one table leaves the record of the full one alone, and what it found still counts."""
    stores, schema = promoted.applier.stores, promoted.applier.schema()
    state.begin(stores, stores.postgres.read_control(), schema).finish(rows=0, mismatches=0)
    assert readiness.open_points(promoted.applier) == []
    promoted.pg.execute(
        "INSERT INTO st_mismatch (tbl, k, kind, columns, found_at) VALUES ('item', '1', 'missing', '[]', 0)"
    )
    promoted.pg.execute(
        "INSERT INTO st_quarantine (tbl, k, col, reason, content, at) "
        "SELECT 'item', n, 'qty', 'text', '{}', 0 FROM generate_series(1, 9) AS n"
    )
    assert readiness.open_points(promoted.applier) == [
        "a later verify found 1 mismatch: run st-migrate verify --repair",
        "9 rows of sqlite are in quarantine and not accepted: "
        "item 1, item 2, item 3, item 4, item 5, item 6 ...: see st-migrate quarantine list",
    ]
    found = gather(promoted.pair, stores, source=PlainTables())
    assert found.primary is Side.POSTGRES
    assert found.as_json()["next"] == "st-migrate quarantine list"
    assert "a later verify found 1 mismatch" in found.as_json()["blocks"]
    assert found.quarantine is not None
    (check,) = [check for check in found.checks if check.name == "verify"]
    assert (check.command, check.remedy) == ("verify --repair", "run st-migrate verify --repair")
    assert found.quarantine.named == tuple(f"item {n}" for n in range(1, 7))


_REWRITTEN = [
    "ALTER TABLE parents ALTER name TYPE text USING upper(name)",
    "ALTER TABLE parents DROP COLUMN name; ALTER TABLE parents ADD COLUMN name text DEFAULT 'one for all'",
    "ALTER TABLE parents DISABLE TRIGGER USER; UPDATE parents SET name = 'unseen'; DO $$ DECLARE t text; BEGIN "
    "FOR t IN SELECT tgname FROM pg_trigger WHERE tgrelid = 'parents'::regclass AND NOT tgisinternal LOOP "
    "EXECUTE 'ALTER TABLE parents ENABLE ALWAYS TRIGGER ' || t; END LOOP; END $$",
]


@pytest.mark.parametrize("how", _REWRITTEN, ids=["type_using", "column_again", "triggers_off"])
def test_rows_that_ddl_has_changed_on_postgres(module_pair: SmallPair, how: str) -> None:
    """The tables look as before and nothing was logged; only a new verify may open the gate."""
    Verify(module_pair.applier).run()
    with module_pair.applier.stores.postgres.connection.transaction():
        module_pair.applier.stores.postgres.connection.execute(how.encode())
    gate = the_only(module_pair, "verify")
    assert gate.detail == "tables were altered, rebuilt or rewritten since the last verify"
    assert gate.remedy == "run st-migrate verify"
    found = Verify(module_pair.applier).run().mismatches
    assert {item.table for item in found} == {"parents"}
    repair(module_pair.applier, found)
    Verify(module_pair.applier).run()


def test_rows_that_ddl_has_changed_on_sqlite(module_pair: SmallPair) -> None:
    """Triggers away, rows changed, the same triggers again: the inventory sees nothing."""
    Verify(module_pair.applier).run()
    with module_pair.raw_sqlite() as shell:
        triggers = shell.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'parents'"
        ).fetchall()
        shell.execute("BEGIN IMMEDIATE")
        for name, _ in triggers:
            shell.execute(f"DROP TRIGGER {name}")
        shell.execute("UPDATE parents SET name = 'unseen'")
        for _, sql in triggers:
            shell.execute(sql)
        shell.execute("COMMIT")
    shell.close()
    assert the_only(module_pair, "verify").detail.startswith("tables were altered, rebuilt")
    found = Verify(module_pair.applier).run().mismatches
    assert {item.table for item in found} == {"parents"}
    repair(module_pair.applier, found)
    Verify(module_pair.applier).run()
