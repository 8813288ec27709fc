"""Small rounds beside other appliers and switches: nothing is doubled, lost, or written where it must not be."""

from __future__ import annotations

import json
import random
import threading
import zlib
from collections.abc import Callable, Iterator

import psycopg
import pytest

from app.db.apply.outcome import Round
from app.db.apply.round import Applier
from app.db.common.failpoints import Failpoint, arm
from app.db.common.urls import Side
from app.db.sides.sqlite.bulletin import SUFFIX
from tests.support.pairs import TestPair, wait_until
from tests.support.small_rounds import SmallRounds, resumable, silent, small_rounds_at_once


@pytest.fixture(autouse=True)
def small() -> Iterator[SmallRounds]:
    with small_rounds_at_once() as seen:
        yield seen


def once(action: Callable[[], object]) -> Callable[[], None]:
    """An action for a failpoint that is passed again while the action runs, and after it."""
    left = [action]

    def act() -> None:
        if left:
            left.pop()()

    return act


def _written(text: bytes) -> bytes:
    return b"%08x %s" % (zlib.crc32(text), text)


def changes(pair: TestPair) -> int:
    return int(pair.pg.execute("SELECT changes FROM st_watermark").fetchone()[0])


def test_another_applier_came_between_the_reading_and_the_sending(
    replicating: TestPair, small: SmallRounds
) -> None:
    """The late one had read an older state of the same row."""
    late, other = resumable(replicating), replicating.new_applier()
    before = changes(replicating)
    replicating.lite.execute("UPDATE item SET qty = 111 WHERE id = 1")

    def overtake() -> None:
        replicating.lite.execute("UPDATE item SET qty = 222 WHERE id = 1")
        replicating.lite.execute("DELETE FROM item WHERE id = 2")
        other.round()

    with arm(Failpoint.APPLY_READ, once(overtake)):
        outcome = late.round()
    assert isinstance(outcome, Round)
    assert outcome.changes == 0, "an ordinary round followed and found nothing left"
    assert small.outcomes == [None]
    assert replicating.pg.execute("SELECT qty FROM item WHERE id = 1").fetchone() == (222,)
    assert changes(replicating) == before + 3
    replicating.assert_same()


def test_two_that_send_at_once(replicating: TestPair, small: SmallRounds) -> None:
    """The second waits for the row lock of the first, and is refused when that has committed."""
    first, second = resumable(replicating), replicating.new_applier()
    second._beginning._point = first._beginning._point
    before = changes(replicating)
    replicating.lite.execute("UPDATE item SET qty = qty + 1")
    meet = threading.Barrier(2, timeout=20)
    reading = threading.local()

    def both_have_read() -> None:
        if not getattr(reading, "done", False):
            reading.done = True
            meet.wait()

    outcomes: list[int] = []
    threads = [
        threading.Thread(target=lambda applier=applier: outcomes.append(applier.round().changes))
        for applier in (first, second)
    ]
    with arm(Failpoint.APPLY_READ, both_have_read):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert sorted(outcomes) == [0, 5]
    assert (small.carried, small.overtaken) == ([5], 1)
    assert changes(replicating) == before + 5
    replicating.assert_same()


def test_processes_of_a_host_in_turn_begin_where_the_other_has_left_the_shadow(
    replicating: TestPair, small: SmallRounds
) -> None:
    appliers = [resumable(replicating), resumable(replicating)]
    before = changes(replicating)
    small.forget()
    for turn in range(12):
        replicating.lite.execute("UPDATE item SET qty = qty + 1 WHERE id = 1")
        outcome = appliers[turn % 2].round()
        assert isinstance(outcome, Round)
        assert outcome.changes == 1
        replicating.assert_same()
    assert (small.carried, small.overtaken) == ([1] * 12, 0)
    assert changes(replicating) == before + 12


def test_a_round_that_another_process_has_taken_asks_the_server_nothing(replicating: TestPair) -> None:
    first, second = resumable(replicating), resumable(replicating)
    replicating.lite.execute("UPDATE item SET qty = qty + 1 WHERE id = 1")
    first.round()
    _cut(replicating, second)
    outcome = second.round()
    assert isinstance(outcome, Round)
    assert outcome.changes == 0


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"x" * 512,
        b"\x00" * 512,
        b'00000000 {"position":"1"}',
        _written(b"[1]"),
        _written(b'{"pair":"?","epoch":1,"position":"99999","mark":"99999 1.0"}'),
        {"epoch": 7},
        {"pair": "another"},
        {"position": "-1"},
        {"position": "1.5"},
        {"position": None},
        {"position": "1" * 80},
        {"position": 99999},
        {"position": "1" * 18, "mark": f"{'1' * 18} 1.0"},
        {"mark": None},
        {"mark": 3},
    ],
    ids=str,
)
def test_what_the_bulletin_says_is_never_believed_alone(
    replicating: TestPair, small: SmallRounds, told: bytes | dict[str, object]
) -> None:
    applier = resumable(replicating)
    point = applier._beginning._point
    assert point is not None
    true = point.told() | {"position": str(int(point.position) + 1)}
    path = replicating.pair.path.with_name(replicating.pair.path.name + SUFFIX)
    path.write_bytes(told if isinstance(told, bytes) else _written(json.dumps(true | told).encode()))
    for n in range(3):
        for _ in range(1 + n):  # at first as much as the bulletin speaks of
            replicating.lite.execute("UPDATE item SET qty = qty + 1 WHERE id = 1")
        applier.round()
        replicating.assert_same()
    assert small.overtaken <= 1, "the round after it corrects the bulletin"


WRITES = (
    "UPDATE item SET qty = qty + 1 WHERE id = 1",
    "UPDATE item SET qty = qty + 1",
    "UPDATE pairkey SET v = v || 'x' WHERE a = 1 AND b = 'a'",
    "UPDATE pairkey SET v = v || 'x'",
    "UPDATE owner SET name = name || 'x' WHERE id = 1",
    "UPDATE token SET v = v || 'x'",
    "UPDATE counter SET n = n + 1 WHERE id = 1",
    "DELETE FROM loan WHERE id = 1",
    "UPDATE stray SET v = v || 'x' WHERE id = 2",
)


def test_two_appliers_in_turn_never_use_a_statement_that_the_server_skipped(
    replicating: TestPair, small: SmallRounds
) -> None:
    """The driver prepares a statement at its sixth use; here each comes to that in an overtaken round, too."""
    appliers = [silent(replicating.new_applier()), silent(replicating.new_applier())]
    for n, statement in enumerate(WRITES):  # each statement has been used another number of times
        for _ in range(n):
            replicating.lite.execute(statement)
            for applier in appliers:
                applier.round()
    small.forget()
    for turn in range(4 * len(WRITES)):
        for applier in appliers:
            replicating.lite.execute(WRITES[turn % len(WRITES)])
            applier.round()
            replicating.assert_same()
    assert small.overtaken > 2 * len(WRITES)


def test_a_switch_between_the_reading_and_the_sending(replicating: TestPair, small: SmallRounds) -> None:
    """What was read from the old primary must not reach the new one, which has gone on."""
    late = resumable(replicating)
    replicating.lite.execute("UPDATE item SET qty = 111 WHERE id = 1")

    def switch() -> None:
        replicating.moved(Side.POSTGRES)
        replicating.pg.execute("UPDATE item SET qty = 333 WHERE id = 1")

    with arm(Failpoint.APPLY_READ, once(switch)):
        late.round()
    assert None in small.outcomes
    assert small.carried == []
    late.round()
    for side in Side:
        assert replicating.app(side).execute("SELECT qty FROM item WHERE id = 1").fetchone() == (333,)
    replicating.assert_same()
    assert replicating.writable_sides() == {Side.POSTGRES}


def test_there_and_back_between_the_reading_and_the_sending(
    replicating: TestPair, small: SmallRounds
) -> None:
    """SQLite is primary again, two epochs later; the row has been changed on the other side meanwhile."""
    late = resumable(replicating)
    replicating.lite.execute("UPDATE item SET qty = 111 WHERE id = 1")

    def there_and_back() -> None:
        replicating.moved(Side.POSTGRES)
        replicating.pg.execute("UPDATE item SET qty = 333 WHERE id = 1")
        replicating.moved(Side.SQLITE)

    with arm(Failpoint.APPLY_READ, once(there_and_back)):
        late.round()
    assert small.outcomes[-1] is None
    replicating.assert_same()
    for _ in range(2):  # the first at the new epoch drops the keys, the second knows that none stand
        replicating.lite.execute("UPDATE item SET qty = 444 WHERE id = 1")
        late.round()
    replicating.lite.execute("UPDATE item SET qty = 555 WHERE id = 1")
    late.round()
    assert small.carried[-1:] == [1], "small rounds go on at the new epoch"
    assert replicating.pg.execute("SELECT qty FROM item WHERE id = 1").fetchone() == (555,)
    replicating.assert_same()


def test_an_applier_that_is_overtaken_waits_longer_before_it_tries_again(
    replicating: TestPair, small: SmallRounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.db.apply.small.UNDISTURBED_S", (0.001, 30.0))
    applier, other = silent(replicating.new_applier()), replicating.new_applier()

    def stands() -> bool:
        replicating.lite.execute("UPDATE item SET qty = qty + 1 WHERE id = 1")
        applier.round()
        return applier._beginning._point is not None

    wait_until(stands)
    for _ in range(20):
        replicating.lite.execute("UPDATE item SET qty = qty + 1 WHERE id = 1")
        other.round()
        replicating.lite.execute("UPDATE item SET qty = qty + 1 WHERE id = 1")
        applier.round()
    assert 1 <= small.overtaken < 20
    replicating.assert_same()


def _write(pair: TestPair, chance: random.Random) -> None:
    """One transaction; few keys and names, so that they meet."""
    pair.lite.execute("BEGIN")
    for _ in range(chance.choice((1, 1, 1, 2, 5, 40))):
        key, name = chance.randint(1, 6), chance.choice(("one", "two", "", "ä", "None"))
        pair.lite.execute(
            chance.choice(
                (
                    f"REPLACE INTO item (id, name, qty) VALUES ({key}, '{name}', {chance.randint(0, 99)})",
                    f"UPDATE OR REPLACE item SET id = {key} WHERE name = '{name}'",
                    f"UPDATE OR IGNORE item SET name = '{name}' WHERE id = {key}",
                    f"DELETE FROM item WHERE id = {key}",
                    f"REPLACE INTO pairkey VALUES ({key}, '{name}', '{chance.random()}')",
                    f"UPDATE OR REPLACE pairkey SET b = '{name}' WHERE a = {key}",
                    f"REPLACE INTO plain VALUES ('{name}', {key}, 'x')",
                    f"UPDATE OR REPLACE plain SET rank = {key} WHERE code = '{name}'",
                    "INSERT INTO counter (n) VALUES (1)",
                )
            )
        )
    pair.lite.execute(chance.choice(("COMMIT", "COMMIT", "COMMIT", "ROLLBACK")))


def _cut(pair: TestPair, applier: Applier) -> None:
    pid = applier.stores.postgres.connection.info.backend_pid
    pair.pg.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))


@pytest.mark.parametrize("seed", range(6))
def test_two_appliers_in_random_turns(replicating: TestPair, small: SmallRounds, seed: int) -> None:
    """With lost connections, and with a write and a round of the other one between reading and sending."""
    chance = random.Random(seed)
    appliers = [replicating.new_applier(), replicating.new_applier()]
    applier, other = appliers
    to_come = False

    def come_between() -> None:
        nonlocal to_come
        if to_come and small.under_way:
            to_come = False
            _write(replicating, chance)
            other.round()

    for _ in range(120):
        if chance.random() < 0.7:
            _write(replicating, chance)
        if chance.random() < 0.2:
            applier, other = other, applier
        if chance.random() < 0.05:
            _cut(replicating, applier)
        to_come = chance.random() < 0.15
        with arm(Failpoint.APPLY_READ, come_between):
            try:
                applier.round()
            except psycopg.OperationalError:  # cut; some of the other one may be
                continue
        replicating.assert_same()
    for applier in appliers:
        wait_until(lambda applier=applier: _is_up_to_date(applier))
    replicating.assert_same()
    assert small.carried
    assert small.overtaken


def _is_up_to_date(applier: Applier) -> bool:
    try:
        return isinstance(applier.round(), Round)
    except psycopg.OperationalError:
        return False
