"""A small real burst is played to its end and judged, and a sender that dies is noticed. No time is judged."""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import pytest

from loadtests import load
from loadtests.burst import run
from loadtests.burst.draw import drawings, picture
from loadtests.burst.run import play
from loadtests.burst.send.plan import DISPATCHES, SQLITE, Burst
from loadtests.burst.send.processes import senders
from loadtests.burst.world import World
from loadtests.stage.processes import kill_group
from loadtests.traffic.ledger import Delivery, Outcome, read_ledgers

COUNT = 200


@pytest.mark.timeout(180)
@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_a_burst_on_sqlite_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dispatch: str) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # the backend would take itself for a test
    monkeypatch.setattr(run, "STILL_S", 1.0)
    settings = {"BURST_BROKER_REFUSED_PER_THOUSAND": "300", "ST_WEBHOOK_DISPATCH": dispatch}
    world = World(tmp_path / "w", None, SQLITE, settings=settings, workers=1)
    world.make()
    found = play(world, Burst(COUNT, auto=0.2), resend_delay_s=0.5)
    assert (found.failed_writers, found.tally.cut_off, found.problems) == (0, 0, [])
    assert found.verdict.deliveries == found.tally.deliveries == COUNT
    assert found.verdict.acknowledged + found.verdict.unknown + found.verdict.failed == COUNT
    with closing(sqlite3.connect(world.sqlite_path)) as connection:
        (alerts,) = connection.execute("SELECT count(*) FROM alerts").fetchone()
        jobs = connection.execute("SELECT DISTINCT status FROM order_jobs").fetchall()
    assert jobs == ([("DONE",)] if dispatch == "queue" else [])
    assert found.verdict.acknowledged <= alerts <= COUNT
    assert found.verdict.acknowledged
    broker = found.broker
    assert broker.placed
    assert broker.refused
    assert broker.findings == ()
    assert broker.placed + broker.refused + broker.put_aside == broker.orders
    assert found.processor_s > 0
    figures = json.loads(json.dumps(found.as_json()))
    assert figures["oracle"]["lost"] == figures["oracle"]["doubled"] == 0
    assert drawings("it", found).count("<svg") == 3
    drawn = ElementTree.fromstring(picture([("before", found), ("now", found)]))
    tops = [int(inner.get("y", "")) for inner in drawn if inner.tag.endswith("svg")]
    assert tops[0] == 0 < tops[1]
    assert drawn.get("viewBox", "").split()[3] == str(2 * tops[1])


def test_a_sender_that_dies_is_a_writer_that_failed(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port, began = silent.getsockname()[1], time.time() + 30
        with senders(tmp_path, port, Burst(20), "r", began, 1.0) as sending:
            deadline = time.monotonic() + 25
            while sending.ledgers[0].read_text(encoding="utf-8").count("\n") < 20:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            kill_group(sending.processes[0])
            assert sending.failed() == 1
    entries = read_ledgers(sending.ledgers)
    assert [e.outcome for e in entries if isinstance(e, Delivery)] == [Outcome.CUT_OFF] * 20


@pytest.mark.parametrize(
    ("words", "played"),
    [
        (["--profile", "bar_close_flood"], [["--profile", "bar_close_flood"]]),
        (["--profile", "steady"], []),
        (["--quick"], [["--profile", "bar_close", "--quick"]]),
        ([], [["--profile", "bar_close"]]),
    ],
)
def test_a_load_run_plays_the_bursts_too(words: list[str], played: list[list[str]]) -> None:
    found = load.chosen_bursts(load.arguments([*words, "--out", "here"]))
    without_out = [[w for w in one if w not in ("--out", "here")] for one in found]
    assert without_out == played
