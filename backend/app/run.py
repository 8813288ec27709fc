"""`python -m app.run ROLE`: one process role, or several web processes.

Exit codes: 0 ended on request, 2 the start was refused, with the reason on stderr.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading

import uvicorn
from pydantic import ValidationError
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app.core.config import Role, get_settings
from app.core.logging import configure_logging
from app.core.secrets import require_secrets
from app.db import SessionLocal
from app.db.common.errors import ConfigurationError
from app.db.common.metrics import served
from app.db.common.settings import load_settings
from app.db.session.at_start import begin
from app.db.session.runtime import runtime
from app.roles import capacity
from app.roles.background import Background
from app.roles.backlog import listening
from app.roles.listener import BACKLOG, Listener

logger = logging.getLogger(__name__)
REFUSED = 2
GRACE_S = 10  # for requests that are under way when a process is told to end


def main(arguments: list[str] | None = None) -> int:
    """Run a role until it is told to end; returns the exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        return _begin(chosen)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(map(str, first["loc"])).upper()
        print(f"ST_{name}: {first['msg']} - see .env.example for what it may be", file=sys.stderr)
    return REFUSED


def _begin(chosen: argparse.Namespace) -> int:
    role = Role(chosen.role)
    # Nobody holds settings yet; processes that are started from here inherit these.
    os.environ["ST_ROLE"] = role
    if "pg_pool_size" not in load_settings().model_fields_set:
        os.environ["ST_PG_POOL_SIZE"] = str(capacity.POOL_SIZES[role])
    serves = role in (Role.ALL, Role.WEB)
    reason = capacity.refusal(runtime(), chosen.workers if serves else 1)
    if reason is not None:
        print(reason, file=sys.stderr)
        return REFUSED
    if not serves:
        return _work(role, chosen.metrics)
    runtime().stop()  # the processes that are started make their own
    try:
        sockets = listening(chosen.host, chosen.port)
    except OSError as error:
        print(f"{chosen.host}:{chosen.port} cannot be listened on: {error.strerror}", file=sys.stderr)
        return REFUSED
    config = uvicorn.Config(
        chosen.application,
        host=chosen.host,
        port=chosen.port,
        workers=chosen.workers,
        http=Listener,
        backlog=BACKLOG,
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    return _serve(config, sockets)


def _serve(config: uvicorn.Config, sockets: list[socket.socket]) -> int:
    """Serve in this process, or in several that it starts; returns the exit code."""
    try:
        if config.workers > 1:
            Multiprocess(config, sockets=sockets).run()
            return 0
        server = uvicorn.Server(config)
        server.run(sockets)
        return 0 if server.started else STARTUP_FAILURE
    except KeyboardInterrupt:
        return 0


def _work(role: Role, metrics: str | None) -> int:
    """Run what a worker or scheduler does, without a server for requests."""
    configure_logging()
    require_secrets(get_settings())
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with served(metrics, runtime().observe):
        begin(runtime())
        background = Background(role, SessionLocal, get_settings())
        background.start()
        logger.info("the %s has begun", role)
        stop.wait()
        background.stop()
        runtime().stop()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app.run", description=__doc__.splitlines()[0])
    parser.add_argument("role", choices=[str(role) for role in Role])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=1, help="web processes")
    parser.add_argument("--application", default="app.main:app", help="where a checkout has its own")
    parser.add_argument("--metrics", metavar="HOST:PORT", help="of a worker or scheduler, for Prometheus")
    return parser


if __name__ == "__main__":
    sys.exit(main())
