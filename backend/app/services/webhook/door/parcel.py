"""A delivery that came in one piece, read from its bytes.

Nearly all deliveries come so, and a burst leaves no time for a parser that is made for everything. Whatever is
unusual in a request is no parcel and goes to that parser: another method or path, a header line that is not
plain, an encoded or an incomplete body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# RFC 9112: the request line, then fields of a token, a colon and a value on one line.
_HEAD: Final = re.compile(
    rb"POST (/webhook(?:/tradingview)?) HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*+\r\n)*+)\r\n"
)
# What a client sends that would like to go on in HTTP/2, such as Java's.
_OFFER: Final = re.compile(rb"\r\nupgrade:[\t ]*h2c[\t ]*(?=\r\n)", re.I)
_OFFERED: Final = re.compile(rb"\r\nconnection:[\t ]*upgrade(?:,[\t ]*http2-settings)?[\t ]*(?=\r\n)", re.I)
_LENGTH: Final = b"content-length"
_CONNECTION: Final = b"connection"
_FOR_THE_PARSER: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"proxy-connection"})
_ONCE: Final = frozenset({_LENGTH, _CONNECTION})
_KEEPS: Final = {b"": True, b"keep-alive": True, b"close": False}


@dataclass(frozen=True, slots=True)
class Parcel:
    """A whole request with a delivery.

    Args:
        path: one of the webhook's.
        headers: by their names in lower case; of equal names the first counts.
        keeps: whether the sender keeps the connection after the answer.
    """

    path: str
    headers: dict[bytes, bytes]
    content: bytes
    keeps: bool


def declined(data: bytes) -> bytes:
    """The bytes without an offer to go on in HTTP/2, which a server may ignore (RFC 9110, 7.8).

    Uvicorn's parser would take the body for the other protocol's, and the request for one without a body.
    """
    end = data.find(b"\r\n\r\n") + 2 if b"h2c" in data else 1
    head, offers = _OFFER.subn(b"", data[:end]) if end > 1 else (b"", 0)
    return _OFFERED.sub(b"", head) + data[end:] if offers else data


def unpack(data: bytes) -> Parcel | None:
    """The delivery that these bytes are, all of it and nothing more; None if they are anything else."""
    head = _HEAD.match(data)
    if head is None:
        return None
    headers: dict[bytes, bytes] = {}
    for line in head[2].split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name not in headers:
            headers[name] = value.strip(b" \t")
        elif name in _ONCE:
            return None
    length = headers.get(_LENGTH, b"")
    keeps = _KEEPS.get(headers.get(_CONNECTION, b"").lower())
    if keeps is None or not _FOR_THE_PARSER.isdisjoint(headers):
        return None
    if not (length.isdigit() and len(length) < 8 and int(length) == len(data) - head.end()):
        return None
    return Parcel(head[1].decode(), headers, data[head.end() :], keeps)
