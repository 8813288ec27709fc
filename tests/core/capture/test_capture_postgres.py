"""P1 on PostgreSQL: the same promise, with the statements that only PostgreSQL has."""

from __future__ import annotations

import psycopg
import pytest

from app.db.common.urls import Side
from tests.support.contents import difference
from tests.support.dying.zygote import Zygote
from tests.support.pairs import TestPair
from tests.support.shapes import HOSTILE, HOSTILE_KEY, HOSTILE_VALUE, ident

H, HK, HV = ident(HOSTILE), ident(HOSTILE_KEY), ident(HOSTILE_VALUE)

CASES: dict[str, list[str]] = {
    "insert": ["INSERT INTO item (name) VALUES ('new') RETURNING id"],
    "bulk_update": ["UPDATE item SET qty = qty + 1"],
    "update_from": ["UPDATE item SET qty = o.id FROM owner o WHERE o.id = item.id"],
    "delete": ["DELETE FROM item WHERE id = 3"],
    "delete_using": ["DELETE FROM item USING owner WHERE owner.id = item.id"],
    "delete_and_reinsert_same_id": [
        "BEGIN",
        "DELETE FROM item WHERE id = 1",
        "INSERT INTO item (id, name) VALUES (1, 'again')",
        "COMMIT",
    ],
    "primary_key_change": ["UPDATE item SET id = 100 WHERE id = 1"],
    "on_conflict_update": [
        "INSERT INTO item (name, qty) VALUES ('two', 5), ('fresh', 6) "
        "ON CONFLICT (name) DO UPDATE SET qty = excluded.qty + 1"
    ],
    "on_conflict_nothing": ["INSERT INTO item (name) VALUES ('two'), ('fresh') ON CONFLICT DO NOTHING"],
    "merge": [
        "MERGE INTO item t USING (VALUES (1, 'one'), (2, 'two'), (90, 'ninety')) s (id, name) ON t.id = s.id "
        "WHEN MATCHED AND t.id = 1 THEN DELETE WHEN MATCHED THEN UPDATE SET qty = 5 "
        "WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name)"
    ],
    "writing_cte": [
        "WITH gone AS (DELETE FROM item WHERE id < 3 RETURNING id) INSERT INTO counter (n) SELECT id FROM gone"
    ],
    "truncate": ["TRUNCATE item"],
    "truncate_then_insert": [
        "BEGIN",
        "TRUNCATE item",
        "INSERT INTO item (id, name) VALUES (1, 'a')",
        "COMMIT",
    ],
    "truncate_several": ["TRUNCATE owner, pet, loan, stray"],
    "truncate_cascade": ["TRUNCATE owner CASCADE"],
    "cascade": ["UPDATE stray SET owner_id = 2", "DELETE FROM owner WHERE id = 1"],
    "set_null": ["DELETE FROM pet", "DELETE FROM owner WHERE id = 2"],
    "self_reference": ["DELETE FROM node WHERE id = 1"],
    "cycle": [
        "BEGIN",
        "INSERT INTO chicken VALUES (5, 6)",
        "INSERT INTO egg VALUES (6, 5)",
        "DELETE FROM egg WHERE id = 1",
        "DELETE FROM chicken WHERE id = 1",
        "COMMIT",
    ],
    "savepoint": [
        "BEGIN",
        "SAVEPOINT s",
        "DELETE FROM item WHERE id = 2",
        "ROLLBACK TO s",
        "UPDATE item SET qty = 3 WHERE id = 3",
        "COMMIT",
    ],
    "text_key": ["UPDATE code SET code = 'None' WHERE code = 'ä'", "DELETE FROM code WHERE code = ''"],
    "uuid_key": [
        "INSERT INTO token VALUES ('00000000-0000-0000-0000-000000000001', 'new')",
        "UPDATE token SET v = 'changed'",
        "DELETE FROM token WHERE id::text LIKE 'ff%'",
    ],
    "composite_key": [
        "INSERT INTO pairkey VALUES (9007199254740993, 'quote \" and \\ and '' and [1]', 'v')",
        "UPDATE pairkey SET a = 7 WHERE b = ''",
        "DELETE FROM pairkey WHERE a = 1 AND b = 'a'",
    ],
    "hostile_names": [
        f"INSERT INTO {H} VALUES (3, 'r', '%s')",
        f"UPDATE {H} SET {HV} = 'changed' WHERE {HK} = 1",
        f"DELETE FROM {H} WHERE {HK} = 2",
    ],
    "unique_swap": [
        "BEGIN",
        "UPDATE item SET name = 'tmp' WHERE id = 1",
        "UPDATE item SET name = 'one' WHERE id = 2",
        "UPDATE item SET name = 'two' WHERE id = 1",
        "COMMIT",
    ],
    "function": ["DO $$ BEGIN UPDATE item SET qty = 8 WHERE id = 4; END $$"],
}


@pytest.mark.parametrize("case", CASES)
def test_what_changed_is_logged_and_applied(promoted: TestPair, case: str) -> None:
    before = promoted.contents(Side.POSTGRES)
    for statement in CASES[case]:
        promoted.pg.execute(statement.encode())
    changed = difference(before, promoted.contents(Side.POSTGRES))
    assert changed
    for table, keys in changed.items():
        logged = promoted.logged(Side.POSTGRES, table)
        assert (None,) in logged or keys.keys() <= logged
    promoted.drain()
    promoted.assert_same()


def test_copy_from_a_client(promoted: TestPair) -> None:
    with promoted.pg.cursor().copy("COPY counter (id, n) FROM STDIN") as copy:
        for n in range(700):
            copy.write_row((1000 + n, n))
    assert promoted.drain().changes == 700
    promoted.assert_same()


def test_another_process(promoted: TestPair, zygote: Zygote) -> None:
    assert zygote.run("write_postgres", promoted, "UPDATE item SET qty = 77 WHERE id = 4") == 0
    assert promoted.logged(Side.POSTGRES, "item") == {(4,)}


def test_rollback_leaves_no_entry(promoted: TestPair) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        promoted.pg.execute("INSERT INTO item (id, name) VALUES (77, 'fresh'), (78, 'one')")
    with promoted.pg.transaction(force_rollback=True):
        promoted.pg.execute("UPDATE item SET qty = 0")
    assert promoted.log_size(Side.POSTGRES) == 0


def test_a_role_without_rights_on_the_log_is_captured_too(promoted: TestPair) -> None:
    promoted.pg.execute("CREATE ROLE poor")
    try:
        promoted.pg.execute("GRANT SELECT, UPDATE ON item TO poor")
        promoted.pg.execute("SET ROLE poor")
        promoted.pg.execute("UPDATE item SET qty = 5 WHERE id = 1")
        promoted.pg.execute("RESET ROLE")
        assert promoted.logged(Side.POSTGRES, "item") == {(1,)}
    finally:
        promoted.pg.execute("RESET ROLE")
        promoted.pg.execute("DROP OWNED BY poor")
        promoted.pg.execute("DROP ROLE poor")
