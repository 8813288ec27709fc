"""What a burst hits: a checkout's backend in one mode, with databases and a broker of its own.

Schema, control rows and copies are made by the checkout's own code: an older one is compared as it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
from prometheus_client.mmap_dict import MmapedDict

from app.core.config import Settings
from app.core.crypto import encrypt_token
from loadtests.burst.send.plan import (
    ASYNC,
    AUTO_USER,
    BROKER,
    CALM,
    COMMANDS,
    POSTGRES,
    SQLITE,
    SYNC,
    USERS,
)
from loadtests.judge.sides import Database, PostgresSide, SqliteSide
from loadtests.stage.embedded import EmbeddedPostgres, free_port
from loadtests.stage.processes import ADMIN, REPO, WEBHOOK_SECRET, Backend, Broken, Result, StMigrate

CRYPTO_KEY = "burst-crypto-key-0123456789abcdef01"
DOOR = Path(__file__).parent / "door"
QUEUE = "st_webhook_queue"
URLS = ("ST_DATABASE_URL", "ST_SHADOW_DATABASE_URL")
CANDLES = 60_000  # what backfill and verify have to work on during a burst


class Door(Backend):
    """A backend that is told of the fake broker."""

    application = "fake_broker_app:app"

    def processor_s(self) -> float:
        """Processor seconds of the supervisor and its workers so far."""
        return processor_s(self.pid)


def processor_s(pid: int) -> float:
    """Processor seconds of a process and all that it has started, those that have ended included."""
    total = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        for process in (top, *top.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += sum(process.cpu_times()[:4])  # user, system, and both of ended children
    return total


class World:
    """Databases in one mode, and the environment of a backend on them.

    Args:
        base: an empty directory.
        server: where the PostgreSQL database is made; not needed for SQLite alone.
        mode: one of `loadtests.burst.send.plan.MODES`.
        checkout: whose code runs.
        name: of the PostgreSQL database.
        settings: further variables of the backend.
        workers: of the backend.
    """

    def __init__(
        self,
        base: Path,
        server: EmbeddedPostgres | None,
        mode: str,
        *,
        checkout: Path = REPO,
        name: str = "burst",
        settings: Mapping[str, str] | None = None,
        workers: int = 2,
    ) -> None:
        self.base = base
        self.mode = mode
        self.calls = base / "broker-calls.jsonl"
        self.log = base / "backend.log"
        self.sqlite_path = base / "sigma_trader.db"
        self._server = server
        self._name = name
        self._checkout = checkout
        self._settings = dict(settings or {})
        self._workers = workers
        self._metrics = base / "metrics"

    @property
    def pair(self) -> bool:
        """Whether there are two sides."""
        return self.mode in (SYNC, ASYNC)

    @property
    def conninfo(self) -> str:
        """The PostgreSQL side for libpq."""
        return self.server.dsn(self._name)

    @property
    def server(self) -> EmbeddedPostgres:
        """Where the PostgreSQL database is; ValueError if there is none."""
        if self._server is None:
            raise ValueError(f"mode {self.mode} needs a PostgreSQL server")
        return self._server

    def postgres_processor_s(self) -> float:
        """Processor seconds of the PostgreSQL server so far."""
        return processor_s(self._server.pid) if self._server else 0.0

    def make(self, situation: str = CALM) -> None:
        """Make the databases. Pairs replicate already, unless it is the backfill that the burst has to meet."""
        self.base.mkdir(parents=True, exist_ok=True)
        self._metrics.mkdir(exist_ok=True)
        self.calls.touch()
        config = {"brokers": ["zerodha", BROKER], "default_broker": "zerodha"}
        (self.base / "config.json").write_text(json.dumps(config), encoding="utf-8")
        if self.mode != SQLITE:
            self.server.create_database(self._name)
        alone = {"ST_SHADOW_DATABASE_URL": "", "ST_AUTO_MIGRATE": "1"}
        with self._running(self.env() | alone):
            pass  # the first start makes the schema and the administrator
        self._people()
        if self.pair:
            if situation in COMMANDS:
                self._candles()
            for verb in ("prepare", "backfill", "verify") if situation != "backfill" else ("prepare",):
                self.migrate(verb)

    def env(self) -> dict[str, str]:
        """The backend's variables."""
        sqlite = f"sqlite:///{self.sqlite_path}"
        postgres = "" if self.mode == SQLITE else self.server.url(self._name)
        return {
            "ST_DATABASE_URL": postgres if self.mode == POSTGRES else sqlite,
            "ST_SHADOW_DATABASE_URL": postgres if self.pair else "",
            **({"ST_DUAL_WRITE": self.mode} if self.pair else {}),
            "ST_CRYPTO_KEY": CRYPTO_KEY,
            "ST_TRADINGVIEW_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "ST_ADMIN_USERNAME": ADMIN[0],
            "ST_ADMIN_PASSWORD": ADMIN[1],
            "ST_CONFIG_DIR": str(self.base),
            "PROMETHEUS_MULTIPROC_DIR": str(self._metrics),
            "BURST_BROKER_CALLS": str(self.calls),
            "PYTHONPATH": os.pathsep.join(map(str, (self._checkout / "backend", self._checkout, DOOR))),
            **self._settings,
        }

    @contextmanager
    def backend(self, through: int | None = None) -> Iterator[Door]:
        """The backend, ready; ended afterwards. `through`: the port at which it reaches PostgreSQL."""
        env = self.env()
        if through is not None:
            own, other = f":{self.server.port}/", f":{through}/"
            env |= {name: env[name].replace(own, other) for name in URLS}
        with self._running(env) as door:
            yield door

    @contextmanager
    def _running(self, env: Mapping[str, str]) -> Iterator[Door]:
        for left in self._metrics.glob("*.db"):
            left.unlink()
        door = Door(free_port(), env, self.log, workers=self._workers, checkout=self._checkout)
        try:
            yield door.start()  # type: ignore[misc]
        finally:
            door.stop()

    @property
    def operator(self) -> StMigrate:
        """The checkout's command line."""
        return StMigrate(self.env(), self.base / "st-migrate.log", checkout=self._checkout)

    def migrate(self, verb: str, *options: str) -> Result:
        """One call that has to succeed; Broken otherwise."""
        result = self.operator.run(verb, *options)
        if result.exit:
            raise Broken(f"st-migrate {verb} exited {result.exit}: {result.message} {result.errors[-800:]}")
        return result

    @contextmanager
    def sides(self) -> Iterator[list[Database]]:
        """The databases of this mode, the primary of the begin first."""
        with contextlib.ExitStack() as stack:
            found: list[Database] = []
            if self.mode != POSTGRES:
                found.append(stack.enter_context(closing(SqliteSide(self.sqlite_path))))
            if self.mode != SQLITE:
                found.append(stack.enter_context(closing(PostgresSide(self.conninfo))))
            yield found

    def queue(self) -> float | None:
        """Deliveries in line in all workers, from the files of their metrics; None where there is no such metric."""
        found: list[float] = []
        for path in self._metrics.glob("gauge_livesum_*.db"):
            with contextlib.suppress(OSError, ValueError, RuntimeError):
                found += [
                    value
                    for key, value, *_ in MmapedDict.read_all_values_from_file(str(path))
                    if json.loads(key)[0] == QUEUE
                ]
        return sum(found) if found else None

    def _people(self) -> None:
        now = datetime.now(UTC).replace(tzinfo=None)
        stamps = {"created_at": now, "updated_at": now}
        config = {
            "mode": "AUTO", "broker_name": BROKER, "execution_target": "LIVE", "default_product": "CNC",
            "fallback_to_waiting_on_error": False,
        }  # fmt: skip
        auto = 1000 + len(USERS)
        with self._inserting() as insert:
            for number, name in enumerate((*USERS, AUTO_USER)):
                user = {"id": 1000 + number, "username": name, "password_hash": "-", "role": "TRADER"}
                insert("users", user | stamps)
            secret = {
                "user_id": auto, "broker_name": "webhook", "key": "tradingview_webhook_config",
                "value_encrypted": encrypted(json.dumps(config)),
            }  # fmt: skip
            insert("broker_secrets", {"id": 1000} | secret | stamps)
            connection = {"user_id": auto, "broker_name": BROKER, "access_token_encrypted": encrypted("t")}
            insert("broker_connections", {"id": 1000} | connection | stamps)

    def _candles(self) -> None:
        first = datetime(2020, 1, 1, tzinfo=UTC).replace(tzinfo=None)
        with closing(sqlite3.connect(self.sqlite_path)) as connection:
            connection.executemany(
                "INSERT INTO candles (symbol, exchange, timeframe, ts, open, high, low, close, volume)"
                " VALUES ('BURST', 'NSE', '1m', ?, 1.5, 2.5, 0.5, 2.0, 10.0)",
                ((str(first + timedelta(minutes=n)) + ".000000",) for n in range(CANDLES)),
            )
            connection.commit()

    @contextmanager
    def _inserting(self) -> Iterator[Callable[[str, Mapping[str, Any]], None]]:
        """A function that inserts a row into the primary; all rows are committed at the end."""
        postgres = self.mode == POSTGRES
        connection: Any = psycopg.connect(self.conninfo) if postgres else sqlite3.connect(self.sqlite_path)
        with closing(connection):

            def insert(table: str, row: Mapping[str, Any]) -> None:
                marks = ", ".join(["%s" if postgres else "?"] * len(row))
                values = [_stored(value, postgres) for value in row.values()]
                connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", values)

            yield insert
            connection.commit()


def _stored(value: Any, postgres: bool) -> Any:
    if isinstance(value, datetime) and not postgres:
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
    return value


def encrypted(text: str) -> str:
    """A secret as the application stores it."""
    return encrypt_token(Settings.model_construct(crypto_key=CRYPTO_KEY), text)


def read_calls(path: Path) -> Sequence[Mapping[str, Any]]:
    """Every call that the broker was asked for, in order; a last line that a kill cut off is left out."""
    *complete, _ = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in complete]
