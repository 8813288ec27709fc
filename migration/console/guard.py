"""Who may see the page and do something on it: host, token, cookie and origin, in front of everything else.

The URL that is printed carries a token that opens the page once. In exchange the browser gets a cookie that no script
can read and that no other site can send. What changes something must also come from the page itself.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

COOKIE = "st_console_"  # and a mark of its own for each console: browsers share cookies between the ports of a host
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class Guard:
    """Lets a request through to an ASGI application, or answers it.

    Args:
        app: the console.
        hosts: the values of the Host header that are served.
    """

    def __init__(self, app: App, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self.token: str | None = secrets.token_urlsafe(32)
        self._cookie = COOKIE + secrets.token_hex(4)
        self._sessions: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            await _answer(send, 421, "this name is not served here; see --known-as")
        elif self._opens(scope):
            cookie = secrets.token_urlsafe(32)
            self._sessions.add(cookie)
            place = f"{self._cookie}={cookie}; Path=/; HttpOnly; SameSite=Strict"
            await _answer(send, 303, "", [(b"location", b"/"), (b"set-cookie", place.encode())])
        elif not self._known(headers.get("cookie", "")):
            await _answer(send, 403, "open the URL that st-migrate console printed; it works once")
        elif scope["method"] != "GET" and not self._same_origin(headers, host):
            await _answer(send, 403, "this did not come from the page")
        else:
            await self._app(scope, receive, _with_headers(send))

    def _opens(self, scope: Scope) -> bool:
        """Whether this is the first call with the token; it does not work again."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if (
            self.token is None
            or scope["path"] != "/"
            or not hmac.compare_digest(given.encode(), self.token.encode())
        ):
            return False
        self.token = None
        return True

    def _known(self, text: str) -> bool:
        try:
            morsel = SimpleCookie(text).get(self._cookie)
        except CookieError:
            return False
        given = morsel.value.encode() if morsel else b""
        return any(hmac.compare_digest(given, known.encode()) for known in self._sessions)

    @staticmethod
    def _same_origin(headers: dict[str, str], host: str) -> bool:
        origin = headers.get("origin", "").lower()
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        return origin in (f"http://{host}", f"https://{host}") and kind == "application/json"


def _with_headers(send: Send) -> Send:
    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
        await send(message)

    return sending


async def _answer(send: Send, code: int, text: str, more: Iterable[tuple[bytes, bytes]] = ()) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close"), *more, *HEADERS]
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
