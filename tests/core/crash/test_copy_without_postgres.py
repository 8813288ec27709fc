"""PostgreSQL is killed in each stage of the offline copy: SQLite takes writes again, and the same command finishes.

The switch at its end is that of `cutover`: tests/core/crash/test_postgres_crash.py kills the server in its steps.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.db.common.failpoints import Failpoint, arm
from loadtests.stage.embedded import EmbeddedPostgres
from tests.operator.sides import ALERTS, Cli, Sides, Stages

POINTS = (
    Failpoint.PREPARE_CONTROL,
    Failpoint.PREPARE_SCHEMA,
    Failpoint.PREPARE_CAPTURE,
    Failpoint.PREPARE_DONE,
    Failpoint.COPY_CHUNK_READ,
    Failpoint.COPY_BEFORE_COMMIT,
    Failpoint.COPY_AFTER_COMMIT,
    Failpoint.COPY_INDEX,
    Failpoint.COPY_DONE,
    Failpoint.VERIFY_CHUNK,
    Failpoint.COMPLETE_SQLITE,
)


@pytest.fixture(scope="module")
def killed() -> Iterator[EmbeddedPostgres]:
    """A server of this module's own."""
    with EmbeddedPostgres(light=True) as server:
        yield server


@pytest.fixture(scope="module")
def own_stages(killed: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Stages:
    return Stages(killed, tmp_path_factory.mktemp("killed"))


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS)
def test_the_same_command_finishes_after_a_crash_of_the_server(
    killed: EmbeddedPostgres,
    own_stages: Stages,
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    point: Failpoint,
) -> None:
    path = tmp_path / "app.db"
    name = f"k_{point.replace('.', '_')}"
    sides = Sides(path, own_stages.clone(own_stages.template("fresh"), path, name), cli)
    with arm(point, lambda: killed.stop(signal.SIGKILL)):
        answer = sides.run("copy", "--workers", "1")
    assert answer.code == 3, answer.data
    if point is not Failpoint.COMPLETE_SQLITE:
        assert sides.writable("sqlite"), answer.data
    killed.start()
    assert sides.run("status").code == 0
    finished = sides.run("copy", "--workers", "1")
    if finished.code:  # a dead attempt is within its deadline
        finished = sides.run("copy", "--workers", "1")
    assert finished.outcome in ("moved", "already_complete"), finished.data
    assert sides.postgres("SELECT count(*), sum(qty) FROM alerts") == [(ALERTS, ALERTS * (ALERTS + 1) / 2)]
    assert sides.writable("postgres") and not sides.writable("sqlite")
