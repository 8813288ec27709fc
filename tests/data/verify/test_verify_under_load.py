"""No false alarms and no blind spots while the application writes and apply runs, in both directions."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import errors as pg_errors

from app.db.apply.compare import Mismatch
from app.db.apply.outcome import Round
from app.db.common.failpoints import Failpoint, arm
from app.db.common.urls import Side
from migration.verify.run import Verify
from tests.data.verify.small_pair import SmallPair

Execute = Callable[..., Any]
ENOUGH = 300  # writes during the verifies, so that the test means something


def _writer(pair: SmallPair) -> tuple[Execute, Callable[[], None]]:
    """A statement runner as the application has one, in autocommit, with %s marks."""
    if pair.shadow is Side.POSTGRES:
        raw = pair.raw_sqlite()
        return lambda text, *values: raw.execute(text.replace("%s", "?"), values), raw.close
    connection = pair.raw_postgres()
    return lambda text, *values: connection.execute(text.encode(), values), connection.close


class Hammer:
    """Threads that write and one that applies, until the block ends; `writes` counts statements."""

    def __init__(self, pair: SmallPair) -> None:
        self._pair = pair
        self._stop = threading.Event()
        self.writes = 0
        self.rounds = 0
        self.errors: list[Exception] = []

    @contextmanager
    def running(self, *jobs: Callable[[Execute, random.Random], None]) -> Iterator[Hammer]:
        threads = [threading.Thread(target=self._write, args=(job, n)) for n, job in enumerate(jobs)]
        threads.append(threading.Thread(target=self._apply))
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        assert not self.errors

    def _write(self, job: Callable[[Execute, random.Random], None], seed: int) -> None:
        execute, close = _writer(self._pair)
        chance = random.Random(seed)
        try:
            while not self._stop.is_set():
                try:
                    job(execute, chance)
                    self.writes += 1
                except (sqlite3.IntegrityError, pg_errors.IntegrityError):
                    continue
        except (sqlite3.Error, psycopg.Error) as error:
            self.errors.append(error)
        finally:
            close()

    def _apply(self) -> None:
        applier = self._pair.another_applier()
        try:
            while not self._stop.is_set():
                self.rounds += isinstance(applier.round(), Round)
        except Exception as error:  # whatever it is, the test looks at it
            self.errors.append(error)
        finally:
            applier.stores.close()


def anything(execute: Execute, chance: random.Random) -> None:
    """One insert, update, delete, or move of a key."""
    key = chance.randrange(1, 600)
    match chance.randrange(6):
        case 0:
            execute("INSERT INTO bars VALUES (%s, 'new', '2026-02-03 04:05:06.070000', 1.5)", key)
        case 1:
            execute("DELETE FROM bars WHERE id = %s", key)
        case 2:
            execute("UPDATE bars SET id = id + 1000 WHERE id = %s", key)
        case 3:
            execute("UPDATE by_both SET v = v + 1, b = b || 'x' WHERE a = %s", chance.choice((-1, 2, 10)))
        case _:
            execute(
                "UPDATE bars SET price = price + %s WHERE id BETWEEN %s AND %s", chance.random(), key, key + 9
            )


def hot(execute: Execute, chance: random.Random) -> None:
    """The same key, again and again."""
    execute("UPDATE parents SET name = %s WHERE id = 3", f"hot {chance.random()}")


def test_no_false_alarm(either: SmallPair) -> None:
    hammer = Hammer(either)
    runs = 0
    with hammer.running(anything, hot):
        deadline = time.monotonic() + 60
        while (runs < 3 or hammer.writes < ENOUGH) and time.monotonic() < deadline and not hammer.errors:
            result = Verify(either.applier, chunk_rows=37).run()
            assert result.clean, result.mismatches
            runs += 1
    assert hammer.writes >= ENOUGH and hammer.rounds > 0 and runs >= 3
    either.settle()


def test_damage_is_found_in_the_middle_of_it(either: SmallPair) -> None:
    either.corrupt("UPDATE parents SET name = 'damaged' WHERE id = 5")
    either.corrupt("DELETE FROM kinds WHERE id = 2")
    with Hammer(either).running(anything, hot):
        result = Verify(either.applier, chunk_rows=37).run()
    assert set(result.mismatches) == {
        Mismatch("parents", ("5",), "different", ("name",)),
        Mismatch("kinds", ("2",), "missing"),
    }
    either.settle()


def test_a_key_that_changes_before_every_look_settles(either: SmallPair) -> None:
    """update-then-look, each time again: it is compared as the next round would write it."""
    execute, close = _writer(either)
    looks = []

    def change() -> None:
        looks.append(len(looks))
        execute("UPDATE parents SET name = %s WHERE id = 2", f"change {len(looks)}")

    change()
    real_round = either.applier.round
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(either.applier, "round", lambda **options: (real_round(**options), change())[0])
        result = Verify(either.applier, tables=["parents"]).run()
    close()
    assert result.clean
    assert len(looks) == 3
    shadow_name = _shadow_value(either)
    assert shadow_name != f"change {len(looks)}", "the rehearsal must not stay on the shadow"
    either.settle()
    assert _shadow_value(either) == f"change {len(looks)}"


def _shadow_value(pair: SmallPair) -> str:
    query = "SELECT name FROM parents WHERE id = 2"
    if pair.shadow is Side.POSTGRES:
        return str(pair.applier.stores.postgres.connection.execute(query.encode()).fetchall()[0][0])
    return str(pair.applier.stores.sqlite.connection.execute(query).fetchone()[0])


def test_what_strict_mode_announced_is_not_a_mismatch(either: SmallPair) -> None:
    """The shadow has it, the primary has not committed it: it settles either way."""
    with either.silently() as execute:
        execute("UPDATE parents SET name = 'announced' WHERE id = 4")
        execute("INSERT INTO st_pending (tbl, k, token) VALUES ('parents', '4', '99999999')")
    assert Verify(either.applier, tables=["parents"]).run().clean
    either.applier.round(settle=True)
    assert Verify(either.applier, tables=["parents"]).run().clean


def test_the_shadow_is_behind(either: SmallPair) -> None:
    """read primary - read shadow, with changes that nobody has applied yet."""
    either.write("UPDATE bars SET price = -1 WHERE id <= 50")
    either.write("DELETE FROM bars WHERE id BETWEEN 100 AND 120")
    either.write("DELETE FROM empty")
    either.write("INSERT INTO empty VALUES (1, 1)")
    assert Verify(either.applier, chunk_rows=13).run().clean


def test_a_truncated_table_is_on_its_way(pair: SmallPair) -> None:
    pair.move(Side.POSTGRES)
    pair.write("TRUNCATE children")
    assert Verify(pair.applier, chunk_rows=3).run().clean
    pair.write("INSERT INTO children SELECT n, 1 FROM generate_series(1, 10) AS n")
    pair.settle()


def test_rows_written_between_two_chunks(pair: SmallPair) -> None:
    """chunk - insert behind it and before it - chunk."""
    written = []

    def insert() -> None:
        written.append(len(written))
        pair.write("INSERT OR REPLACE INTO bars VALUES (%s, 'between', NULL, 1)", 10_000 + len(written))
        pair.write("INSERT OR REPLACE INTO bars VALUES (%s, 'between', NULL, 1)", -len(written))

    with arm(Failpoint.VERIFY_CHUNK, insert):
        assert Verify(pair.applier, chunk_rows=100, tables=["bars", "parents"]).run().clean
    assert len(written) > 4


def test_no_read_transaction_outlives_its_chunk(pair: SmallPair) -> None:
    """The write-ahead log can be reset between any two chunks."""
    shell = pair.raw_sqlite()

    def reset() -> None:
        shell.execute("INSERT INTO empty VALUES (NULL, 1)")
        busy, _, _ = shell.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert busy == 0

    with arm(Failpoint.VERIFY_CHUNK, reset):
        assert Verify(pair.applier, chunk_rows=50).run().clean
    shell.close()
