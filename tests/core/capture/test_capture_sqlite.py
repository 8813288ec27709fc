"""P1 on SQLite: whatever a stranger's connection changes is in the log, and apply brings it over.

A case is one transaction (or several) of plain SQL on a connection that knows nothing of us. What really
changed is found by comparing the file before and after; the log has to name at least these keys.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from app.db.common.urls import Side
from tests.support.contents import difference
from tests.support.dying.zygote import Zygote
from tests.support.pairs import TestPair
from tests.support.shapes import HOSTILE, HOSTILE_KEY, HOSTILE_VALUE, ident

H, HK, HV = ident(HOSTILE), ident(HOSTILE_KEY), ident(HOSTILE_VALUE)

CASES: dict[str, list[str]] = {
    "insert": ["INSERT INTO item (name) VALUES ('new')"],
    "insert_select": ["INSERT INTO counter (n) SELECT qty FROM item"],
    "insert_default_values": ["INSERT INTO counter DEFAULT VALUES"],
    "update": ["UPDATE item SET qty = 99 WHERE id = 2"],
    "bulk_update": ["UPDATE item SET qty = qty + 1"],
    "update_from": ["UPDATE item SET qty = o.id FROM owner o WHERE o.id = item.id"],
    "delete": ["DELETE FROM item WHERE id = 3"],
    "delete_without_where": ["DELETE FROM item"],
    "delete_and_reinsert_same_id": [
        "BEGIN",
        "DELETE FROM item WHERE id = 1",
        "INSERT INTO item (id, name) VALUES (1, 'again')",
        "COMMIT",
    ],
    "delete_and_reinsert_in_two_transactions": [
        "DELETE FROM item WHERE id = 1",
        "INSERT INTO item (id, name) VALUES (1, 'again')",
    ],
    "primary_key_change": ["UPDATE item SET id = 100 WHERE id = 1"],
    "primary_keys_shifted": ["UPDATE item SET id = id + 1000"],
    "replace_on_primary_key": ["REPLACE INTO item (id, name, qty) VALUES (2, 'two again', 7)"],
    "replace_on_unique_name": ["REPLACE INTO item (id, name, qty) VALUES (50, 'two', 7)"],
    "replace_on_unique_pair": ["INSERT OR REPLACE INTO item (name, lane, slot) VALUES ('fresh', 1, 3)"],
    "replace_on_three_rows_at_once": [
        "INSERT OR REPLACE INTO item (id, name, lane, slot) VALUES (4, 'one', 1, 2)"
    ],
    "replace_through_partial_index": [
        "UPDATE item SET qty = -1, note = 'open' WHERE id = 1",
        "INSERT OR REPLACE INTO item (name, qty, note) VALUES ('fresh', -2, 'open')",
    ],
    "update_or_replace_on_unique": ["UPDATE OR REPLACE item SET name = 'one' WHERE id = 2"],
    "update_or_replace_on_primary_key": ["UPDATE OR REPLACE item SET id = 1 WHERE id = 2"],
    "update_or_replace_all_onto_one": ["UPDATE OR REPLACE item SET name = 'same'"],
    "upsert_update": [
        "INSERT INTO item (name, qty) VALUES ('two', 5) ON CONFLICT (name) DO UPDATE SET qty = excluded.qty + 1"
    ],
    "upsert_nothing": ["INSERT INTO item (name) VALUES ('two') ON CONFLICT DO NOTHING"],
    "insert_or_ignore": ["INSERT OR IGNORE INTO item (name) VALUES ('two'), ('fresh')"],
    "insert_or_fail": ["INSERT OR FAIL INTO item (name) VALUES ('fresh'), ('two')"],
    "without_rowid": [
        "INSERT INTO plain VALUES ('d', 9, 'new')",
        "UPDATE plain SET code = 'e' WHERE code = 'a'",
        "DELETE FROM plain WHERE code = 'B'",
    ],
    "without_rowid_replace_on_unique": ["REPLACE INTO plain VALUES ('z', 3, 'took the rank')"],
    "without_rowid_replace_on_key": ["REPLACE INTO plain VALUES ('a', 30, 'took the key')"],
    "text_key": [
        "UPDATE code SET v = 'changed' WHERE code = ''",
        "UPDATE code SET code = 'None' WHERE code = 'ä'",
        "REPLACE INTO code VALUES ('y', 1, 'took the rank')",
    ],
    "replace_on_a_rowid_that_is_no_key": [
        "INSERT OR REPLACE INTO code (rowid, code, rank) VALUES (1, 'z', 30)",
        "UPDATE OR REPLACE code SET oid = 2 WHERE code = 'z'",
    ],
    "uuid_key": [
        "INSERT INTO token VALUES ('00000000000000000000000000000001', 'new')",
        "UPDATE token SET v = 'changed'",
        "DELETE FROM token WHERE id LIKE 'ff%'",
    ],
    "composite_key": [
        "INSERT INTO pairkey VALUES (9007199254740993, 'quote \" and \\ and '' and [1]', 'v')",
        "UPDATE pairkey SET a = 7 WHERE b = ''",
        "DELETE FROM pairkey WHERE a = 1 AND b = 'a'",
        "REPLACE INTO pairkey VALUES (1, 'b', 'replaced')",
    ],
    "cascade": ["PRAGMA foreign_keys = ON", "DELETE FROM owner WHERE id = 2"],
    "set_null": ["PRAGMA foreign_keys = ON", "DELETE FROM pet", "DELETE FROM owner WHERE id = 2"],
    "cascade_by_replace": ["PRAGMA foreign_keys = ON", "REPLACE INTO owner (id, name) VALUES (9, 'bob')"],
    "self_reference": ["PRAGMA foreign_keys = ON", "DELETE FROM node WHERE id = 1"],
    "cycle": [
        "PRAGMA foreign_keys = ON",
        "BEGIN",
        "INSERT INTO chicken VALUES (5, 6)",
        "INSERT INTO egg VALUES (6, 5)",
        "DELETE FROM chicken WHERE id = 1",
        "DELETE FROM egg WHERE id = 1",
        "COMMIT",
    ],
    "savepoint": [
        "BEGIN",
        "UPDATE item SET qty = 1 WHERE id = 1",
        "SAVEPOINT s",
        "DELETE FROM item WHERE id = 2",
        "ROLLBACK TO s",
        "UPDATE item SET qty = 3 WHERE id = 3",
        "RELEASE s",
        "COMMIT",
    ],
    "unique_swap": [
        "BEGIN",
        "UPDATE item SET name = 'tmp' WHERE id = 1",
        "UPDATE item SET name = 'one' WHERE id = 2",
        "UPDATE item SET name = 'two' WHERE id = 1",
        "COMMIT",
    ],
    "hostile_names": [
        f"INSERT INTO {H} VALUES (3, 'r', '%s')",
        f"UPDATE {H} SET {HV} = 'changed' WHERE {HK} = 1",
        f"REPLACE INTO {H} VALUES (9, 'q', 'took the value')",
    ],
    "null_and_empty": [
        "UPDATE item SET note = '' WHERE id = 1",
        "UPDATE item SET note = NULL WHERE id = 2",
    ],
    "temporary_trigger_of_the_writer": [
        "CREATE TEMP TRIGGER mine AFTER INSERT ON item BEGIN UPDATE counter SET n = NEW.id; END",
        "INSERT INTO item (name) VALUES ('new')",
    ],
}


# recursive_triggers decides whether REPLACE fires delete triggers; elsewhere it changes nothing.
_WITH_RECURSIVE = [(case, 1) for case in CASES if "replace" in case or "cascade" in case]


@pytest.mark.parametrize(("case", "recursive"), [*((case, 0) for case in CASES), *_WITH_RECURSIVE])
def test_what_changed_is_logged_and_applied(replicating: TestPair, case: str, recursive: int) -> None:
    lite = replicating.new_lite()
    lite.execute(f"PRAGMA recursive_triggers = {recursive}")
    before = replicating.contents(Side.SQLITE)
    for statement in CASES[case]:
        try:
            lite.execute(statement)
        except sqlite3.IntegrityError:
            assert case == "insert_or_fail"
    changed = difference(before, replicating.contents(Side.SQLITE))
    assert changed or case == "upsert_nothing"
    for table, keys in changed.items():
        assert keys.keys() <= replicating.logged(Side.SQLITE, table)
    replicating.drain()
    replicating.assert_same()


def test_rollback_leaves_no_entry(replicating: TestPair) -> None:
    replicating.lite.execute("BEGIN")
    replicating.lite.execute("UPDATE item SET qty = 0")
    replicating.lite.execute("ROLLBACK")
    assert replicating.log_size(Side.SQLITE) == 0
    with pytest.raises(sqlite3.IntegrityError):
        replicating.lite.execute("INSERT INTO item (id, name) VALUES (77, 'fresh'), (78, 'one')")
    assert replicating.log_size(Side.SQLITE) == 0


def test_the_writer_sees_its_own_row_count_and_row_id(replicating: TestPair) -> None:
    cursor = replicating.lite.execute("INSERT INTO counter (n) VALUES (5)")
    assert (cursor.rowcount, cursor.lastrowid) == (1, 3)
    assert replicating.lite.execute("SELECT last_insert_rowid(), changes()").fetchone() == (3, 1)
    assert replicating.lite.execute("UPDATE counter SET n = 0 RETURNING id").fetchall() == [(1,), (2,), (3,)]


def test_another_process(replicating: TestPair, zygote: Zygote) -> None:
    assert zygote.run("write_sqlite", replicating, "UPDATE item SET qty = 77 WHERE id = 4") == 0
    assert replicating.logged(Side.SQLITE, "item") == {(4,)}


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    qty: Mapped[int]


def _orm(session: Session) -> set[Any]:
    session.add(Item(id=60, name="sixty", qty=1))
    session.get_one(Item, 1).qty = 5
    session.delete(session.get_one(Item, 2))
    return {(60,), (1,), (2,)}


def _bulk(session: Session) -> set[Any]:
    session.execute(sa.update(Item).where(Item.id < 3).values(qty=Item.qty + 1))
    return {(1,), (2,)}


def _core(session: Session) -> set[Any]:
    session.execute(sa.insert(Item.__table__), [{"id": 70 + n, "name": f"n{n}", "qty": n} for n in range(3)])
    session.connection().execute(sa.text("DELETE FROM item WHERE id = 5"))
    return {(70,), (71,), (72,), (5,)}


def _executemany(session: Session) -> set[Any]:
    session.connection().exec_driver_sql(
        "UPDATE item SET qty = ? WHERE id = ?"
        if session.get_bind().dialect.name == "sqlite"
        else "UPDATE item SET qty = %s WHERE id = %s",
        [(9, 1), (9, 4)],
    )
    return {(1,), (4,)}


@pytest.mark.parametrize("write", [_orm, _bulk, _core, _executemany])
def test_sqlalchemy_on_either_side(pair: TestPair, primary: Side, write: Any) -> None:
    engine = sa.create_engine(pair.pair.url(primary))
    with Session(engine) as session:
        expected = write(session)
        session.commit()
    engine.dispose()
    assert pair.logged(primary, "item") >= expected
    pair.drain()
    pair.assert_same()


def test_hundred_thousand_rows_in_one_transaction(pair: TestPair, primary: Side) -> None:
    connection = pair.app(primary)
    connection.execute("BEGIN")
    connection.execute(
        "INSERT INTO counter (id, n) WITH RECURSIVE s (n) AS (SELECT 1000 UNION ALL SELECT n + 1 FROM s "
        "WHERE n < 100999) SELECT n, n FROM s"
    )
    connection.execute("UPDATE counter SET n = -n WHERE id > 90000")
    connection.execute("COMMIT")
    assert pair.drain().changes >= 100_000
    pair.assert_same()
