"""A sender's bytes mean the same whichever way they take: the answers and the stored rows are equal.

There are three ways: the listener that unpacks a whole delivery itself, the parser with the door behind it, and the
parser with the application's own route. Each has a database of its own; after each message all three must have
answered alike, and at the end they must hold the same rows. ST_DOOR_MESSAGES asks for more random messages than the usual few, ST_DOOR_SEED
for others.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine, event, make_url
from sqlalchemy.orm import Session, sessionmaker
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from app.core.config import get_settings
from app.core.request_guard import MAX_BODY_BYTES
from app.db import Base, get_db
from app.db.common.settings import ShimSettings
from app.db.session.engines import make_engine
from app.main import Application, create_app
from app.models import User
from app.roles.listener import Listener
from app.roles.requests import Requests
from tests.backend.differential.backends import NOON, Clock, stored

SECRET = "door-secret"
ALERT: dict[str, Any] = {
    "secret": SECRET, "st_user_id": "trader1", "strategy_name": "s", "symbol": "NSE:ITC", "bar_time": "2026-03-02T06:00:00Z",
    "trade_details": {"order_action": "BUY", "quantity": 1, "price": 2.5},
}  # fmt: skip
BODY = json.dumps(ALERT).encode()
JSON, TEXT = "application/json", "text/plain; charset=utf-8"
MORE = int(os.environ.get("ST_DOOR_MESSAGES", "150"))
SEED = int(os.environ.get("ST_DOOR_SEED", "1"))
Pieces = Sequence[bytes]
NAMED_TWICE = BODY.replace(b'"symbol"', b'"symbol": "NSE:NO", "symbol"')


def message(
    body: bytes = BODY,
    *fields: str,
    kind: str | None = JSON,
    line: str = "POST /webhook/tradingview HTTP/1.1",
    length: int | str | None = -1,
) -> bytes:
    """A request. `length`: of Content-Length, -1 the right one, None no such field."""
    head = [line, "Host: x"]
    if kind is not None:
        head.append(f"Content-Type: {kind}")
    if length is not None:
        head.append(f"Content-Length: {len(body) if length == -1 else length}")
    return "\r\n".join([*head, *fields, "", ""]).encode("latin-1") + body


def _chunked(body: bytes, size: int = 7) -> bytes:
    parts = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def _details(**more: Any) -> bytes:
    return json.dumps(ALERT | {"trade_details": ALERT["trade_details"] | more}).encode()


WHOLE = message()
CHUNKS = message(_chunked(BODY), "Transfer-Encoding: chunked", length=None)
BODIES: dict[str, bytes] = {
    "empty": b"", "blank": b"  \r\n", "BOM": b"\xef\xbb\xbf" + BODY, "UTF-16": BODY.decode().encode("utf-16"),
    "UTF-16 without BOM": BODY.decode().encode("utf-16-be"), "NUL": BODY + b"\x00", "not UTF-8": BODY.replace(b"ITC", b"\xff\xfe"),
    "cut character": BODY.replace(b"ITC", b"\xe2\x82"), "surrogate": BODY.replace(b"ITC", b"\\ud800"), "named twice": NAMED_TWICE,
    "secret twice": BODY.replace(b'{"secret"', b'{"secret": "wrong", "secret"', 1), "deep": b'{"a":' * 70 + b"1" + b"}" * 70,
    "very deep": b"[" * 20_000, "array": b"[" + BODY + b"]", "text in JSON": json.dumps(BODY.decode()).encode(), "null": b"null",
    "NaN": _details(price=float("nan")), "infinite": _details(price=float("inf")), "1e999": BODY.replace(b"2.5", b"1e999"),
    "giant": _details(quantity=10**400), "5,000 digits": BODY.replace(b"2.5", b"9" * 5000), "integral float": _details(quantity=1.0),
    "minus zero": _details(price=-0.0), "number as text": _details(quantity="1,000", price="2.50"), "wrong commas": _details(quantity="1,5"),
    "trailing comma": BODY[:-1] + b",}", "thousands": BODY.replace(b'"quantity": 1', b'"quantity": 1,000'), "second object": BODY + BODY,
    "rest": BODY + b" x", "pairs": b"secret=door-secret&symbol=NSE%3AITC", "sentence": b"ITC crossed 100", "single quotes": BODY.replace(b'"', b"'"),
    "NUL escaped": BODY.replace(b"ITC", b"\\u0000"), "wrong secret": BODY.replace(b"door-secret", b"wrong"), "secret missing": BODY.replace(b'"secret": "door-secret", ', b""),
    "nobody": BODY.replace(b"trader1", b"nobody"), "no side": BODY.replace(b"BUY", b"{{strategy.order.action}}"), "test": b'{"secret": "door-secret", "test": "tradingview"}',
    "long": BODY.replace(b"NSE:ITC", b"X" * 600), "comment": _details(comment="x" * 300_000), "emoji": _details(comment="\U0001f600\u2028\x7f"),
    "largest": BODY + b" " * (MAX_BODY_BYTES - len(BODY)), "too large": BODY + b" " * (MAX_BODY_BYTES - len(BODY) + 1),
    "compressed": b"\x1f\x8b\x08\x00" + BODY, "true": _details(quantity=True), "whitespace": b"\n\t " + BODY + b"\r\n", "control": _details().replace(b"ITC", b"I\x01C"),
    "other platform": json.dumps(ALERT | {"platform": "other"}).encode(), "commas": b"," * 100_000 + b"}", "quotes": b'"' + b'\\"' * 100_000 + b"[" * 65,
    "key order": json.dumps(dict(reversed(ALERT.items()))).encode(), "exponent": BODY.replace(b"2.5", b"25E-1"), "null price": _details(price=None),
    "composed": json.dumps(ALERT | {"strategy_name": "caf\u00e9"}, ensure_ascii=False).encode(), "decomposed": json.dumps(ALERT | {"strategy_name": "cafe\u0301"}).encode(),
    "null id": json.dumps(ALERT | {"order_id": None}).encode(), "id is a number": json.dumps(ALERT | {"order_id": 7}).encode(), "id is a text": json.dumps(ALERT | {"order_id": "7"}).encode(),
    "id is a float": json.dumps(ALERT | {"order_id": 7.0}).encode(), "id is true": json.dumps(ALERT | {"order_id": True}).encode(), "id is blank": json.dumps(ALERT | {"order_id": " "}).encode(),
    "extra": json.dumps(ALERT | {"x" * 300: [1, {"y": None}]}).encode(),
}  # fmt: skip
KINDS = (
    None, "", "application/JSON", "application/json; charset=utf-8", "application/json;charset=UTF-8", "application/json; charset=latin-1", "text/plain",
    "text/plain;charset=utf-8", "text/plain; charset=utf-16", "text/html", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
    "application/problem+json", "application/octet-stream", "nonsense", "application/json, text/plain", "application/xjson",
)  # fmt: skip
FIELDS = (
    "X-Request-ID: mine", "x-request-id: one\r\nX-Request-ID: two", "X-Request-ID: " + "a" * 65, "X-Request-ID: \xe9", "X-SigmaTrader-Secret: door-secret",
    "X-SigmaTrader-Secret:\t door-secret \t", "x-sigmatrader-secret: wrong", "X-SigmaTrader-Secret:", "X-SigmaTrader-Secret: \xff", "Connection: close",
    "connection: Keep-Alive", "Connection: keep-alive, close", "Connection: close\r\nConnection: keep-alive", "Connection:", "Expect: 100-continue",
    "Expect: something", "Content-Encoding: gzip", "Upgrade: h2c\r\nConnection: upgrade", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA", "Upgrade: websocket", "Content-Length: 3", f"Content-Length: {len(BODY)}",
    "Content-Type: text/plain", "Transfer-Encoding: identity", "Transfer-Encoding: chunked", "Trailer: x", "A : b", " folded", "A: b\r\n folded", "A: \x00",
    "A: \x01", "A: b\rC: d", "A: b\nC: d", "\xe9: b", "no colon", ": no name", "A: " + "b" * 70_000, "\r\n".join(f"A{n}: b" for n in range(300)),
    "Host: y", "Cookie: st_session=x", "Origin: http://evil", "Forwarded: for=1", "TE: trailers", "Range: bytes=0-1", "If-None-Match: *", "Proxy-Connection: close",
)  # fmt: skip
LINES = (
    "POST /webhook HTTP/1.1", "POST /webhook/ HTTP/1.1", "POST /webhook/tradingview/ HTTP/1.1", "POST /webhook/tradingview?a=1 HTTP/1.1",
    "POST /webhook/tradingview? HTTP/1.1", "POST /webhook/tradingview?a=%00 HTTP/1.1", "POST /webhook/trading%76iew HTTP/1.1", "POST /webhook/tradingview%00 HTTP/1.1",
    "POST /webhook%2Ftradingview HTTP/1.1", "POST //webhook HTTP/1.1", "POST /./webhook HTTP/1.1", "POST /WEBHOOK HTTP/1.1", "POST /webhook#a HTTP/1.1",
    "POST http://x/webhook/tradingview HTTP/1.1", "POST /webhook HTTP/1.0", "POST /webhook HTTP/0.9", "POST /webhook HTTP/2.0", "POST /webhook HTTP/1.2", "POST /webhook",
    "post /webhook HTTP/1.1", "POST  /webhook HTTP/1.1", "POST /webhook HTTP/1.1 ", "PUT /webhook HTTP/1.1", "HEAD /webhook HTTP/1.1", "OPTIONS /webhook HTTP/1.1", "OPTIONS * HTTP/1.1",
    "DELETE /webhook/tradingview HTTP/1.1", "PATCH /webhook HTTP/1.1", "GET /webhook HTTP/1.1", "GET /webhook/tradingview HTTP/1.1", "TRACE /webhook HTTP/1.1",
    "CONNECT x:80 HTTP/1.1", "PRI * HTTP/2.0", "BREW /webhook HTTP/1.1", "POST /webhook/%ff HTTP/1.1", "POST /webhook\xe9 HTTP/1.1", "POST /api/orders HTTP/1.1",
)  # fmt: skip


TWO = 2 * message(b"[]", kind="text/plain", line="POST /webhook HTTP/1.1")


def each_of_its_own(messages: Iterable[tuple[str, Pieces]]) -> Iterator[tuple[str, Pieces]]:
    """The same messages, each about another bar: none is a copy of an earlier one."""
    for number, (name, pieces) in enumerate(messages):
        moment = b"T%02d:%02d" % divmod(number, 60)
        yield name, [piece.replace(b"T06:00", moment) for piece in pieces]


def known() -> Iterator[tuple[str, Pieces]]:
    """Messages that have been thought of, each with what is odd about it."""
    for name, body in BODIES.items():
        for kind in (JSON, "text/plain"):
            yield f"body {name}, {kind}", [message(body, kind=kind)]
    for kind in KINDS:
        yield f"kind {kind}", [message(kind=kind)]
    for field in FIELDS:
        yield f"field {field[:40]!r}", [message(BODY, field)]
    for line in LINES:
        yield line, [message(line=line)]
        yield f"{line}, no body", [message(b"", line=line, kind=None, length=None)]
    for length in (0, 3, len(BODY) - 1, len(BODY) + 1, f"0{len(BODY)}", f"+{len(BODY)}", f"{len(BODY)},{len(BODY)}", "-1", "", "9" * 30, "0x10"):  # fmt: skip
        yield f"length {length}", [message(length=length)]
    yield "no length", [message(length=None)]
    yield "chunks", [CHUNKS]
    yield "chunks and a length", [message(_chunked(BODY), "Transfer-Encoding: chunked", length=5)]
    yield "chunks with extensions", [CHUNKS.replace(b"7\r\n", b"7;a=b\r\n", 3)]
    yield "chunks without an end", [CHUNKS[:-5]]
    yield "bare line feeds", [WHOLE.replace(b"\r\n", b"\n")]
    yield "empty lines first", [b"\r\n\r\n" + WHOLE]
    yield "a hello of TLS", [bytes.fromhex("16030100c8010000c40303") + bytes(range(200))]
    yield "two at once", [WHOLE + WHOLE]
    yield "two at once, the first is the last", [message(BODY, "Connection: close") + WHOLE]
    yield "two at once, the second is cut", [WHOLE + WHOLE[:-5]]
    yield "one, then two at once", [WHOLE, WHOLE + WHOLE]
    yield "one and a half", [WHOLE + WHOLE[:50], WHOLE[50:]]
    yield "after a refusal", [message(b"{"), WHOLE]
    yield "after another path", [message(line="GET /health HTTP/1.1", body=b"", kind=None), WHOLE, WHOLE]
    yield "after nonsense", [b"nonsense\r\n\r\n", WHOLE]
    yield "a copy of the connection's first", [WHOLE, WHOLE]
    yield "rest after a body that is too long", [message(length=3), WHOLE]
    for at in range(1, len(TWO)):
        yield f"two at once, cut at {at}", [TWO[:at], TWO[at:]]
    yield "expecting", [message(BODY, "Expect: 100-continue")[: -len(BODY)], BODY]


def split(data: bytes, draw: random.Random) -> Pieces:
    """The same bytes in two to five pieces."""
    cuts = sorted(draw.randrange(len(data)) for _ in range(draw.randint(1, 4)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if a < b]


def at_random(count: int, seed: int) -> Iterator[tuple[str, Pieces]]:
    """Messages of several oddities at once, some damaged, some in pieces, some one behind the other."""
    draw = random.Random(seed)
    bodies = [*BODIES.values(), *[BODY] * 20]
    for number in range(count):
        data = b""
        for _ in range(draw.choice((1, 1, 1, 2, 3))):
            body = draw.choice(bodies)
            if draw.random() < 0.5:
                body = body.replace(b"T06:00", b"T%02d:%02d" % divmod(number % 1440, 60))
            fields = [] if draw.random() < 0.6 else draw.sample(FIELDS, draw.randint(1, 2))
            line = LINES[0] if draw.random() < 0.8 else draw.choice(LINES)
            kind = draw.choice((JSON, TEXT)) if draw.random() < 0.7 else draw.choice(KINDS)
            length = -1 if draw.random() < 0.9 else draw.choice((None, 0, len(body) + 3))
            data += message(body, *fields, kind=kind, line=line, length=length)
        if draw.random() < 0.2:
            at = draw.randrange(min(len(data), 400))
            data = data[:at] + bytes([draw.randrange(256)]) + data[at + draw.choice((0, 1)) :]
        pieces = split(data, draw) if draw.random() < 0.4 else [data]
        yield f"random message {number} of seed {seed}", pieces


class PastTheDoor:
    """The application without its door: deliveries are requests like any other."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await FastAPI.__call__(self._app, scope, receive, send)


class Way:
    """One way to the application, with a database of its own."""

    def __init__(self, name: str, engine: Engine, protocol: type[asyncio.Protocol], *, door: bool) -> None:
        self.name = name
        self.engine = engine
        self.app = create_app()
        factory = sessionmaker(bind=engine, autoflush=False, expire_on_commit=False)

        def get_own() -> Iterator[Session]:
            with factory() as session:
                yield session

        self.app.dependency_overrides[get_db] = get_own
        served: ASGIApp = self.app if door else PastTheDoor(self.app)
        self._config = uvicorn.Config(served, http=protocol, lifespan="off", log_config=None)  # type: ignore[arg-type]  # one of its own or ours
        self._config.load()
        self._state = ServerState()
        self.port = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Way]:
        """Listen meanwhile."""
        make: Any = self._config.http_protocol_class
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: make(config=self._config, server_state=self._state, app_state={}), "127.0.0.1", 0
        )
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def hear(self, pieces: Pieces) -> bytes | None:
        """Everything that a sender of these bytes hears, who then sends no more and waits for the end.

        None when the connection was reset: the server ended it while bytes were on their way, and answers were lost.
        """
        async with asyncio.timeout(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    for _ in range(5):  # the server's side of this loop reads the piece alone
                        await asyncio.sleep(0)
                writer.write_eof()
                return await reader.read()
            except OSError:
                return None
            finally:
                writer.close()


def answers(heard: bytes) -> list[tuple[bytes, dict[bytes, bytes], bytes]]:
    """What a sender understands: status line, the fields that count, content; a rest that is no answer as it is."""
    found = []
    while heard:
        head, end, rest = heard.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in lines if b": " in line)
        length = int(fields.get(b"content-length", b"0")) if end else 0
        kept = {
            name: fields[name]
            for name in (b"content-type", b"retry-after", b"connection", b"allow", b"location")
            if name in fields
        }
        found.append((status, kept, rest[:length]))
        heard = rest[length:]
    return found  # fmt: skip


@pytest.fixture
def ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Way]]:
    monkeypatch.setattr(get_settings(), "tradingview_webhook_secret", SECRET)
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=7))
    made = []
    kinds: dict[str, tuple[type[asyncio.Protocol], bool]] = {
        "route": (Requests, False), "door": (Requests, True), "listener": (Listener, True),
    }  # fmt: skip
    for name, (protocol, door) in kinds.items():
        engine = make_engine(make_url(f"sqlite:///{tmp_path / name}.db"), ShimSettings())
        event.listen(engine, "connect", lambda raw, _record: raw.execute("PRAGMA synchronous = OFF"))
        Base.metadata.create_all(engine)
        with Session(engine) as session:
            session.add(
                User(username="trader1", password_hash="x", role="TRADER", created_at=NOON, updated_at=NOON)
            )
            session.commit()
        made.append(Way(name, engine, protocol, door=door))
    clock = Clock()
    times, columns = clock.patched()
    with times, columns:
        yield made
    for way in made:
        way.engine.dispose()


async def _send_all(ways: Sequence[Way], messages: Iterator[tuple[str, Pieces]]) -> list[str]:
    differences: list[str] = []
    async with AsyncExitStack() as stack:
        for way in ways:
            await stack.enter_async_context(way.serving())
        for name, pieces in messages:
            heard = {way.name: await way.hear(pieces) for way in ways}
            told = {by: answers(what) for by, what in heard.items() if what is not None}
            if any(other != next(iter(told.values())) for other in told.values()):
                differences.append(f"{name}: {told}")
    return differences


@pytest.mark.parametrize("kind", ["known", "random"])
def test_answers_and_rows_are_the_same(ways: list[Way], kind: str) -> None:
    messages = each_of_its_own(known()) if kind == "known" else at_random(MORE, SEED)
    loops = uvicorn.Config("none").get_loop_factory() if kind == "known" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=loops) as runner:
        differences = runner.run(_send_all(ways, messages))
    assert not differences, "\n".join(differences[:40])
    first, *others = [stored(way.engine) for way in ways]
    assert len(first["alerts"]) > 20
    for other in others:
        assert other == first
