"""A run of the native branch that dies is taken up by the next command, in its own direction or in the other.

Nothing of it stays: no session, no lock, no invalid index, no constraint that is checked in half.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine, insert

from app.db.session.runtime import Runtime
from app.models import Alert
from app.native import branch, online
from tests.backend.living.native.native_schema import REVISIONS, schema
from tests.support.pairs import wait_until

ROOT = Path(__file__).resolve().parents[4]
# Says the statement in which it is to be killed, and runs it when it is told to.
CHILD = """
import sys
from app.native import __main__, online
run, left = online._done, [int(sys.argv[1])]
def stopping(connection, statement):
    if left[0] == 0:
        print(statement, flush=True)
        sys.stdin.readline()
    left[0] -= 1
    return run(connection, statement)
online._done = stopping
sys.exit(__main__.main(["--json", sys.argv[2]]))
"""


class _Killed(BaseException):
    pass


@contextmanager
def _killed_behind(statements: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An exception after that many statements stands for a kill: each statement commits by itself."""
    left, run = statements, online._done

    def dying(connection: sa.Connection, statement: str) -> bool:
        nonlocal left
        if left == 0:
            raise _Killed
        left -= 1
        return run(connection, statement)

    with monkeypatch.context() as patch, pytest.raises(_Killed):
        patch.setattr(online, "_done", dying)
        yield


@pytest.mark.parametrize("statements", [3, 16, 29, 50])
def test_the_next_command_takes_up_what_a_killed_one_left(
    statements: int, runtime: Runtime, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One place in checks, in a column that becomes NOT NULL, in indexes, in checks of documents."""
    before = schema(engine)
    with _killed_behind(statements, monkeypatch):
        branch.upgrade(runtime)
    branch.downgrade(runtime)
    assert schema(engine) == before
    with _killed_behind(statements, monkeypatch):
        branch.upgrade(runtime)
    branch.upgrade(runtime)
    with engine.connect() as connection:
        assert branch.current(connection) == REVISIONS[-1]
    after = schema(engine)
    with _killed_behind(statements // 2, monkeypatch):
        branch.downgrade(runtime)
    branch.upgrade(runtime)
    assert schema(engine) == after
    with _killed_behind(statements // 2, monkeypatch):
        branch.downgrade(runtime)
    branch.downgrade(runtime)
    assert schema(engine) == before


def _kill_within(runtime: Runtime, engine: Engine, command: str, statements: int) -> bool:
    """Kill the command's process while its next statement waits for a lock; False when it has no such statement."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ST_")} | {
        "ST_DATABASE_URL": runtime.url.render_as_string(hide_password=False),
        "PYTHONPATH": str(ROOT / "backend"),
    }
    program = [sys.executable, "-c", CHILD, str(statements), command]
    with subprocess.Popen(
        program, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        statement = process.stdout.readline()
        if statement.startswith("{"):
            return False
        with engine.connect() as other:
            _keep_waiting(other, statement)
            process.stdin.write("\n")
            process.stdin.flush()
            if "FUNCTION" not in statement:
                wait_until(lambda: _ours(engine, "wait_event_type = 'Lock'") == 1, seconds=60)
            process.kill()
            process.wait()
            wait_until(lambda: _ours(engine) == 0, seconds=30)  # while the other one is still in its way
    return True


def _keep_waiting(other: sa.Connection, statement: str) -> None:
    """Take what the statement has to wait for; a build of an index then waits in its middle."""
    alone = "VALIDATE" in statement or statement.startswith("ANALYZE")
    mode = "SHARE UPDATE EXCLUSIVE" if alone else "ROW EXCLUSIVE"
    tables = other.scalars(sa.text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
    other.execute(sa.text(f"LOCK TABLE {', '.join(tables)} IN {mode} MODE"))
    other.execute(sa.text("SELECT pg_current_xact_id()"))


def _ours(engine: Engine, condition: str = "true") -> int:
    query = (
        f"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sigmatrader-native' AND {condition}"
    )
    with engine.connect() as connection:
        return connection.scalar(sa.text(query)) or 0


@contextmanager
def _deliveries(engine: Engine) -> Iterator[None]:
    """Alerts are written all the time, and none is refused."""
    over, failures = threading.Event(), []

    def write() -> None:
        while not over.wait(0.02):
            try:
                with engine.begin() as connection:
                    connection.execute(
                        insert(Alert).values(symbol="X", action="BUY", qty=1, raw_payload="{}")
                    )
            except Exception as error:  # whatever it is, the test looks at it
                failures.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert failures == []


def test_a_build_whose_process_is_killed_ends_and_is_built_anew(runtime: Runtime, engine: Engine) -> None:
    with _deliveries(engine):
        first_build = 15
        assert _kill_within(runtime, engine, "upgrade", first_build)
        assert branch.upgrade(runtime) == REVISIONS
    assert all(valid for _, _, valid in schema(engine)["indexes"])


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("command", ["upgrade", "downgrade"])
def test_the_command_killed_within_any_statement_is_taken_up(
    command: str, runtime: Runtime, engine: Engine
) -> None:
    states = {"downgrade": schema(engine)}
    branch.upgrade(runtime)
    states["upgrade"] = schema(engine)
    directions: list[tuple[str, Callable[[Runtime], object]]]
    directions = [("upgrade", branch.upgrade), ("downgrade", branch.downgrade)]
    (_, forth), (other, back) = directions if command == "upgrade" else directions[::-1]
    statements = 0
    with _deliveries(engine):
        back(runtime)
        while _kill_within(runtime, engine, command, statements):
            forth(runtime)
            assert schema(engine) == states[command], statements
            back(runtime)
            assert _kill_within(runtime, engine, command, statements)
            back(runtime)
            assert schema(engine) == states[other], statements
            statements += 1
    assert statements > 20
