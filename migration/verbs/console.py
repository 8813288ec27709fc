"""The verb that shows a move in the browser: console."""

from __future__ import annotations

import socket
from contextlib import suppress
from importlib.util import find_spec
from typing import Annotated

import typer

from app.db.common.errors import ConfigurationError
from migration.common import sides
from migration.common.outcome import Outcome
from migration.verbs.frame import Call, verb

NEEDED = ("starlette", "uvicorn")
EVERYWHERE = ("0.0.0.0", "::", "")


def register(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    verb(app, "console")(console)


def console(
    call: Call,
    allow_actions: Annotated[
        bool,
        typer.Option(
            "--allow-actions", help="Let the page act: each action shows a plan and asks for a typed name."
        ),
    ] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="TCP port; 0 takes a free one.")] = 0,
    listen: Annotated[
        str,
        typer.Option("--listen", metavar="ADDRESS", help="Address to listen on; this host only by default."),
    ] = "127.0.0.1",
    known_as: Annotated[
        list[str] | None,
        typer.Option(
            "--known-as", metavar="HOST[:PORT]", help="A name by which browsers reach it; repeatable."
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", metavar="URL", help="URL of a backend's metrics, for the webhook door."),
    ] = None,
) -> Outcome:
    """Show the move on a web page of this host. The command prints a URL that opens the page once."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ConfigurationError(
            f"the console needs {' and '.join(missing)}",
            hint="install the tool with them: pipx install '.[console]'",
        )
    from migration.console.run import Settings, serve  # the web framework is needed here alone

    pair = call.pair()
    if not pair.path.is_file():
        raise ConfigurationError(f"there is no SQLite file {pair.path}", hint="check --sqlite")
    try:
        place = socket.create_server(
            (listen, port), family=socket.AF_INET6 if ":" in listen else socket.AF_INET
        )
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {listen}: {error.strerror}", hint="choose another --port or --listen"
        ) from error
    with place:
        at = place.getsockname()[1]
        names = ["127.0.0.1", "localhost", "[::1]", *([] if listen in EVERYWHERE else [listen])]
        hosts = [*(f"{name}:{at}" for name in names), *(known_as or ())]
        settings = Settings(pair, lambda: sides.open_stores(pair), hosts, allow_actions, metrics)
        shown = "127.0.0.1" if listen in EVERYWHERE else f"[{listen}]" if ":" in listen else listen
        with suppress(KeyboardInterrupt):
            serve(settings, place, lambda token: call.report(f"http://{shown}:{at}/?token={token}"))
    return Outcome("closed", "the console is closed", data={"port": at})
