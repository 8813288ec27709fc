"""The ways to commit that are compared: without the shim, with it in each mode, and the naive way.

The naive dual-writer is what one would write in an afternoon: every object goes to a second session, and
both are committed, one after the other. A crash or an error between the two leaves them different, and
nothing notices; it is here as the price to beat, not as something to use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import Session, sessionmaker

from app.db import SessionLocal
from app.db.common.settings import DualWrite, ShimSettings
from app.db.common.urls import Side
from app.db.revisions.chain import upgrade_head
from app.db.session.runtime import Runtime, make_runtime, use
from app.models import User
from loadtests.bench.lab.lab import Lab
from loadtests.bench.lab.pairs import close_applier, make_applier, move, prepare_sample
from loadtests.show.headline import ASYNC, OFF, POSTGRES_ALONE, SYNC
from migration.fill.backfill import Backfill
from migration.verify.run import Verify

Factory = Callable[[], Session]
USER = 1_000  # beyond what the migrations write


@dataclass(frozen=True)
class Mode:
    """One way to commit. `dual` is None where there is no shadow."""

    name: str
    primary: Side = Side.SQLITE
    dual: DualWrite | None = None


MODES = (
    Mode(OFF),
    Mode("SQLite, capture only", dual=DualWrite.OFF),
    Mode(ASYNC, dual=DualWrite.ASYNC),
    Mode(SYNC, dual=DualWrite.SYNC),
    Mode("SQLite, strict", dual=DualWrite.STRICT),
    Mode("PostgreSQL, reverse async", Side.POSTGRES, DualWrite.ASYNC),
    Mode("PostgreSQL, reverse sync", Side.POSTGRES, DualWrite.SYNC),
    Mode(POSTGRES_ALONE, Side.POSTGRES),
)


class NaiveSession(Session):
    """Commits here, then writes the same objects there and commits there."""

    def __init__(self, first: Engine, second: Engine) -> None:
        super().__init__(first, expire_on_commit=False, autoflush=False)
        self._second = second
        self.written: list[Any] = []

    def commit(self) -> None:
        """Both commits, one after the other."""
        super().commit()
        with Session(self._second, expire_on_commit=False) as other:
            for item in self.written:
                columns = type(item).__mapper__.column_attrs.keys()
                other.merge(type(item)(**{name: getattr(item, name) for name in columns}))
            other.commit()
        self.written.clear()


@event.listens_for(NaiveSession, "before_flush")
def _remember(session: NaiveSession, context: Any, instances: Any) -> None:
    session.written += [*session.new, *(item for item in session.dirty if session.is_modified(item))]


def plain_engine(url: str) -> Engine:
    """An engine as an application has it that knows nothing of the shim."""
    # st-lint: allow engine-outside-seam - this is the measurement without the seam
    return create_engine(url, connect_args={"timeout": 30} if url.startswith("sqlite") else {})


@cache
def field_of(lab: Lab) -> Field:
    """The lab's field: what several parts of one lab measure on."""
    return Field(lab)


class Field:
    """The databases of all modes, made once; each mode writes its own.

    Args:
        lab: where they are.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._template = lab.file("empty")
        upgrade_head(f"sqlite:///{self._template}")
        engine = plain_engine(f"sqlite:///{self._template}")
        with engine.begin() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        with Session(engine) as session:
            session.add(User(id=USER, username="bench", password_hash="-"))
            session.commit()
        engine.dispose()
        self._pairs = {side: self._pair(side) for side in Side}
        self._single = {Side.SQLITE: f"sqlite:///{lab.copy_of(self._template)}", Side.POSTGRES: self._alone()}
        self._plain = f"sqlite:///{lab.copy_of(self._template)}"
        self._naive = (
            f"sqlite:///{lab.copy_of(self._template)}",
            lab.database(template=self._single[Side.POSTGRES]),
        )

    def _alone(self) -> str:
        url = self._lab.database()
        upgrade_head(url)
        engine = plain_engine(url)
        with Session(engine) as session:
            if session.get(User, USER) is None:
                session.add(User(id=USER, username="bench", password_hash="-"))
                session.commit()
        engine.dispose()
        return url

    def _pair(self, primary: Side) -> tuple[Path, str]:
        path, url = self._lab.copy_of(self._template), self._lab.database()
        prepare_sample(path, url)
        _, applier = make_applier(path, url)
        Backfill(applier).run()
        Verify(applier).run()
        if primary is Side.POSTGRES:
            move(applier, primary)
        close_applier(applier)
        return path, url

    @contextmanager
    def alone(self) -> Iterator[Factory]:
        """SQLite without the shim."""
        engine = plain_engine(self._plain)
        yield sessionmaker(engine, expire_on_commit=False, autoflush=False)
        engine.dispose()

    @contextmanager
    def naive(self) -> Iterator[Factory]:
        """SQLite and PostgreSQL, naively."""
        first, second = map(plain_engine, self._naive)
        yield lambda: NaiveSession(first, second)
        first.dispose()
        second.dispose()

    @contextmanager
    def open(self, mode: Mode) -> Iterator[tuple[Factory, Runtime]]:
        """Sessions of the shim in a mode; leaves with the shadow caught up."""
        current = self._runtime(mode)
        former = use(current)
        current.start()
        try:
            if current.pair is not None and mode.dual is not DualWrite.OFF:
                current.replicator.catch_up()
            yield SessionLocal, current
            if current.pair is not None and mode.dual is not DualWrite.OFF:
                current.replicator.catch_up()
        finally:
            current.stop()
            use(former)

    def environment(self, name: str) -> dict[str, str]:
        """The ST_ variables by which a backend commits in a mode."""
        mode = next(mode for mode in MODES if mode.name == name)
        if mode.dual is None:
            return {"ST_DATABASE_URL": self._single[mode.primary]}
        primary, shadow = self._urls(mode.primary)
        return {
            "ST_DATABASE_URL": primary,
            "ST_SHADOW_DATABASE_URL": shadow,
            "ST_DUAL_WRITE": mode.dual.value,
        }

    def _urls(self, side: Side) -> tuple[str, str]:
        """Primary and shadow of a pair."""
        path, url = self._pairs[side]
        file = f"sqlite:///{path}"
        return (file, url) if side is Side.SQLITE else (url, file)

    def _runtime(self, mode: Mode) -> Runtime:
        if mode.dual is None:
            return make_runtime(self._single[mode.primary], ShimSettings(shadow_database_url=""))
        primary, shadow = self._urls(mode.primary)
        return make_runtime(primary, ShimSettings(shadow_database_url=shadow, dual_write=mode.dual))

    def pair_of(self, side: Side) -> tuple[Path, str]:
        """File and URL of the pair whose primary this is."""
        return self._pairs[side]
