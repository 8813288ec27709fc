"""What each played application is told: one thing and an end, or one thing after another."""

import sys
from collections.abc import Callable
from typing import Any


def play(
    start: Callable[[str], Any],
    write: Callable[[Any, int], None],
    read: Callable[[Any], str],
    stop: Callable[[Any], Any] = id,
) -> None:
    """`install URL`, `write URL N`, `read URL`; `serve URL` takes `write N` and `read` from its input."""
    what, url, *number = sys.argv[1:]
    app = start(url)
    for line in sys.stdin if what == "serve" else [" ".join([what, *number])]:
        verb, *number = line.split()
        if verb == "write":
            write(app, int(number[0]))
        if verb != "install":
            print(read(app), flush=True)
    stop(app)
