"""Locust as people start it: with its web page, from which a profile is chosen, begun and stopped."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from loadtests.stage.embedded import free_port
from loadtests.stage.processes import REPO, kill_group, python_env
from loadtests.traffic.ledger import Delivery, Outcome, read_ledgers

TIMEOUT_S = 30.0


class Accepts(http.server.BaseHTTPRequestHandler):
    """A backend that takes every webhook."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"status": "accepted", "alert_id": 1, "order_id": 1}).encode()
        self.send_response(201)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def backend() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Accepts)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def locust(folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        str(REPO / "loadtests" / "run" / "locustfile.py"),
        *options,
    ]
    with (folder / "locust.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=python_env({}), stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            kill_group(process)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/").status_code == 200
    except httpx.TransportError:
        return False


def test_a_profile_is_begun_and_stopped_from_the_page(backend: str, tmp_path: Path) -> None:
    port = free_port()
    page = f"http://127.0.0.1:{port}"
    with (
        locust(
            tmp_path,
            "--host",
            backend,
            "--load",
            "steady",
            "--web-host",
            "127.0.0.1",
            "--web-port",
            str(port),
        ) as process,
        httpx.Client(base_url=page, timeout=TIMEOUT_S) as client,
    ):
        until(lambda: process.poll() is not None or answers(client))
        assert process.poll() is None, (tmp_path / "locust.log").read_text(encoding="utf-8")
        assert "market_open" in client.get("/").text, "the page offers the profiles"
        begun = client.post("/swarm", data={"host": backend, "load": "market_open", "scale": "0.5"})
        assert begun.json()["success"], begun.text
        until(lambda: client.get("/stats/requests").json()["user_count"] > 0)
        until(lambda: any(s["num_requests"] for s in client.get("/stats/requests").json()["stats"]))
        found = client.get("/stats/requests").json()
        assert found["user_count"] <= 30, "the profile decides how many there are"
        client.get("/stop")
        until(lambda: client.get("/stats/requests").json()["state"] == "stopped")
        process.terminate()
        process.wait(timeout=TIMEOUT_S)
    entries = read_ledgers([tmp_path / "load-ledger.jsonl"])
    assert entries and all(isinstance(entry, Delivery) for entry in entries)
    assert Outcome.ACKNOWLEDGED in {entry.outcome for entry in entries if isinstance(entry, Delivery)}


def test_a_headless_run_that_is_told_to_end_lets_every_user_finish(backend: str, tmp_path: Path) -> None:
    counts, ledger = tmp_path / "counts.json", tmp_path / "load-ledger.jsonl"
    options = (
        "--headless",
        "--host",
        backend,
        "--load",
        "steady",
        "--seconds",
        "60",
        "--counts",
        str(counts),
    )
    with locust(tmp_path, *options) as process:
        until(lambda: ledger.exists() and len(ledger.read_text(encoding="utf-8").splitlines()) > 40)
        process.terminate()
        process.wait(timeout=TIMEOUT_S)
    entries = [entry for entry in read_ledgers([ledger]) if isinstance(entry, Delivery)]
    assert Outcome.CUT_OFF not in {entry.outcome for entry in entries}
    assert json.loads(counts.read_text(encoding="utf-8"))["requests"] == len(entries)
    first = min(entry.attempts[0].at for entry in entries)
    tenths = {int((entry.attempts[0].at - first) * 10) % 10 for entry in entries}
    assert len(tenths) >= 7, "users that began together do not go on sending together"


def test_a_host_elsewhere_is_refused(tmp_path: Path) -> None:
    with locust(tmp_path, "--headless", "--host", "http://192.0.2.1", "--load", "steady") as process:
        assert process.wait(timeout=TIMEOUT_S) != 0
    assert "on this machine only" in (tmp_path / "locust.log").read_text(encoding="utf-8")
