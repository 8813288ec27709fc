"""One line in the application: its own sessions follow the pair, in the running process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from app.db.common.errors import ConfigurationError, Fenced
from app.db.common.settings import shim_settings
from app.db.session import runtime
from st_migrate import install
from tests.operator.anyapp.conftest import Stranger
from tests.support.pairs import wait_until


class Base(DeclarativeBase):
    """The application's own, not ours."""


class Role(Base):
    __tablename__ = "role"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@pytest.fixture
def moving(stranger: Callable[..., Stranger], monkeypatch: pytest.MonkeyPatch) -> Iterator[Stranger]:
    """A pair that can be switched; what the process held of it is closed afterwards."""
    app = stranger()
    for verb in (["prepare", "--schema", "existing"], ["backfill"], ["verify"]):
        app.done(*verb)
    former = runtime.use(None)
    yield app
    if (ours := runtime.use(former)) is not None:
        ours.stop()


@pytest.fixture
def engine(moving: Stranger) -> Iterator[sa.Engine]:
    """The application's engine, on SQLite."""
    made = sa.create_engine(f"sqlite:///{moving.path}")
    yield made
    made.dispose()


def _roles(app: Stranger) -> tuple[list[str], list[str]]:
    app.done("worker", "--until-drained")
    statement = "SELECT name FROM role WHERE id > 2 ORDER BY id"
    return [row[0] for row in app.lite(statement)], [row[0] for row in app.pg(statement)]


def _both(app: Stranger) -> dict[str, str]:
    return {"sqlite": str(f"sqlite:///{app.path}"), "postgres": app.url}


def _write_on_both_sides(app: Stranger, make: Callable[[], Any]) -> None:
    """Write, switch, write again with the same maker, and find both rows on both sides."""
    with make() as session:
        session.add(Role(id=10, name="before"))
        session.commit()
        assert session.get_bind().dialect.name == "sqlite"
    app.done("cutover")
    with make() as session:
        session.add(Role(id=11, name="after"))
        session.commit()
        assert session.get_bind().dialect.name == "postgresql"
    assert _roles(app) == (["before", "after"], ["before", "after"])


def test_a_sessionmaker_follows_the_switch_in_its_process(moving: Stranger, engine: sa.Engine) -> None:
    maker = sessionmaker(engine)
    assert install(maker, **_both(moving)) is maker
    _write_on_both_sides(moving, maker)


def test_a_session_class_keeps_what_is_its_own(moving: Stranger, engine: sa.Engine) -> None:
    class Own(Session):
        """As SQLModel's: a class with a method more, made with an engine."""

        def names(self) -> list[str]:
            return list(self.scalars(sa.select(Role.name)))

    seen: list[str] = []
    routed = install(Own, **_both(moving), on_engine=lambda made: seen.append(made.dialect.name))
    _write_on_both_sides(moving, lambda: routed(engine))
    with routed(bind=engine) as session:
        assert "after" in session.names()
    assert set(seen) == {"sqlite", "postgresql"}


def test_a_registry_of_sessions_and_a_model_of_another_database(
    moving: Stranger, engine: sa.Engine, tmp_path: Any
) -> None:
    """As Flask-SQLAlchemy does it: one scoped session, some models with a database of their own."""
    other = sa.create_engine(f"sqlite:///{tmp_path}/other.db")
    metadata = sa.MetaData(info={"bind_key": "other"})
    note = sa.Table("note", metadata, sa.Column("id", sa.Integer, primary_key=True))
    metadata.create_all(other)

    class Flasks(Session):
        def get_bind(self, mapper: Any = None, clause: Any = None, **options: Any) -> Any:
            key = getattr(getattr(clause, "table", clause), "metadata", sa.MetaData()).info.get("bind_key")
            return other if key else engine

    registry = scoped_session(sessionmaker(class_=Flasks))
    install(registry, **_both(moving))
    _write_on_both_sides(moving, registry)
    registry.execute(sa.insert(note).values(id=1))
    registry.commit()
    registry.remove()
    with other.connect() as connection:
        assert connection.scalar(sa.select(note.c.id)) == 1
    other.dispose()


def test_a_session_of_another_database_or_a_connection_is_left_alone(
    moving: Stranger, engine: sa.Engine
) -> None:
    routed = install(Session, **_both(moving))
    elsewhere = sa.create_engine("sqlite://")
    with routed(elsewhere) as session:
        assert session.get_bind() is elsewhere
        session.execute(sa.text("CREATE TABLE t (id INTEGER)"))
        session.commit()
    elsewhere.dispose()
    with engine.connect() as connection, routed(connection) as session:
        assert session.get_bind() is connection


def test_async_sessions_follow_the_switch_too(moving: Stranger) -> None:
    maker = install(async_sessionmaker(expire_on_commit=False), **_both(moving))

    async def write(key: int, name: str) -> str:
        async with maker() as session:
            async with session.begin():
                session.add(Role(id=key, name=name))
            role = await session.get(Role, key)
            assert role is not None
            await session.refresh(role)
            rows = await session.execute(sa.select(Role.name).where(Role.id == key))
            assert rows.scalar_one() == role.name == name
            return session.get_bind().dialect.name

    assert asyncio.run(write(10, "before")) == "sqlite"
    moving.done("cutover")
    assert asyncio.run(write(11, "after")) == "postgresql"
    assert _roles(moving) == (["before", "after"], ["before", "after"])


@pytest.fixture(params=["off", "async", "sync", "strict"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("ST_DUAL_WRITE", request.param)
    monkeypatch.setenv("ST_DUAL_WRITE_TIMEOUT_MS", "60000")
    shim_settings.cache_clear()
    yield request.param
    shim_settings.cache_clear()


def _plainly(maker: Callable[[], Session]) -> Callable[[int, str], str]:
    def write(key: int, name: str) -> str:
        with maker() as session:
            session.add(Role(id=key, name=name))
            session.commit()
            return str(session.get_bind().dialect.name)

    return write


def _on_a_loop(maker: Callable[[], AsyncSession]) -> Callable[[int, str], str]:
    async def write(key: int, name: str) -> str:
        async with maker() as session:
            session.add(Role(id=key, name=name))
            await session.commit()
            return str(session.get_bind().dialect.name)

    return lambda key, name: asyncio.run(write(key, name))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_every_mode_of_dual_write_holds_with_either_side_as_primary(
    moving: Stranger, mode: str, asynchronous: bool
) -> None:
    moving.done("cutover")
    write = (
        _on_a_loop(install(async_sessionmaker(), **_both(moving)))
        if asynchronous
        else _plainly(install(sessionmaker(), **_both(moving)))
    )

    def arrives(key: int, name: str, shadow: Callable[[str], list[Any]]) -> None:
        """At once where a commit waits for the shadow, soon where a thread follows, else with the worker."""

        def there() -> bool:
            return bool(shadow(f"SELECT 1 FROM role WHERE id = {key} AND name = '{name}'"))

        if mode == "async":
            wait_until(there, seconds=60)
            return
        assert there() is (mode != "off")
        if mode == "off":
            moving.done("worker", "--until-drained")
            assert there()

    assert runtime.runtime().settings.dual_write == mode
    assert write(10, "there") == "postgresql"
    arrives(10, "there", moving.lite)
    moving.done("rollback")
    assert write(11, "back") == "sqlite"
    arrives(11, "back", moving.pg)


def test_the_event_loop_goes_on_while_a_session_waits_at_the_fence(moving: Stranger) -> None:
    """The task that lowers the fence runs on the loop: it never would, if the session waited there."""
    kind = install(AsyncSession, **_both(moving))
    moving.lite("UPDATE st_control SET writable = 0")

    async def write() -> None:
        async with kind() as session:
            session.add(Role(id=10, name="held"))
            await session.commit()

    async def both() -> None:
        held = asyncio.create_task(write())
        for _ in range(20):
            await asyncio.sleep(0.01)
        assert not held.done()
        moving.lite("UPDATE st_control SET writable = 1")
        await held

    asyncio.run(both())
    assert moving.lite("SELECT name FROM role WHERE id = 10") == [("held",)]


def test_an_engine_of_the_application_s_own_gets_a_clear_error(moving: Stranger, engine: sa.Engine) -> None:
    install(engine)
    moving.done("cutover")
    with engine.connect() as connection, pytest.raises(Fenced, match="sqlite takes no application writes"):
        connection.execute(sa.text("UPDATE role SET name = 'x'"))


def test_an_engine_on_the_fenced_postgres_gets_it_too(moving: Stranger) -> None:
    url = sa.make_url(moving.url).set(drivername="postgresql+psycopg")
    write, refused = sa.text("UPDATE role SET name = 'x'"), "postgres takes no application writes"
    plain = install(sa.create_engine(url))
    with plain.connect() as connection, pytest.raises(Fenced, match=refused):
        connection.execute(write)
    plain.dispose()

    async def asynchronously() -> None:
        engine = install(create_async_engine(url))
        async with engine.connect() as connection:
            with pytest.raises(Fenced, match=refused):
                await connection.execute(write)
        await engine.dispose()

    asyncio.run(asynchronously())


def test_what_an_async_session_of_a_pair_does_otherwise(moving: Stranger) -> None:
    kind = install(AsyncSession, **_both(moving))

    async def look() -> list[str]:
        async with kind() as session:
            streamed = await session.stream_scalars(sa.select(Role.name).order_by(Role.id))
            names = [name async for name in streamed]
            with pytest.raises(sa.exc.InvalidRequestError, match="requires an async driver"):
                await session.connection()
            return names

    assert asyncio.run(look()) == ["admin", "reader"]


def test_without_a_shadow_nothing_is_changed(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ST_SHADOW_DATABASE_URL", raising=False)
    shim_settings.cache_clear()
    maker = sessionmaker(engine)
    before = maker.class_, dict(maker.kw)
    assert install(maker) is maker
    assert (maker.class_, maker.kw) == before
    assert install(Session) is Session
    with pytest.raises(ConfigurationError, match="cannot do anything with"):
        install(42)


@pytest.mark.parametrize(("verb", "children"), [("cutover", True), ("rollback", True), ("rollback", False)])
def test_a_transaction_that_only_reads_holds_up_no_switch(
    moving: Stranger, engine: sa.Engine, verb: str, children: bool
) -> None:
    """As JupyterHub has one open for as long as it runs: it ends when it writes, and apply goes on then."""
    maker = install(sessionmaker(engine), **_both(moving))
    if not children:  # the only rows are then of a table that a foreign key refers to
        moving.lite("DELETE FROM person")
    if verb == "rollback":
        moving.done("cutover")
    with maker() as session:
        assert len(session.scalars(sa.select(Role)).all()) == 2
        moving.done(verb)
        session.add(Role(id=10, name="after"))
        session.commit()
        assert session.get_bind().dialect.name == ("sqlite" if verb == "rollback" else "postgresql")
    assert _roles(moving) == (["after"], ["after"])


@pytest.mark.parametrize(("said", "shown"), [(None, "1min"), ("0", "0")])
def test_how_long_an_open_transaction_may_rest_is_the_operator_s_choice(
    moving: Stranger, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, said: str | None, shown: str
) -> None:
    if said is not None:
        monkeypatch.setenv("ST_PG_IDLE_TRANSACTION_TIMEOUT_MS", said)
    shim_settings.cache_clear()
    maker = install(sessionmaker(engine), **_both(moving))
    moving.done("cutover")
    with maker() as session:
        assert session.scalar(sa.text("SHOW idle_in_transaction_session_timeout")) == shown
    shim_settings.cache_clear()
