#!/usr/bin/env python3
"""Shows Prometheus how old the backups are, and takes them when they are due where no timer does.

Needs Python and pgBackRest alone, and runs as the system user of PostgreSQL. With systemd the timers take the
backups, and this only answers at /metrics. In a container `--take` makes it look each minute whether one is due: by
the age of the last one, so that a restart neither forgets one nor doubles it.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

STANZA = "sigmatrader"
# Full ones contain everything, incremental ones what changed since the last of any kind.
DUE_AFTER_S = {"full": 7 * 24 * 3600, "incr": 24 * 3600}
LOOK_S = 60.0
METRICS = {
    "st_backup_readable": "1 if pgBackRest says that the repository is in order",
    "st_backup_finished_seconds": "when the last backup ended, in seconds since 1970; full, or full and incremental",
    "st_backup_bytes": "what the last backup added to the repository",
    "st_backup_damaged_pages": "1 if the last backup found pages whose checksum is wrong",
    "st_backup_failed_runs_total": "backups that this process began and that failed",
}
failed_runs = 0


def info() -> dict[str, Any]:
    """What pgBackRest knows of the stanza; its status code is not 0 where something is wrong."""
    command = ["pgbackrest", f"--stanza={STANZA}", "--output=json", "info"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        stanzas: list[dict[str, Any]] = json.loads(told)
    except (OSError, ValueError):
        stanzas = []
    return stanzas[0] if stanzas else {"status": {"code": -1}, "backup": []}


def finished(found: Mapping[str, Any]) -> dict[str, float]:
    """When the last full backup ended, and the last of any type; 0 if there is none."""
    of_type: dict[str, float] = {"full": 0.0, "incr": 0.0}
    for backup in found["backup"]:
        stop = float(backup["timestamp"]["stop"])
        of_type["incr"] = max(of_type["incr"], stop)
        if backup["type"] == "full":
            of_type["full"] = max(of_type["full"], stop)
    return of_type


def due(found: Mapping[str, Any], now: float) -> str | None:
    """The type of the backup that is due, a full one before an incremental one."""
    ended = finished(found)
    return next((kind for kind, limit in DUE_AFTER_S.items() if now - ended[kind] >= limit), None)


def text(found: Mapping[str, Any]) -> str:
    """The metrics as Prometheus reads them."""
    last = found["backup"][-1] if found["backup"] else {}
    values: dict[str, Iterable[tuple[str, float]]] = {
        "st_backup_readable": [("", float(found["status"]["code"] == 0))],
        "st_backup_finished_seconds": [(f'{{type="{kind}"}}', at) for kind, at in finished(found).items()],
        "st_backup_bytes": [("", float(last.get("info", {}).get("repository", {}).get("delta", 0)))],
        "st_backup_damaged_pages": [("", float(bool(last.get("error"))))],
        "st_backup_failed_runs_total": [("", float(failed_runs))],
    }
    lines = []
    for name, about in METRICS.items():
        lines += [
            f"# HELP {name} {about}",
            f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}",
        ]
        lines += [f"{name}{labels} {value:.0f}" for labels, value in values[name]]
    return "\n".join(lines) + "\n"


class Metrics(BaseHTTPRequestHandler):
    """Answers GET /metrics."""

    def do_GET(self) -> None:
        body = text(info()).encode() if self.path == "/metrics" else b""
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """A scrape is no news."""


def take(kind: str) -> bool:
    """Take a backup; the first one makes the stanza. False if it failed, with pgBackRest's reason on stderr."""
    for command in (["stanza-create"], [f"--type={kind}", "backup"]):
        if subprocess.run(["pgbackrest", f"--stanza={STANZA}", *command], check=False).returncode:
            return False
    print(f"a backup of type {kind} is taken", flush=True)
    return True


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM."""
    global failed_runs
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--listen", default="127.0.0.1:9854", metavar="HOST:PORT")
    parser.add_argument("--take", action="store_true", help="take backups when they are due")
    options = parser.parse_args(arguments)
    host, _, port = options.listen.rpartition(":")
    server = ThreadingHTTPServer((host, int(port)), Metrics)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    while not stop.is_set():
        kind = due(info(), time.time()) if options.take else None
        if kind is not None and not take(kind):
            failed_runs += 1
        stop.wait(LOOK_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
