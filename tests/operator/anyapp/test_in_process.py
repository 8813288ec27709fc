"""One line in the application: its own sessions follow the pair, in the running process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from app.db.common.errors import ConfigurationError, Fenced
from app.db.common.settings import shim_settings
from app.db.session import runtime
from st_migrate import install
from tests.operator.anyapp.conftest import Stranger


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
