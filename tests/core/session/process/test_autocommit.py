"""AUTOCOMMIT as SQLAlchemy has it: each statement commits by itself, and nothing is left that nobody commits."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from app.db.common.errors import Fenced
from app.db.common.urls import Side
from app.db.session import SessionLocal
from tests.support.backends import MakeRuntime
from tests.support.pairs import TestPair

AUTOCOMMIT = {"isolation_level": "AUTOCOMMIT"}
INSERT = text("INSERT INTO owner (id, name) VALUES (900, 'kept')")


def _kept(pair: TestPair, side: Side) -> bool:
    return pair.app(side).execute("SELECT name FROM owner WHERE id = 900").fetchone() == ("kept",)


def test_a_row_that_is_written_stays_without_a_commit(
    pair: TestPair, primary: Side, backend: MakeRuntime
) -> None:
    engine = backend(pair, wanted=primary, dual_write="off").engine(primary)
    with engine.connect().execution_options(**AUTOCOMMIT) as connection:
        connection.execute(INSERT)
        connection.execute(text("VACUUM"))  # which no transaction takes
    assert _kept(pair, primary)
    with engine.begin() as connection:  # the next to use this connection has a transaction again
        connection.execute(text("DELETE FROM owner WHERE id = 900"))
        connection.rollback()
    assert _kept(pair, primary)


def test_a_session_may_write_so_and_meets_the_fence_with_each_statement(
    pair: TestPair, primary: Side, backend: MakeRuntime
) -> None:
    backend(pair, wanted=primary, dual_write="off")
    with SessionLocal() as session:
        session.connection(execution_options=AUTOCOMMIT)
        session.execute(INSERT)
        assert _kept(pair, primary)
        pair.moved(primary.other)
        with pytest.raises(Fenced):
            session.execute(text("DELETE FROM owner"))
    assert _kept(pair, primary.other)
