"""Repair: what differs is logged again on the primary, apply mends it, and the history says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.db.apply.compare import Mismatch
from app.db.common.errors import Refused
from app.db.common.urls import Side
from migration.verify.run import Verify, repair
from tests.data.verify.small_pair import SmallPair


def damage(pair: SmallPair) -> set[tuple[str, str]]:
    """Every kind of damage in every kind of table; returns the keys."""
    for statement in (
        "UPDATE kinds SET f = 0, t = 'x' WHERE id = 5",
        "DELETE FROM by_text WHERE k = '😀'",
        "INSERT INTO by_text VALUES ('extra', 1)",
        "UPDATE by_uuid SET v = 2 WHERE k = '00000000-0000-0000-0000-000001234567'"
        if pair.shadow is Side.POSTGRES
        else "UPDATE by_uuid SET v = 2 WHERE k = '00000000000000000000000001234567'",
        "DELETE FROM by_both WHERE a = -1 AND b = 'é'",
        "INSERT INTO empty VALUES (5, 5)",
        "DELETE FROM parents WHERE id = 2",
    ):
        pair.corrupt(statement)
    return {
        ("kinds", "5"),
        ("by_text", "😀"),
        ("by_text", "extra"),
        ("by_uuid", "00000000-0000-0000-0000-000001234567"),
        ("by_both", json.dumps(["-1", "é"])),
        ("empty", "5"),
        ("parents", "2"),
    }


def history(pair: SmallPair, event: str) -> list[dict[str, Any]]:
    rows = pair.applier.stores.postgres.connection.execute(
        "SELECT evidence FROM st_history WHERE event = %s ORDER BY id", (event,)
    ).fetchall()
    return [json.loads(evidence) for (evidence,) in rows]


def primary_rows(pair: SmallPair) -> list[tuple[Any, ...]]:
    tables = ("kinds", "bars", "by_text", "by_uuid", "by_both", "parents", "children", "empty")
    primary = pair.applier.stores.directions()[0]
    return [
        row for table in tables for row in sorted(map(repr, primary.connection.execute(_all(pair, table))))
    ]


def _all(pair: SmallPair, table: str) -> Any:
    query = f"SELECT * FROM {table}"
    return query if pair.shadow is Side.POSTGRES else query.encode()


def test_repair_converges(either: SmallPair) -> None:
    damaged = damage(either)
    before = primary_rows(either)
    found = Verify(either.applier, chunk_rows=5).run()
    assert {(item.table, item.key_text()) for item in found.mismatches} == damaged
    assert repair(either.applier, found.mismatches) == len(damaged)
    assert Verify(either.applier).run().clean
    assert primary_rows(either) == before
    assert history(either, "repair begun")[-1]["tables"]["by_text"] == 2
    assert history(either, "repair")[-1] == {"repaired": len(damaged), "quarantined": 0, "left": 0}
    assert either.applier.stores.postgres.connection.execute(
        "SELECT count(*) FROM st_mismatch"
    ).fetchall() == [(0,)]


def test_repair_of_nothing_leaves_no_trace(pair: SmallPair) -> None:
    entries = pair.applier.stores.sqlite.log_end()
    assert repair(pair.applier, []) == 0
    assert pair.applier.stores.sqlite.log_end() == entries


def test_a_row_that_cannot_be_held_goes_to_quarantine_and_is_no_mismatch(pair: SmallPair) -> None:
    pair.corrupt("DELETE FROM parents WHERE id = 3")
    shell = pair.raw_sqlite()
    shell.execute("UPDATE parents SET name = 'nul ' || char(0) WHERE id = 3")
    assert Verify(pair.applier).run().clean, "it is on its way to quarantine"
    assert repair(pair.applier, [Mismatch("parents", ("3",), "missing")]) == 0
    assert history(pair, "repair")[-1] == {"repaired": 0, "quarantined": 1, "left": 0}
    assert Verify(pair.applier).run().clean
    shell.execute("UPDATE parents SET name = 'p3' WHERE id = 3")
    shell.close()
    pair.settle()
    assert Verify(pair.applier).run().clean


def test_a_key_that_cannot_be_held(pair: SmallPair) -> None:
    """In quarantine it is no mismatch; missing from there it is one, and no repair hides it."""
    shell = pair.raw_sqlite()
    shell.execute("INSERT INTO by_text VALUES ('nul' || char(0), 1)")
    pair.settle()
    postgres = pair.applier.stores.postgres.connection
    assert postgres.execute("SELECT count(*) FROM st_quarantine").fetchall() == [(1,)]
    for chunk_rows in (1, 5_000):
        assert Verify(pair.applier, chunk_rows=chunk_rows).run().clean
    postgres.execute("DELETE FROM st_quarantine")
    result = Verify(pair.applier).run()
    assert [(item.table, item.kind, item.columns) for item in result.mismatches] == [
        ("by_text", "missing", ("k",))
    ]
    assert repair(pair.applier, result.mismatches) == 0
    assert not Verify(pair.applier).run().clean
    shell.execute("DELETE FROM by_text WHERE v = 1 AND length(CAST(k AS BLOB)) = 4 AND k LIKE 'nul%'")
    shell.close()
    postgres.execute("TRUNCATE st_quarantine")
    pair.settle()


def test_text_that_is_not_utf8_among_others(pair: SmallPair) -> None:
    """Such a row is in quarantine; the rows around it are compared all the same."""
    shell = pair.raw_sqlite()
    shell.execute("UPDATE bars SET symbol = CAST(x'ff41' AS TEXT) WHERE id = 200")
    pair.settle()
    pair.corrupt("UPDATE bars SET price = -1 WHERE id IN (199, 201)")
    result = Verify(pair.applier).run()
    assert {item.key for item in result.mismatches} == {("199",), ("201",)}
    shell.execute("UPDATE bars SET symbol = 'S1' WHERE id = 200")
    shell.close()
    pair.settle()


def test_repair_while_apply_is_paused_is_refused_and_done_later(pair: SmallPair) -> None:
    pair.corrupt("DELETE FROM parents WHERE id = 3")
    found = Verify(pair.applier).run()
    pair.applier.stores.postgres.connection.execute("UPDATE st_control SET paused = true")
    with pytest.raises(Refused, match="apply stands still: paused"):
        repair(pair.applier, found.mismatches)
    pair.applier.stores.postgres.connection.execute("UPDATE st_control SET paused = false")
    pair.settle()
    assert Verify(pair.applier).run().clean


def test_repair_while_the_fence_is_up_is_refused(either: SmallPair) -> None:
    either.corrupt("DELETE FROM parents WHERE id = 3")
    found = Verify(either.applier).run()
    entries = len(history(either, "repair"))
    with fence_up(either), pytest.raises(Refused, match="takes no application writes"):
        repair(either.applier, found.mismatches)
    assert len(history(either, "repair")) == entries
    assert repair(either.applier, found.mismatches) == 1


@contextmanager
def fence_up(pair: SmallPair) -> Iterator[None]:
    pair.write("UPDATE st_control SET writable = %s", False)
    try:
        yield
    finally:
        pair.write("UPDATE st_control SET writable = %s", True)
