"""The native branch: refused too early, online, repeatable, reversible; its indexes serve the application."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import sessionmaker

from app.db.common.errors import Refused
from app.db.common.settings import ShimSettings
from app.db.revisions.chain import upgrade_head
from app.db.session.runtime import Runtime, make_runtime
from app.models import Alert, BrokerSecret, Order, Strategy, SystemEvent
from app.native import __main__ as native_command
from app.native import branch, online, wanted
from app.roles.leader import AdvisoryLock
from app.services.shared.documents import number_in
from loadtests.stage.embedded import EmbeddedPostgres
from tests.backend.living.native.native_schema import REVISIONS, schema
from tests.support.pairs import TestPair


def test_up_and_down_again_leaves_the_schema_as_it_was(runtime: Runtime, engine: Engine) -> None:
    before = schema(engine)
    assert branch.upgrade(runtime) == REVISIONS
    after = schema(engine)
    assert branch.upgrade(runtime) == []
    assert schema(engine) == after
    assert not {index for index in after["indexes"] if not index[2]}
    assert not {definition for _, _, definition in after["constraints"] if "NOT VALID" in definition}
    assert after["columns"] - before["columns"] == {
        ("managed_risk_positions", "created_at", True, "timestamp without time zone"),
        ("managed_risk_positions", "updated_at", True, "timestamp without time zone"),
    }
    assert branch.downgrade(runtime) == REVISIONS[::-1]
    assert schema(engine) == before


def test_every_index_that_repeats_a_unique_key_is_dropped_and_no_other(
    runtime: Runtime, engine: Engine
) -> None:
    repeating = sa.text(
        "SELECT DISTINCT a.indexrelid::regclass::text FROM pg_index a JOIN pg_index b ON a.indrelid = b.indrelid"
        " AND a.indkey = b.indkey AND b.indisunique WHERE NOT a.indisunique"
        " AND a.indexprs IS NULL AND b.indexprs IS NULL AND a.indpred IS NULL AND b.indpred IS NULL"
    )
    with engine.connect() as connection:
        found = set(connection.scalars(repeating))
    assert found == {index.name for index in wanted.DUPLICATES}
    branch.upgrade(runtime)
    with engine.connect() as connection:
        assert connection.scalars(repeating).all() == []


def test_the_chain_and_the_release_before_do_not_see_the_branch(runtime: Runtime, engine: Engine) -> None:
    branch.upgrade(runtime)
    upgrade_head(runtime.url.render_as_string(hide_password=False))
    with engine.connect() as connection:
        assert branch.current(connection) == "n004"
        assert len(connection.execute(sa.text("SELECT * FROM alembic_version")).all()) == 1


def test_it_is_refused_on_sqlite_with_a_shadow_and_behind_a_pooler(
    tmp_path: Path, runtime: Runtime, postgres_server: EmbeddedPostgres
) -> None:
    url = runtime.url.render_as_string(hide_password=False)
    sqlite = f"sqlite:///{tmp_path / 'a.db'}"
    for refused, reason in (
        (make_runtime(sqlite, ShimSettings()), "names SQLite"),
        (make_runtime(url, ShimSettings(shadow_database_url=sqlite)), "after st-migrate complete"),
        (make_runtime(url, ShimSettings(pg_pooler="transaction")), "pooler"),
        (make_runtime(postgres_server.url("postgres"), ShimSettings()), "at revision none"),
    ):
        with pytest.raises(Refused, match=reason):
            branch.upgrade(refused)


def test_the_command_answers_in_json_with_its_exit_code(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked(command: str, of: Runtime) -> tuple[int, Any]:
        monkeypatch.setattr(native_command, "runtime", lambda: of)
        code = native_command.main(["--json", command])
        answer = capsys.readouterr().out.splitlines()[-1]  # behind a log that other tests may have turned on
        return code, json.loads(answer)

    assert asked("report", runtime) == (0, [])
    assert asked("upgrade", runtime) == (0, {"run": REVISIONS})
    assert asked("status", runtime) == (0, {"revision": "n004", "newest": "n004", "for_new_rows_only": []})
    sqlite = make_runtime(f"sqlite:///{tmp_path / 'a.db'}", ShimSettings())
    code, answer = asked("upgrade", sqlite)
    assert (code, set(answer)) == (1, {"refused", "hint"})
    monkeypatch.setattr(branch, "upgrade", lambda *_args, **_named: _busy())
    assert asked("upgrade", runtime) == (3, {"error": "others kept a lock for too long"})


def _busy() -> None:
    raise online.NeverFree("others kept a lock for too long")


def test_two_operators_do_not_run_it_at_once(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(branch, "_PAUSE_S", 0.01)
    with branch.connect(runtime) as other:
        branch.require_only_run(other)
        for command in (branch.upgrade, branch.downgrade):
            with pytest.raises(Refused, match="somebody else"):
                command(runtime)
    assert branch.upgrade(runtime) == REVISIONS


def test_it_is_refused_on_a_prepared_pair_whatever_the_settings_say(copying: TestPair) -> None:
    alone = make_runtime(copying.url, ShimSettings())
    with pytest.raises(Refused, match="prepared pair"):
        branch.upgrade(alone)


def test_bad_states_are_stopped(runtime: Runtime, engine: Engine) -> None:
    branch.upgrade(runtime)
    bad = [
        insert(Strategy).values(name="s", execution_target="MOON"),
        insert(Strategy).values(name="s", owner_id=4_000_000),
        insert(BrokerSecret).values([{"broker_name": "b", "key": "k", "value_encrypted": "x"}] * 2),
        insert(Order).values(symbol="X", side="BUY", qty=1, risk_spec_json="no document"),
    ]
    for statement in bad:
        with engine.connect() as connection, pytest.raises(IntegrityError):
            connection.execute(statement)


def test_an_index_that_waited_in_vain_is_built_anew(
    runtime: Runtime, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build waits for older transactions; when its time is over it leaves an invalid index behind."""
    monkeypatch.setattr(online, "PATIENCE", "50ms")
    (index, *_), states = wanted.NEW_INDEXES, []
    with engine.connect() as writer, branch.connect(runtime) as connection:
        writer.execute(
            insert(Alert).values(symbol="X", action="BUY", qty=1, raw_payload="{}")
        )  # and commits later
        drop = online.drop_index

        def dropping(connection: sa.Connection, name: str) -> None:
            states.append(name)
            writer.rollback()
            drop(connection, name)

        monkeypatch.setattr(online, "drop_index", dropping)
        online.create_index(connection, index)
    assert states == [index.name]
    assert [valid for name, _, valid in schema(engine)["indexes"] if name == index.name] == [True]


def test_writers_go_on_while_a_lock_is_waited_for(
    runtime: Runtime, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long transaction holds the branch up, and the branch holds up nobody behind it."""
    monkeypatch.setattr(branch, "_SETTINGS", (("lock_timeout", "50ms"), *branch._SETTINGS[1:]))
    monkeypatch.setattr(online, "PAUSE_S", 0.01)
    refused = threading.Event()
    execute = sa.Connection.exec_driver_sql

    def noting(self: sa.Connection, statement: str, *rest: Any) -> Any:
        try:
            return execute(self, statement, *rest)
        except sa.exc.OperationalError:
            refused.set()
            raise

    monkeypatch.setattr(sa.Connection, "exec_driver_sql", noting)
    done: list[list[str]] = []
    with engine.connect() as reader:
        reader.execute(sa.text("SELECT count(*) FROM strategies"))  # and stays in its transaction
        thread = threading.Thread(target=lambda: done.append(branch.upgrade(runtime)))
        thread.start()
        assert refused.wait(60)
        with engine.begin() as writer:
            writer.execute(insert(Strategy).values(name="meanwhile"))
        reader.rollback()
    thread.join(60)
    assert done == [REVISIONS]


def test_a_scheduler_that_leads_holds_up_no_build(runtime: Runtime, engine: Engine) -> None:
    """The build of an index waits for every older transaction that has a snapshot, and the scheduler's does not end."""
    lock = AdvisoryLock(runtime.url, ShimSettings())
    query = "SELECT backend_xmin FROM pg_stat_activity WHERE application_name = 'sigmatrader-scheduler'"
    try:
        for _ in range(8):  # a session prepares what it repeats
            assert lock.take()
            with engine.connect() as connection:
                assert connection.scalars(sa.text(query)).all() == [None]
    finally:
        lock.let_go()


def _events(connection: sa.Connection) -> None:
    rows = [
        {
            "level": "INFO",
            "category": "c",
            "message": "m",
            "details": f'{{"order_id": {n % 4000}, "x": "\\u0000"}}',
        }
        for n in range(8000)
    ]
    rows += [
        {"level": "INFO", "category": "c", "message": "m", "details": details}
        for details in (None, "no JSON", "")
    ]
    rows += [{"level": "INFO", "category": "c", "message": "ok", "details": '{"order_id": 7, "qty": 1.5}'}]
    connection.execute(insert(SystemEvent.__table__), rows)  # type: ignore[arg-type]
    connection.execute(sa.text("ANALYZE system_events"))


def test_the_events_of_an_order_are_found_by_the_index(runtime: Runtime, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM system_events"))
        _events(connection)

    def look() -> tuple[list[str], str]:
        with sessionmaker(engine)() as db:
            query = sa.select(SystemEvent.message).where(
                number_in(db, SystemEvent.details, "order_id") == "7"
            )
            plan = db.execute(
                sa.text("EXPLAIN " + str(query.compile(engine, compile_kwargs={"literal_binds": True})))
            )
            return sorted(db.scalars(query)), "\n".join(plan.scalars())

    found, plan = look()
    assert (found, "Seq Scan" in plan) == (["m", "m", "ok"], True)
    branch.upgrade(runtime)
    found, plan = look()
    assert found == ["m", "m", "ok"]
    assert wanted.EVENTS_OF_ORDER.name in plan
