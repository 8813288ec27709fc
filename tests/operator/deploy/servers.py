"""What these tests run beside the embedded PostgreSQL: a pooler, a replica, and blocks of SQL out of the docs."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from loadtests.stage.embedded import PASSWORD, EmbeddedPostgres, free_port
from tests.support.pairs import connect, wait_until

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
_BLOCK = re.compile(r"^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def sql_blocks(page: str) -> list[list[str]]:
    """The statements of every SQL block of a page under docs/, comments left out."""
    blocks = _BLOCK.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))
    return [_statements(block) for block in blocks]


def _statements(block: str) -> list[str]:
    code = "\n".join(line.split("--")[0].rstrip() for line in block.splitlines())
    return [statement.strip() for statement in code.split(";") if statement.strip()]


def execute(url: str, statements: list[str]) -> None:
    """Each statement by itself, as psql would send it."""
    with connect(url) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def set_password(server: EmbeddedPostgres, role: str) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(
            sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(PASSWORD))
        )


def user_for_servers() -> str | None:
    """Neither PostgreSQL nor PgBouncer runs as root."""
    return "nobody" if os.geteuid() == 0 else None


@contextmanager
def pgbouncer(binary: str, server: EmbeddedPostgres, users: list[str]) -> Iterator[tuple[int, Path]]:
    """PgBouncer with our pgbouncer.ini in front of a server, only addresses and paths adapted.

    Yields:
        The port, and the file of its log.
    """
    folder = Path(tempfile.mkdtemp(prefix="st-bouncer-"))
    port = free_port()
    config = configparser.ConfigParser(interpolation=None)
    config.read(DEPLOY / "pgbouncer" / "pgbouncer.ini")
    database = config["databases"]["sigma"]
    config["databases"]["sigma"] = database.replace(
        "host=postgres port=5432", f"host=127.0.0.1 port={server.port}"
    )
    assert str(server.port) in config["databases"]["sigma"]
    config["pgbouncer"].update(
        {
            "listen_addr": "127.0.0.1",
            "listen_port": str(port),
            "auth_file": str(folder / "userlist.txt"),
            "unix_socket_dir": "",
        }
    )
    with (folder / "pgbouncer.ini").open("w") as file:
        config.write(file)
    quoted = PASSWORD.replace('"', '""')
    (folder / "userlist.txt").write_text(
        "".join(f'"{user}" "{quoted}"\n' for user in users), encoding="utf-8"
    )
    log = folder / "log"
    user = user_for_servers()
    for path in (folder, *folder.iterdir()):
        if user:
            shutil.chown(path, user)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [binary, str(folder / "pgbouncer.ini")], stdout=output, stderr=output, user=user, cwd=folder
        )
    try:
        _wait_for_port(
            server.url("sigma", user=users[0]).replace(f":{server.port}/", f":{port}/"), process, log
        )
        yield port, log
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for_port(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 15
    while True:
        try:
            connect(url, connect_timeout=2, prepare_threshold=None).close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"PgBouncer did not start: {log.read_text(encoding='utf-8')[-2000:]}"
                ) from None
            time.sleep(0.05)


@contextmanager
def make_replica(primary: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """A running, synchronous streaming replica of a server, made by pg_basebackup."""
    replica = EmbeddedPostgres()
    backup = subprocess.run(
        [str(replica._bin / "pg_basebackup"), "-D", str(replica.data), "-R", "-X", "stream", "-c", "fast",
         "--no-sync", "-d", primary.dsn() + " application_name=replica"],
        user=user_for_servers(), capture_output=True, cwd=replica.base,
    )  # fmt: skip
    if backup.returncode:
        raise RuntimeError(backup.stderr.decode())
    with replica:
        with connect(primary.url()) as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")
            in_step = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
            wait_until(lambda: connection.execute(in_step).fetchone() is not None)
        yield replica
