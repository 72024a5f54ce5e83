"""A line to a server: a proxy that forwards, as fast as it can, or as a long and narrow line would."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PIECE = 16 * 1024
_PIECES_UNDER_WAY = 16
"""Of one connection and direction: what a sender may have sent before it must wait, as a socket's buffer lets it."""


class Direction:
    """One direction, shared by all connections; times are those of the event loop, in seconds."""

    def __init__(self, seconds: float, bytes_a_second: float) -> None:
        self._seconds, self._rate = seconds, bytes_a_second
        self._free = 0.0
        self.bytes = 0

    def arrival(self, size: int) -> float:
        """When so many bytes that are sent now are at the other end."""
        self._free = max(self._free, asyncio.get_running_loop().time()) + size / self._rate
        self.bytes += size
        return self._free + self._seconds

    async def carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Forward all that comes, in order, until the source ends."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_PIECES_UNDER_WAY)

        async def deliver() -> None:
            loop = asyncio.get_running_loop()
            while True:
                due, piece = await under_way.get()
                if not piece:
                    return
                await asyncio.sleep(max(0.0, due - loop.time()))
                sink.write(piece)
                await sink.drain()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(deliver())
            while piece := await source.read(_PIECE):
                await under_way.put((self.arrival(len(piece)), piece))
            await under_way.put((0.0, b""))


class Proxy:
    """A proxy in a thread of its own, before a server on loopback; `port` is where it listens.

    `round_trip` in seconds; both directions carry so many bytes a second. `listener`: a socket that listens already.
    """

    def __init__(
        self, server_port: int, round_trip: float = 0, bytes_a_second: float = math.inf, listener: socket.socket | None = None
    ) -> None:
        self.there, self.back = (Direction(round_trip / 2, bytes_a_second) for _ in range(2))
        self._server_port = server_port
        self._listener = listener or socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    @contextmanager
    def open(self) -> Iterator[None]:
        """Forward, until the block ends."""
        loop, ready = asyncio.new_event_loop(), threading.Event()

        async def serve() -> None:
            await asyncio.start_server(self._connection, sock=self._listener)
            ready.set()

        loop.create_task(serve())
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            ready.wait()
            yield
        finally:
            asyncio.run_coroutine_threadsafe(_end_all(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        with suppress(OSError, ExceptionGroup):  # either end has gone: so does the other
            async with asyncio.TaskGroup() as tasks:
                for line, source, sink in ((self.there, reader, to_server), (self.back, from_server, writer)):
                    tasks.create_task(_and_close(line, source, sink))

    def carried(self) -> int:
        """Bytes of both directions so far."""
        return self.there.bytes + self.back.bytes


async def _end_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _and_close(line: Direction, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        await line.carry(source, sink)
    finally:
        sink.close()
