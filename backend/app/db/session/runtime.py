"""What one process holds of the pair: settings, engines, router, replicator. Made once, on first use.

With no shadow configured there is one engine and nothing else: no control row is read, no trigger
exists, no thread runs.

A process may fork (gunicorn's preload, multiprocessing). The parent closes its connections to SQLite before
that and goes on after it. The child makes all of this anew. If another thread of the parent was using SQLite
at that moment, the child says so and does nothing. Its idea of the file's locks would be wrong.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from weakref import WeakSet

from sqlalchemy import URL, Engine, QueuePool, event
from sqlalchemy.exc import SQLAlchemyError

from app.db.common import forks
from app.db.common.errors import ConfigurationError, ForkedInUse
from app.db.common.logs import logger
from app.db.common.settings import ShimSettings, database_echo, database_url, shim_settings
from app.db.common.url_options import bare
from app.db.common.urls import Pair, Side, make_pair, parse_url, same_database, side_of
from app.db.session.engines import make_engine
from app.db.session.hold import Router
from app.db.session.replicator import Replicator
from app.db.session.shadow_reads import ShadowReads
from app.db.session.strict import StrictWriter
from app.db.sides.control import Control
from app.db.sides.postgres.store import PostgresStore
from app.db.sides.sqlite.turn import WriteTurn, turn_at
from app.db.sides.stores import Stores
from app.db.switch.state.observed import Observer

log = logger("sigma.db")

WARM_CONNECTIONS = 10
FORK_PATIENCE_S = 1.0  # how long a fork waits for the background thread's round, and for open transactions
_PARTS = ("router", "write_turn", "replicator", "strict", "shadow_reads")


@dataclass(eq=False)
class Runtime:
    """The databases of this process.

    `url` is ST_DATABASE_URL; `pair` is None in single mode.
    """

    url: URL
    settings: ShimSettings
    pair: Pair | None = None
    echo: bool = False
    on_engine: list[Callable[[Engine], None]] = field(default_factory=list)  # the application's own listeners
    begun: threading.Lock = field(default_factory=threading.Lock)  # taken for good by `at_start.begin`
    _engines: dict[Side, Engine] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _rests: bool = False  # the background thread was stopped for a fork
    # What rests until the fork is done.
    _held: list[StrictWriter | Replicator | Router] = field(default_factory=list)
    forked_in_use: bool = False

    def __post_init__(self) -> None:
        forks.survive(self)

    @property
    def desired(self) -> Side:
        """The side that this deployment wants as primary."""
        return side_of(self.url)

    def engine(self, side: Side) -> Engine:
        """The engine of one side, made on first use."""
        with self._lock:
            if side not in self._engines:
                url = self.pair.url(side) if self.pair else self.url
                engine = make_engine(url, self.settings, echo=self.echo)
                if side is Side.SQLITE and self.pair is not None:
                    event.listen(engine, "do_connect", self._look_at_file)
                for listener in self.on_engine:
                    listener(engine)
                self._engines[side] = engine
            return self._engines[side]

    def _look_at_file(self, *_: Any) -> None:
        self.router.watch.check()  # a connection to what replaced the file would take its -wal away

    def tell(self, listener: Callable[[Engine], None]) -> None:
        """Have a function called with each engine, those of before included, once."""
        with self._lock:
            if listener not in self.on_engine:
                self.on_engine.append(listener)
                for engine in self._engines.values():
                    listener(engine)

    @cached_property
    def router(self) -> Router:
        """Routing; in dual mode only."""
        assert self.pair is not None
        return Router(self.pair, self.desired, self.settings, self._ask_arbiter)

    @cached_property
    def write_turn(self) -> WriteTurn:
        """The line in front of the write lock of SQLite's file; in dual mode only."""
        assert self.pair is not None
        return turn_at(self.pair.path)

    @cached_property
    def replicator(self) -> Replicator:
        """Background apply; in dual mode only."""
        assert self.pair is not None
        return Replicator(self.pair, self.settings, self._warm_up)

    def _warm_up(self) -> None:
        """Have connections to PostgreSQL ready: requests held by a switch must not all open their first one."""
        engine = self.engine(Side.POSTGRES)
        with ExitStack() as held, suppress(SQLAlchemyError):  # nothing depends on it
            for _ in range(min(WARM_CONNECTIONS, self.settings.pg_pool_size)):
                held.enter_context(engine.connect())

    @cached_property
    def observer(self) -> Observer:
        """Looks at the pair when somebody asks for health or metrics; in dual mode only."""
        return Observer(self.stores)

    def observe(self) -> None:
        """Look at the pair for the metrics, where there is one."""
        if self.pair is not None and self.router.prepared:
            self.observer.look()

    @cached_property
    def strict(self) -> StrictWriter:
        """Writes the shadow before the primary commits; in strict mode only."""
        return StrictWriter(self.stores)

    @cached_property
    def shadow_reads(self) -> ShadowReads:
        """Repeats a share of the reads on the shadow; with ST_SHADOW_READS=compare only."""
        return ShadowReads(
            self.settings.shadow_read_rate, self.engine, self.primary, self.replicator.catch_up
        )

    def stores(self, name: str = "st-shim") -> Stores:
        """Both sides through new connections; the caller closes them."""
        assert self.pair is not None
        return Stores.open(self.pair, self.settings, application_name=name)

    @contextmanager
    def arbiter(self) -> Iterator[PostgresStore]:
        """PostgreSQL alone through a new connection, which is closed at the end of the block."""
        assert self.pair is not None
        store = PostgresStore(self.pair.postgres, self.settings)
        try:
            yield store
        finally:
            store.close()

    def _ask_arbiter(self) -> Control:
        with self.arbiter() as store:
            return store.read_control()

    def primary(self) -> Side:
        """The side that serves now."""
        return self.router.primary() if self.pair else self.desired

    def start(self) -> None:
        """Start what runs in the background. Nothing in single mode."""
        if self.pair is not None:
            self.replicator.start()
            if self.router.prepared and self.primary() is not self.desired:
                log.warning(
                    "ST_DATABASE_URL names %s, but %s is primary; following the control row. "
                    "Set ST_CUTOVER=auto to switch at start, or run st-migrate cutover",
                    self.desired,
                    self.primary(),
                )

    def stop(self) -> None:
        """Stop the background thread and close all pools."""
        if self.pair is not None and "replicator" in self.__dict__:
            self.replicator.stop()
        if self.pair is not None and "strict" in self.__dict__:
            self.strict.close()
        if self.pair is not None and "observer" in self.__dict__:
            self.observer.close()
        if self.pair is not None and "router" in self.__dict__:
            self.router.close()
        for engine in self._engines.values():
            engine.dispose()
        if self.begun.locked():
            self.begun.release()

    # -- a fork ---------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Close what this process has open of SQLite, except what other threads are using."""
        if "replicator" in self.__dict__:
            self._rests = self.replicator.health().running
            self.replicator.stop(timeout=FORK_PATIENCE_S)
        until = time.monotonic() + FORK_PATIENCE_S
        for engine in self._file_engines():
            while _in_use(engine) and time.monotonic() < until:
                time.sleep(0.001)
        for part in filter(None, map(self.__dict__.get, ("strict", "replicator", "router"))):
            if part.rest(max(0.0, until - time.monotonic())):
                self._held.append(part)
        for engine in self._file_engines():
            if not _in_use(engine):
                engine.dispose()

    def after_fork_in_parent(self) -> None:
        """The background thread runs again, if it did."""
        while self._held:
            self._held.pop().go_on()
        if self._rests:
            self._rests = False
            self.replicator.start()

    def after_fork_in_child(self) -> None:
        """New locks, threads and connections; the parent's are left alone."""
        parts = {name: self.__dict__.pop(name) for name in _PARTS if name in self.__dict__}
        using = [parts[name].uses_sqlite for name in ("router", "strict", "replicator") if name in parts]
        self.forked_in_use = any(using) or any(map(_in_use, self._file_engines()))
        forks.leave_alone(*parts.values(), *(engine.pool for engine in self._engines.values()))
        for engine in self._engines.values():
            engine.dispose(close=False)  # somebody may hold this engine
        self._engines = {}
        self._lock, self.begun, self._rests, self._held = threading.Lock(), threading.Lock(), False, []

    def check_fork(self) -> None:
        """Refuse a child that has SQLite's idea of its parent's locks.

        Raises:
            ForkedInUse: it was forked while another thread of its parent used the SQLite file.
        """
        if self.forked_in_use:
            raise ForkedInUse(
                "this process was forked while another thread of its parent used the SQLite file",
                hint="fork before sessions are used, or start processes with spawn or forkserver",
            )

    def _file_engines(self) -> list[Engine]:
        return [
            e for e in self._engines.values() if e.dialect.name == "sqlite" and isinstance(e.pool, QueuePool)
        ]


def _in_use(engine: Engine) -> bool:
    return isinstance(engine.pool, QueuePool) and engine.pool.checkedout() > 0


def make_runtime(
    database_url: str,
    settings: ShimSettings,
    *,
    echo: bool = False,
) -> Runtime:
    """The runtime for a database URL and the shim's settings.

    Raises:
        ConfigurationError: a URL is wrong, or both name the same kind of database.
    """
    url = parse_url(database_url, name="ST_DATABASE_URL")
    pair = None
    if shadow := bare(settings.shadow_database_url):
        pair = make_pair(url, parse_url(shadow, name="ST_SHADOW_DATABASE_URL"))
        # A relative path means the folder of now, as it does to an engine.
        pair = replace(pair, sqlite=pair.sqlite.set(database=str(pair.path.absolute())))
    return Runtime(url, settings, pair, echo)


_runtime: Runtime | None = None
_making = threading.Lock()


def _renew() -> None:
    global _making
    _making = threading.Lock()


os.register_at_fork(after_in_child=_renew)


def runtime() -> Runtime:
    """The runtime of this process.

    Raises:
        ForkedInUse: it was forked while another thread of its parent used the SQLite file.
    """
    global _runtime
    with _making:
        if _runtime is None:
            url = database_url()
            if url is None:
                raise ConfigurationError("no database is named", hint="set ST_DATABASE_URL")
            _runtime = make_runtime(url, shim_settings(), echo=database_echo())
        _runtime.check_fork()
        return _runtime


_shared: WeakSet[Runtime] = WeakSet()


def share(wanted: Runtime) -> Runtime:
    """The runtime that this process has for the same databases and settings already, or `wanted` from now on.

    A process has one background thread and one pool for a pair, however many kinds of session it has.

    Raises:
        ConfigurationError: the one it has wants the other side as primary.
    """
    global _runtime
    with _making:
        known = {*_shared, *([_runtime] if _runtime else [])}
        found = next((one for one in known if _alike(one, wanted)), wanted)
        if found.desired is not wanted.desired:
            raise ConfigurationError(
                f"sessions of one process would begin on {found.desired} and on {wanted.desired}",
                hint="bind all of them to the same side of the pair",
            )
        _shared.add(found)
        _runtime = found
        return found


def _alike(one: Runtime, other: Runtime) -> bool:
    if one.pair is None or other.pair is None:
        return False
    worded = {"shadow_database_url": ""}
    return (
        same_database(one.pair.sqlite, other.pair.sqlite)
        and same_database(one.pair.postgres, other.pair.postgres)
        and one.settings.model_copy(update=worded) == other.settings.model_copy(update=worded)
    )


def use(replacement: Runtime | None) -> Runtime | None:
    """Replace the runtime of this process (tests, scripts). Returns the former one, which keeps running."""
    global _runtime
    with _making:
        former, _runtime = _runtime, replacement
        return former
