"""Debian's PostgreSQL with pgBackRest, both with the files of `deploy`; only paths and ports are changed.

Under root the server and pgBackRest run as the system user `postgres`, which Debian's package has made.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import psycopg

from loadtests.stage.embedded import EmbeddedPostgres
from loadtests.stage.processes import REPO, Broken

VERSIONS = Path("/usr/lib/postgresql")
DEPLOY = REPO / "deploy"
STANZA = "sigmatrader"


def binaries() -> Path | None:
    """The folder of Debian's newest server; None without one."""
    found = {int(path.name): path / "bin" for path in VERSIONS.glob("*") if path.name.isdigit()}
    usable = [version for version, folder in found.items() if (folder / "postgres").exists()]
    return found[max(usable)] if usable else None


def missing() -> str | None:
    """Which of Debian's packages is not installed; None if nothing is missing."""
    if binaries() is None:
        return "postgresql"
    return None if shutil.which("pgbackrest") else "pgbackrest"


class DebianServer(EmbeddedPostgres):
    """See `EmbeddedPostgres`. The server has our postgresql.conf.

    Args:
        base: its folder, made if it is missing.
        env: what the server's own commands find in their environment: where pgBackRest's configuration is.
        archiving: whether its log goes to the repository.
    """

    def __init__(self, base: Path, env: Mapping[str, str], *, archiving: bool) -> None:
        super().__init__(base)
        self._env = {"PATH": os.environ["PATH"], **env}
        config = Path(shutil.copy(DEPLOY / "postgres" / "postgresql.conf", base / "postgresql.conf"))
        config.chmod(0o644)
        self.settings = {
            "config_file": str(config),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(base),
            **({"archive_mode": "on"} if archiving else {}),
        }

    def _reachable_binaries(self) -> Path:
        found = binaries()
        assert found is not None, "checked before"
        if self._user is not None:
            self._user = "postgres"
            shutil.chown(self.base, self._user)
        return found

    def start(self) -> EmbeddedPostgres:
        if not (self.data / "PG_VERSION").exists():
            self._initdb()
            rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
            (self.data / "pg_hba.conf").write_text(rules, encoding="utf-8")
        options = [f"--{name}={value}" for name, value in self.settings.items()]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self.data), "-p", str(self.port), *options],
                user=self._user, env=self._env, stdout=log, stderr=log, cwd=self.base, start_new_session=True,
            )  # fmt: skip
        self.wait_ready()
        return self

    def program(self, name: str, *words: str) -> None:
        """Run one of the server's own programs on it; Broken if it fails."""
        run([str(self._bin / name), "-h", str(self.base), "-p", str(self.port), "-U", self.superuser, *words],
            self._user, self._env, self.base)  # fmt: skip

    def wait_promoted(self, limit_s: float = 60.0) -> None:
        """Wait until a restored server has ended its recovery; Broken if it does not."""
        deadline = time.monotonic() + limit_s
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            while connection.execute("SELECT pg_is_in_recovery()").fetchone() != (False,):
                if time.monotonic() > deadline:
                    raise Broken(
                        f"the restored server does not end its recovery: {self.log.read_text(encoding='utf-8')[-2000:]}"
                    )
                time.sleep(0.05)


class Repository:
    """An encrypted repository of pgBackRest, and the commands of docs/backup.md on it.

    Args:
        base: its folder, made if it is missing.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.user = "postgres" if os.geteuid() == 0 else None
        self.config = base / "pgbackrest.conf"
        self.env = {"PATH": os.environ["PATH"], "PGBACKREST_CONFIG": str(self.config),
                    "PGBACKREST_REPO1_CIPHER_PASS": secrets.token_urlsafe(32)}  # fmt: skip
        base.mkdir(parents=True)
        if self.user:
            shutil.chown(base, self.user)

    def configure(self, server: DebianServer) -> None:
        """Write our file with this server's paths."""
        text = (DEPLOY / "backup" / "pgbackrest.conf").read_text(encoding="utf-8")
        text = re.sub(r"^repo1-path=.*$", f"repo1-path={self.base / 'repository'}", text, flags=re.MULTILINE)
        text = re.sub(r"^pg1-path=.*$", f"pg1-path={server.data}", text, flags=re.MULTILINE)
        text += f"pg1-port={server.port}\npg1-socket-path={server.base}\nlock-path={self.base / 'lock'}\n"
        self.config.write_text(text, encoding="utf-8")
        self.config.chmod(0o644)

    def call(self, *words: str) -> str:
        """pgbackrest with these words; returns what it printed. Broken if it fails."""
        return run(["pgbackrest", f"--stanza={STANZA}", *words], self.user, self.env, self.base)

    def in_plain_text(self, word: str) -> bool:
        """Whether some file of the repository shows this word."""
        files = (path for path in (self.base / "repository").rglob("*") if path.is_file())
        return any(word.encode() in path.read_bytes() for path in files)


def run(command: list[str], user: str | None, env: Mapping[str, str], folder: Path) -> str:
    """One command to its end; Broken with what it wrote if it fails."""
    done = subprocess.run(
        command, user=user, env=dict(env), cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Broken(f"{' '.join(command[:3])} failed: {(done.stderr + done.stdout)[-2000:]}")
    return done.stdout
