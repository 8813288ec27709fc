"""How many connections wait in the kernel until this process accepts them.

When the kernel's queue is full, the next senders hear nothing at all, and a sender that hears nothing never sends
again. So the listener begins to refuse while there is still room: a refusal costs a small part of a delivery. A
delivery that waits here is judged when it is read, by how long it has waited (`requests.waited_s`). About 4,096 are
served in time on two cores. In a longer queue many would wait and be refused all the same.
Linux tells the length of the queue (TCP_INFO of a listening socket). Elsewhere nobody knows, and nothing is refused for it.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_TCP_INFO: Final = getattr(socket, "TCP_INFO", None)
# struct tcp_info of Linux. Of a listening socket, `unacked` is the length of its queue and `sacked` the most it may be.
_QUEUE: Final = struct.Struct("@24xII")
_FILE_DESCRIPTORS: Final = Path("/proc/self/fd")
ROOMS: Final = 4  # listening sockets of one port: the kernel's limit (net.core.somaxconn) is for each of them
FULL: Final = 0.25  # of all queues, 4,096 connections as a rule; what comes after so many is refused
LOOK_AGAIN_S: Final = 0.002


class Backlog:
    """The queue of one listening port of this process, as long as that is open; None: of no port, always empty."""

    def __init__(self, port: int | None) -> None:
        # Borrowed: with a descriptor of our own the port would stay open when the server closes it.
        self._descriptors = [] if _TCP_INFO is None or port is None else _listening_on(port)
        self._looked, self._is_filling = 0.0, False

    def is_filling(self) -> bool:
        """Whether the queue is so long that the next connections may find no room."""
        if not self._descriptors:
            return False
        now = time.monotonic()
        if now - self._looked > LOOK_AGAIN_S:
            self._looked = now
            lengths, limits = zip(*map(_length, self._descriptors), strict=True)
            self._is_filling = sum(lengths) > sum(limits) * FULL
        return self._is_filling

    def forget(self) -> None:
        """The server closes the port."""
        self._descriptors, self._is_filling = [], False


def listening(host: str, port: int) -> list[socket.socket]:
    """The listening sockets of an address, for all processes of a server; OSError when somebody else listens there.

    Several sockets of one port (SO_REUSEPORT) have a queue each. Every process accepts from all of them.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(
        family
    ) as alone:  # only without SO_REUSEPORT does the kernel say that the port is taken
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        alone.bind((host, port))
        port = alone.getsockname()[1]
    made: list[socket.socket] = []
    for _ in range(ROOMS if hasattr(socket, "SO_REUSEPORT") else 1):
        one = socket.socket(family)
        made.append(one)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind((host, port))
        one.set_inheritable(True)
    return made


def _length(descriptor: int) -> tuple[int, int]:
    """How many connections wait, and how many may; zeros when nobody knows."""
    assert _TCP_INFO is not None
    try:
        borrowed = socket.socket(fileno=descriptor)
    except OSError:
        return 0, 0
    try:
        length, most = _QUEUE.unpack(borrowed.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _QUEUE.size))
    except (OSError, struct.error):
        return 0, 0
    finally:
        borrowed.detach()
    return length, most


def _listening_on(port: int) -> list[int]:
    """The descriptors of the process's listening sockets of a port."""
    found: list[int] = []
    with suppress(OSError):
        for entry in _FILE_DESCRIPTORS.iterdir():
            descriptor = int(entry.name)
            with suppress(OSError):
                if stat.S_ISSOCK(os.fstat(descriptor).st_mode) and _listens_on(descriptor, port):
                    found.append(descriptor)
    return found


def _listens_on(descriptor: int, port: int) -> bool:
    borrowed = socket.socket(fileno=descriptor)
    try:
        is_tcp = borrowed.family in (socket.AF_INET, socket.AF_INET6) and borrowed.type == socket.SOCK_STREAM
        if not is_tcp or borrowed.getsockname()[1] != port:
            return False
        return bool(borrowed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    finally:
        borrowed.detach()
