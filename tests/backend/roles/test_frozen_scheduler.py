"""Two schedulers in processes of their own: one that stands still loses the lead and finds that out; a restart leaves one.

Takes more than the time after which PostgreSQL ends a silent session: `pytest -m long` runs it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.db.revisions.chain import upgrade_head
from loadtests.stage.embedded import EmbeddedPostgres, free_port
from tests.backend.living.test_process_roles import LEADS, Process, _leads, running
from tests.support.pairs import wait_until

pytestmark = pytest.mark.long
LEADS_NO_MORE = "this process is not the scheduler any more"
Pair = list[tuple[Process, int]]


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server that can be restarted: nobody else uses it."""
    with EmbeddedPostgres(light=True) as own:
        yield own


@pytest.fixture
def two(server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Pair]:
    """A scheduler that leads, and one that waits, each with the port of its metrics."""
    name = f"frozen{free_port()}"
    url = server.create_database(name)
    upgrade_head(url)
    ports = free_port(), free_port()
    one, other = (("scheduler", "--metrics", f"127.0.0.1:{port}") for port in ports)
    with running(tmp_path, url, *one) as first:
        wait_until(lambda: LEADS in first.log, seconds=60)
        with running(tmp_path, url, *other) as second:
            wait_until(lambda: "the scheduler has begun" in second.log, seconds=60)
            yield [(first, ports[0]), (second, ports[1])]


def test_a_scheduler_that_stood_still_acts_no_more(two: Pair) -> None:
    (first, port), (second, other) = two
    first.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: LEADS in second.log, seconds=90)
    first.process.send_signal(signal.SIGCONT)
    wait_until(lambda: LEADS_NO_MORE in first.log, seconds=60)
    assert (_leads(port), _leads(other)) == ("0.0", "1.0")
    assert [first.end(), second.end()] == [0, 0]


def test_one_leads_after_the_server_was_restarted(two: Pair, server: EmbeddedPostgres) -> None:
    (first, port), (second, other) = two
    server.restart(signal.SIGKILL)
    wait_until(lambda: LEADS_NO_MORE in first.log, seconds=60)
    wait_until(lambda: sorted((_leads(port), _leads(other))) == ["0.0", "1.0"], seconds=60)
    assert [first.end(), second.end()] == [0, 0]
