"""Every kind of transaction that an application makes through a session, by name.

Each takes an open session and the primary's side, and leaves the commit to the caller. Together with the
seed rows of tests/support/shapes.py each finds something to change, in any order.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.orm import Session

from app.db.common.urls import Side
from tests.support.backends import Owner, Pet

Transaction = Callable[[Session, Side], None]
_serial = iter(range(10_000, 10_000_000))


def _sql(*statements: str) -> Transaction:
    def run(session: Session, side: Side) -> None:
        for statement in statements:
            session.execute(text(statement))

    return run


def orm_add(session: Session, side: Side) -> None:
    owner = Owner(name=f"added {next(_serial)}")
    session.add(owner)
    session.flush()
    session.add_all([Pet(owner_id=owner.id, v="one"), Pet(owner_id=owner.id, v="two")])


def orm_change(session: Session, side: Side) -> None:
    for owner in session.scalars(select(Owner)):
        owner.name = f"changed {next(_serial)}"


def orm_delete(session: Session, side: Side) -> None:
    pet = session.scalars(select(Pet).order_by(Pet.id.desc())).first()
    if pet is not None:
        session.delete(pet)


def query_delete(session: Session, side: Side) -> None:
    """The table sees deletes only."""
    session.query(Pet).filter(Pet.id < 3).delete()


def delete_of_nothing(session: Session, side: Side) -> None:
    session.execute(delete(Owner).where(Owner.id == -1))


def bulk_insert(session: Session, side: Side) -> None:
    session.execute(insert(Owner), [{"name": f"bulk {next(_serial)}"} for _ in range(7)])


def bulk_update(session: Session, side: Side) -> None:
    session.execute(update(Pet).values(v=f"v {next(_serial)}"))


def bulk_objects(session: Session, side: Side) -> None:
    session.bulk_save_objects([Owner(name=f"object {next(_serial)}") for _ in range(3)])


def savepoint_undone(session: Session, side: Side) -> None:
    with session.begin_nested() as savepoint:
        session.add(Owner(name=f"undone {next(_serial)}"))
        session.flush()
        savepoint.rollback()


def savepoint_kept(session: Session, side: Side) -> None:
    with session.begin_nested():
        session.execute(text("DELETE FROM loan"))


def read_only(session: Session, side: Side) -> None:
    session.scalars(select(Owner)).all()


def through_the_connection(session: Session, side: Side) -> None:
    """Core on the session's connection, which no event of the session sees."""
    session.connection().execute(text("UPDATE item SET qty = qty + 1"))


def inserted_and_gone(session: Session, side: Side) -> None:
    """The log names a row that is not there when the transaction ends."""
    session.execute(text("INSERT INTO counter (id, n) VALUES (7777, 1)"))
    session.execute(text("DELETE FROM counter WHERE id = 7777"))


def emptied(session: Session, side: Side) -> None:
    """The whole table in one log entry where there is TRUNCATE."""
    session.execute(text("DELETE FROM plain" if side is Side.SQLITE else "TRUNCATE plain"))


def emptied_and_filled(session: Session, side: Side) -> None:
    emptied(session, side)
    session.execute(text("INSERT INTO plain VALUES ('new', 1, 'x'), ('newer', 2, 'y')"))


def upsert(session: Session, side: Side) -> None:
    session.execute(
        text(
            "INSERT INTO code (code, rank, v) VALUES ('a', 1, 'x'), ('z', 26, 'y') "
            "ON CONFLICT (code) DO UPDATE SET v = excluded.v || 'again'"
        )
    )


def cascade_deletes_only(session: Session, side: Side) -> None:
    """SQL takes rows that another kind may have changed in the same session, so these changes go first.

    These sessions flush by themselves at commit only, and a flush must find each row that it changes.
    """
    session.flush()
    session.execute(text("DELETE FROM stray"))
    session.execute(text("DELETE FROM owner WHERE id = (SELECT min(owner_id) FROM pet)"))


def put_back(session: Session, side: Side) -> None:
    """The seed rows that the others took."""
    session.execute(text("DELETE FROM pairkey"))
    session.execute(
        text("INSERT INTO pairkey VALUES (1, 'a', 'x'), (1, 'b', 'y'), (2, 'a', 'z'), (2, '', 'empty')")
    )
    session.execute(text("DELETE FROM node"))
    session.execute(
        text(
            "INSERT INTO node VALUES (1, NULL, 'root'), (2, 1, 'child'), (3, 2, 'grandchild'), (4, NULL, 'o')"
        )
    )
    session.execute(text("DELETE FROM code"))
    session.execute(text("INSERT INTO code VALUES ('a', 1, 'x'), ('B', 2, 'y'), ('', 4, 'empty')"))


TRANSACTIONS: dict[str, Transaction] = {
    "orm_add": orm_add,
    "orm_change": orm_change,
    "orm_delete": orm_delete,
    "query_delete": query_delete,
    "delete_of_nothing": delete_of_nothing,
    "bulk_insert": bulk_insert,
    "bulk_update": bulk_update,
    "bulk_objects": bulk_objects,
    "savepoint_undone": savepoint_undone,
    "savepoint_kept": savepoint_kept,
    "read_only": read_only,
    "through_the_connection": through_the_connection,
    "inserted_and_gone": inserted_and_gone,
    "emptied": emptied,
    "emptied_and_filled": emptied_and_filled,
    "upsert": upsert,
    "cascade_deletes_only": cascade_deletes_only,
    "cascade_of_one_table": _sql("DELETE FROM node WHERE id = 1"),
    "key_moves": _sql("UPDATE item SET id = id + 50 WHERE id < 50"),
    "key_moves_and_children": _sql(
        "INSERT INTO owner (id, name) SELECT 500 + max(id), 'next' || max(id) FROM owner",
        "UPDATE pet SET owner_id = (SELECT max(id) FROM owner)",
    ),
    "composite_delete": _sql("DELETE FROM pairkey WHERE a = 1"),
    "composite_key_moves": _sql("UPDATE pairkey SET b = b || '-moved' WHERE a = 2"),
    "text_delete": _sql("DELETE FROM code WHERE code IN ('', 'B')"),
    "uuid_delete": _sql(
        "DELETE FROM token WHERE CAST(id AS TEXT) = (SELECT max(CAST(id AS TEXT)) FROM token)"
    ),
    "unique_values_swap": _sql(
        "UPDATE code SET rank = -rank WHERE rank IN (1, 2)",
        "UPDATE code SET rank = 3 + rank WHERE rank < 0",
    ),
    "put_back": put_back,
}
