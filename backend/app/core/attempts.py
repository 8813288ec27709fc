"""How often a password may be tried: so many wrong ones in a minute for a name, an address, and both together.

Each attempt counts before its password is checked, so many at once do not slip through; a right password takes
its count back. The strict limit is on the pair: a stranger who guesses does not lock out the owner of the name,
who comes from another address. The counts live in this process: a backend with several workers allows so many
times as much, and a restart forgets them.
"""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from fastapi import HTTPException, Request

WINDOW_S: Final = 60.0
MOST_KEYS: Final = 30_000  # of three keys per attempt; the ones that were not used for longest go first
TOO_MANY: Final = "Too many attempts to log in. Try again later."
# How many times the limit of the pair an address and a name may fail.
ADDRESS_FACTOR: Final = 6
NAME_FACTOR: Final = 20
_LONGEST_NAME: Final = 64

Key = tuple[str, str, str]


class Attempt:
    """One attempt that is under way."""

    def __init__(self) -> None:
        self.right = False

    def succeeded(self) -> None:
        """The password was right: the attempt does not count."""
        self.right = True


class Attempts:
    """The counts of one process; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: OrderedDict[Key, tuple[float, int]] = (
            OrderedDict()
        )  # begin of the window, attempts in it

    def __len__(self) -> int:
        return len(self._counts)

    @contextmanager
    def one(self, name: str, address: str, limit: int) -> Iterator[Attempt]:
        """One attempt, which counts as wrong unless it is told that it `succeeded`.

        Args:
            name: whose password is tried.
            address: where the attempt comes from, as `address_of` tells.
            limit: wrong attempts per minute of the name from the address; 0 limits nothing.

        Raises HTTPException 429 with Retry-After when there were too many.
        """
        attempt = Attempt()
        if not limit:
            yield attempt
            return
        short = name[:_LONGEST_NAME]
        limits: dict[Key, int] = {
            ("pair", short, address): limit,
            ("address", "", address): limit * ADDRESS_FACTOR,
            ("name", short, ""): limit * NAME_FACTOR,
        }
        self._begin(limits)
        try:
            yield attempt
        finally:
            if attempt.right:
                self._take_back(limits)

    def _begin(self, limits: dict[Key, int]) -> None:
        now = time.monotonic()
        with self._lock:
            windows = {key: self._window(key, now) for key in limits}
            waits = [windows[key][0] + WINDOW_S - now for key in limits if windows[key][1] >= limits[key]]
            if waits:
                wait = max(1, math.ceil(max(waits)))
                raise HTTPException(429, TOO_MANY, headers={"Retry-After": str(wait)})
            for key, (began, count) in windows.items():
                self._counts[key] = (began, count + 1)
                self._counts.move_to_end(key)
            while len(self._counts) > MOST_KEYS:
                self._counts.popitem(last=False)

    def _window(self, key: Key, now: float) -> tuple[float, int]:
        began, count = self._counts.get(key, (now, 0))
        return (began, count) if now < began + WINDOW_S else (now, 0)

    def _take_back(self, limits: dict[Key, int]) -> None:
        with self._lock:
            for key in limits:
                began, count = self._counts.get(key, (0.0, 0))
                if count > 1:
                    self._counts[key] = (began, count - 1)
                else:
                    self._counts.pop(key, None)


def address_of(request: Request) -> str:
    """The caller's address; of IPv6 the network of 64 bits, all of which one caller usually has."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:_LONGEST_NAME]
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped or ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return host
