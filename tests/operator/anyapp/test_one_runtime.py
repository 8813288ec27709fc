"""All kinds of session of a process share what it holds of a pair, in whatever words each names its database."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from app.db.common.errors import ConfigurationError
from app.db.common.urls import parse_url, same_database
from app.db.session import runtime
from st_migrate import install
from tests.operator.anyapp.conftest import Stranger
from tests.operator.anyapp.test_in_process import Role, _both, _write_on_both_sides
from tests.operator.anyapp.test_in_process import engine as engine
from tests.operator.anyapp.test_in_process import moving as moving


@pytest.fixture
def ours() -> Iterator[None]:
    """What the process holds of a pair is closed afterwards."""
    former = runtime.use(None)
    yield
    if (made := runtime.use(former)) is not None:
        made.stop()


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("st-repl")}


def _link(path: Path) -> str:
    link = path.parent / "link.db"
    link.symlink_to(path)
    return f"sqlite:///{link}"


IN_OTHER_WORDS: dict[str, Callable[[Path], str]] = {
    "a link": _link,
    "a relative path": lambda path: f"sqlite:///{os.path.relpath(path)}",
    "a URI": lambda path: f"sqlite:///file:{path}?mode=rwc&uri=true",
    "a way round": lambda path: f"sqlite:///{path.parent}/../{path.parent.name}/{path.name}",
    "an option": lambda path: f"sqlite:///{path}?timeout=7",
}


def test_two_makers_share_one_runtime_and_one_thread(moving: Stranger, engine: sa.Engine) -> None:
    before = _threads()  # of runtimes that other tests of this process hold
    seen: dict[str, list[str]] = {"first": [], "second": []}
    makers = [
        install(sessionmaker(engine), **_both(moving), on_engine=lambda e, s=said: s.append(e.dialect.name))  # type: ignore[misc]
        for said in seen.values()
    ]
    first, second = (maker() for maker in makers)
    with first, second:
        assert first.get_bind() is second.get_bind() is runtime.runtime().engine(runtime.Side.SQLITE)
    assert len(_threads() - before) == 1
    _write_on_both_sides(moving, makers[1])
    assert [sorted(names) for names in seen.values()] == [["postgresql", "sqlite"]] * 2


@pytest.mark.parametrize("worded", IN_OTHER_WORDS.values(), ids=IN_OTHER_WORDS)
def test_a_session_is_routed_whatever_its_file_is_called(
    moving: Stranger, monkeypatch: pytest.MonkeyPatch, worded: Callable[[Path], str]
) -> None:
    monkeypatch.chdir(moving.path.parent.parent)
    engine = sa.create_engine(worded(moving.path))
    routed = install(Session, **_both(moving))
    maker = install(sessionmaker(engine), **_both(moving))
    monkeypatch.chdir("/")
    with routed(engine) as one, maker() as other:
        assert one.get_bind() is other.get_bind() is runtime.runtime().engine(runtime.Side.SQLITE)
        assert one.scalars(sa.select(Role.name).order_by(Role.id)).all() == ["admin", "reader"]
    engine.dispose()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("postgresql://u@localhost/d", "postgresql+asyncpg://v:w@127.0.0.1:5432/d?ssl=require", True),
        ("postgresql://u@[::1]/d", "postgresql://u@/d", True),
        ("postgresql://u@%2Frun%2Fpg/d", "postgresql://u@/d?host=/run/pg", True),
        (
            "postgresql://u@/d?host=127.0.0.1:1&host=nowhere.invalid:2",
            "postgresql://Nowhere.invalid:2/d",
            True,
        ),
        ("postgresql://u@localhost/d", "postgresql://u@localhost:5433/d", False),
        ("postgresql://u@localhost/d", "postgresql://u@localhost/e", False),
        ("postgresql://u@localhost/d", "postgresql://u@nowhere.invalid/d", False),
        ("postgresql://u@localhost:5432/d", "mysql://u@localhost:5432/d", False),
        ("sqlite://", "sqlite://", False),
        ("sqlite:////a/b.db", "sqlite:////a/c.db", False),
    ],
)
def test_what_counts_as_the_same_database(one: str, other: str, same: bool) -> None:
    assert same_database(sa.make_url(one), sa.make_url(other)) is same
    assert same_database(sa.make_url(other), sa.make_url(one)) is same


def test_a_relative_file_is_that_of_the_folder_it_was_named_in(
    moving: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(moving.path.parent)
    routed = install(Session, sqlite=f"sqlite:///{moving.path.name}", postgres=moving.url)
    monkeypatch.chdir("/")
    _write_on_both_sides(moving, routed)


def test_a_maker_of_another_database_or_of_the_other_side_is_refused(
    moving: Stranger, engine: sa.Engine
) -> None:
    elsewhere = sa.create_engine("sqlite:////elsewhere.db")
    with pytest.raises(ConfigurationError, match=r"elsewhere\.db is neither side"):
        install(sessionmaker(elsewhere), **_both(moving))
    install(sessionmaker(engine), **_both(moving))
    there = sa.create_engine(parse_url(moving.url, name="url"))
    with pytest.raises(ConfigurationError, match="would begin on sqlite and on postgres"):
        install(sessionmaker(there), **_both(moving))


def test_models_and_statements_of_another_database_stay_there(
    moving: Stranger, engine: sa.Engine, tmp_path: Path
) -> None:
    """By `binds` of a session, and by the bind of one statement; a bind of the pair follows it."""
    other = sa.create_engine(f"sqlite:///{tmp_path}/other.db")
    note = sa.Table("note", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))
    note.create(other)
    maker = install(sessionmaker(binds={note: other, Role: engine}), **_both(moving))
    _write_on_both_sides(moving, maker)
    with maker() as session:
        session.execute(sa.insert(note).values(id=1))
        count: Any = sa.text("SELECT count(*) FROM note")
        assert session.scalar(count, bind_arguments={"bind": other}) == 1
        assert session.get_bind(bind=engine).dialect.name == "postgresql"
    other.dispose()


def test_the_bind_of_a_session_is_the_database_that_it_has_now(moving: Stranger, engine: sa.Engine) -> None:
    """Applications choose their SQL by `session.bind.dialect.name`, as MLflow and Prefect do."""
    plain = install(sessionmaker(engine), **_both(moving))
    on_a_loop = install(async_sessionmaker(), **_both(moving))
    elsewhere = sa.create_engine("sqlite://")

    async def look() -> str:
        async with on_a_loop() as session:
            return str(session.bind.dialect.name)

    for name, verb in (("sqlite", "cutover"), ("postgresql", "")):
        with plain() as session:
            assert session.bind is not None
            assert session.bind.dialect.name == asyncio.run(look()) == name
        if verb:
            moving.done(verb)
    with plain(bind=elsewhere) as session:
        assert session.bind is elsewhere


def test_what_the_application_does_to_its_connections_is_done_to_ours(
    moving: Stranger, engine: sa.Engine
) -> None:
    """Its own SQL functions are there after `install`, as MLflow needs it on SQLite."""

    @sa.event.listens_for(engine, "connect")
    def add_function(raw: Any, record: Any) -> None:
        raw.create_function("twice", 1, lambda value: 2 * value)

    for _ in range(2):
        maker = install(sessionmaker(engine), **_both(moving))
        with maker() as session:
            assert session.get_bind() is not engine
            assert session.scalar(sa.text("SELECT twice(21)")) == 42


def test_listeners_are_carried_over_however_they_were_registered_and_none_twice(
    moving: Stranger, engine: sa.Engine
) -> None:
    calls: list[str] = []

    def everywhere(raw: Any, record: Any) -> None:
        calls.append("everywhere")

    sa.event.listen(
        engine, "connect", lambda **given: calls.append(*given.keys() & {"dbapi_connection"}), named=True
    )
    sa.event.listen(engine, "connect", lambda raw, record: calls.append("once"), once=True)
    sa.event.listen(sa.Engine, "connect", everywhere)
    try:
        engine.connect().close()
        calls.clear()
        made = install(sessionmaker(engine), **_both(moving)).class_
        with made() as session:
            session.scalar(sa.text("SELECT 1"))
    finally:
        sa.event.remove(sa.Engine, "connect", everywhere)
    assert sorted(set(calls)) == ["dbapi_connection", "everywhere", "once"]
    assert calls.count("once") == 1 and calls.count("everywhere") == calls.count("dbapi_connection")
    assert made.__module__ == "sqlalchemy.orm.session"


def test_a_look_up_that_failed_is_made_again(
    moving: Stranger, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    routed = install(sessionmaker(engine), **_both(moving)).class_
    theirs = sa.create_engine(sa.make_url(moving.url).set(drivername="postgresql+psycopg", host="db.invalid"))
    answer = socket.getaddrinfo("127.0.0.1", None, type=socket.SOCK_STREAM)
    for found in (False, True):
        with routed(theirs) as session:
            assert (session.get_bind() is not theirs) is found
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
    theirs.dispose()


def test_a_transaction_that_began_before_the_move_writes_after_the_switch(
    stranger: Callable[..., Stranger], ours: None
) -> None:
    """As JupyterHub's: one session for its whole life, which reads long before it writes."""
    app = stranger()
    engine = sa.create_engine(f"sqlite:///{app.path}")
    with install(sessionmaker(engine), **_both(app))() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Role)) == 2
        app.done("run", "--schema", "existing", "--cutover")
        session.add(Role(id=10, name="late"))
        session.commit()
    engine.dispose()
    assert app.pg("SELECT name FROM role WHERE id = 10") == [("late",)]
