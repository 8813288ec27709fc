"""The stage of a run: a directory, a PostgreSQL server, a SQLite file, the environment of every process.

Everything that a run starts is started through its stage, and `close` ends all of it, whatever happened.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Self

from loadtests.stage import sample
from loadtests.stage.embedded import EmbeddedPostgres, free_port
from loadtests.stage.processes import ADMIN, WEBHOOK_SECRET, Backend, StMigrate

DATABASE = "sigma_trader"


class Stage:
    """One run's surroundings.

    Args:
        workers: worker processes of a backend.
        seed: for the database that is made.
        postgres: makes the server in a folder; None: the embedded one, in a folder of its own.
    """

    def __init__(
        self,
        *,
        workers: int = 2,
        seed: int = 1,
        postgres: Callable[[Path], EmbeddedPostgres] | None = None,
    ) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="st-load-"))
        self.sqlite_path = self.base / "sigma_trader.db"
        self.ledger_path = self.base / "ledger.jsonl"
        self.backend_log = self.base / "backend.log"
        self.migrate_log = self.base / "st-migrate.log"
        self.postgres = postgres(self.base) if postgres else EmbeddedPostgres()
        self.postgres_url = ""
        self.origin = f"the database made with seed {seed}"
        self.users: list[str] = []
        self._workers = workers
        self._seed = seed
        self._backends: list[Backend] = []

    def set_up(self) -> None:
        """Start PostgreSQL with an empty database, and make the SQLite file."""
        self.postgres.start()
        self.postgres_url = self.postgres.create_database(DATABASE)
        sample.make(self.sqlite_path, seed=self._seed)
        self.users = sample.users_of(self.sqlite_path)
        (self.base / "config").mkdir()
        (self.base / "metrics").mkdir()

    @property
    def sqlite_url(self) -> str:
        """SQLAlchemy URL of the SQLite side."""
        return f"sqlite:///{self.sqlite_path}"

    @property
    def postgres_dsn(self) -> str:
        """The PostgreSQL side for libpq."""
        return self.postgres.dsn(DATABASE)

    def env(self, *, primary: str = "sqlite", cutover: str = "manual", **extra: str) -> dict[str, str]:
        """The ST_ variables of a deployment that wants the given side as primary."""
        urls = [self.sqlite_url, self.postgres_url]
        url, shadow = urls if primary == "sqlite" else urls[::-1]
        return {
            "ST_DATABASE_URL": url,
            "ST_SHADOW_DATABASE_URL": shadow,
            "ST_CUTOVER": cutover,
            "ST_CRYPTO_KEY": sample.CRYPTO_KEY,
            "ST_TRADINGVIEW_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "ST_ADMIN_USERNAME": ADMIN[0],
            "ST_ADMIN_PASSWORD": ADMIN[1],
            "ST_CONFIG_DIR": str(self.base / "config"),
            "PROMETHEUS_MULTIPROC_DIR": str(self.base / "metrics"),
            **extra,
        }

    def backend(self, env: dict[str, str] | None = None) -> Backend:
        """A backend of this run on a port of its own, not started yet."""
        backend = Backend(free_port(), env or self.env(), self.backend_log, workers=self._workers)
        self._backends.append(backend)
        return backend

    def migrate(self) -> StMigrate:
        """The operator's command line."""
        return StMigrate(self.env(), self.migrate_log)

    def close(self) -> None:
        """End every backend and the server, and remove the directory."""
        for backend in self._backends:
            backend.stop()
        self.postgres.close()
        shutil.rmtree(self.base, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
