"""One HTTP request over one fresh connection, as a webhook service sends it.

Written on asyncio streams: a general client costs a millisecond of CPU per request, which on a small
machine is taken from the server that is being measured.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class NotSent(Exception):
    """No connection was made: the server has seen nothing of the request."""


class NoAnswer(Exception):
    """The request may have arrived, but its answer did not."""


@dataclass(frozen=True)
class Answer:
    """Status and body of a response."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as an object; an empty one when it is not an object."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


async def request(
    port: int, method: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float
) -> Answer:
    """Send a request to 127.0.0.1 and read the answer to its end.

    Raises:
        NotSent: nobody listens there.
        NoAnswer: the connection broke or the time ran out.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _exchange(port, head(method, path, body, headers) + body)
    except TimeoutError:
        raise NoAnswer(f"no answer within {timeout_s:g} s") from None


def head(method: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """The request line and the headers of a request over a connection of its own."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
    lines += [f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _exchange(port: int, message: bytes) -> Answer:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        raise NotSent(str(error)) from None
    try:
        writer.write(message)
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.read()
    except (OSError, asyncio.IncompleteReadError) as error:
        raise NoAnswer(str(error) or type(error).__name__) from None
    finally:
        writer.close()
    return Answer(int(head.split(b" ", 2)[1]), body)
