"""A way to PostgreSQL on which answers come late: each piece is handed on after a delay, none is lost or held up by another."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
PIECE = 65_536


class LateAnswers:
    """A port whose connections end at a server.

    Args:
        upstream: the server's port on 127.0.0.1.

    `delay_s` may be set at any time; it holds for what the server says from then on.
    """

    def __init__(self, upstream: int) -> None:
        self.delay_s = 0.0
        self.port = 0
        self._upstream = upstream
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._listen()), name="late-answers", daemon=True
        )
        self._ready = threading.Event()
        self._stop: Callable[[], object] = self._ready.set

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._thread.join()

    async def _listen(self) -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        self._stop = lambda: loop.call_soon_threadsafe(over.set)
        server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await over.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, asks: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                says, server = await asyncio.open_connection(HOST, self._upstream)
                with contextlib.closing(server):
                    await self._both(asks, server, says, client)
        finally:
            client.close()
            self._tasks.discard(task)

    async def _both(
        self,
        asks: asyncio.StreamReader,
        server: asyncio.StreamWriter,
        says: asyncio.StreamReader,
        client: asyncio.StreamWriter,
    ) -> None:
        """Hand on both ways until either end is gone."""
        ways = [asyncio.ensure_future(way) for way in (_pass(asks, server), self._pass_late(says, client))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass_late(self, says: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def hand_on() -> None:
            while True:
                due, piece = await pieces.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                client.write(piece)
                pieces.task_done()

        hands = asyncio.ensure_future(hand_on())
        try:
            while piece := await says.read(PIECE):
                pieces.put_nowait((loop.time() + self.delay_s, piece))
            await pieces.join()
        finally:
            hands.cancel()


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while piece := await source.read(PIECE):
        target.write(piece)
        await target.drain()
