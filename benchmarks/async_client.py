"""Tasks of one event loop that put songs: by the product's asyncio store, and by a trial of the same write without threads.

The trial sends the statements of an inline write over psycopg's AsyncConnection, and waits for the Cassandra driver's own
futures. It has no error paths: it says what the way costs, not how to build it (docs/decisions/0010-async-by-threads.md).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import psycopg
from psycopg import IsolationLevel

from benchmarks.dual_client import CONNECTIONS, TABLE, at, song
from sync.adapters.cassandra.connection.connect import WRITE_PROFILE
from sync.adapters.postgres.connection.cell import register
from sync.adapters.postgres.connection.connect import connection_string
from sync.adapters.postgres.connection.epoch_lock import SHARE
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.dual_write.locks import lock_of
from sync.core.mutations import Mutation
from sync.settings import Config, Settings
from sync.stores import AsyncDualWriteStore, DualWriteStore
from sync.stores.both_sides.table_flows import TableFlows

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Put = Callable[[dict[str, Any]], Coroutine[Any, Any, object]]
_LOCK_KEY = queries("dual_write/journal")["lock_key"].encode()
_TURNS = 1024


class Connections:
    """A pool without locks, for the tasks of one loop. psycopg's AsyncConnectionPool costs more than a thread's hop."""

    def __init__(self) -> None:
        self._free: list[Connection] = []
        self._waiting: deque[asyncio.Future[Connection]] = deque()

    async def open(self, dsn: str) -> None:
        """Make all of them."""
        for _ in range(CONNECTIONS):
            connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
            register(connection)  # type: ignore[arg-type]  # it has the same map of adapters
            await connection.set_isolation_level(IsolationLevel.READ_COMMITTED)
            self._free.append(connection)

    async def close(self) -> None:
        """Close all of them."""
        for connection in self._free:
            await connection.close()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Connection]:
        """One of them; tasks get theirs in the order in which they ask."""
        if self._free:
            connection = self._free.pop()
        else:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            connection = await waiting
        try:
            yield connection
        finally:
            if self._waiting:
                self._waiting.popleft().set_result(connection)
            else:
                self._free.append(connection)


class Trial:
    """The inline write of a song, on an event loop."""

    def __init__(self, store: DualWriteStore, connections: Connections) -> None:
        self._store, self._connections = store, connections
        self._turns = [asyncio.Lock() for _ in range(_TURNS)]

    async def put(self, row: dict[str, Any]) -> None:
        """Intent, primary, second half: what ForwardWrite does as long as nothing fails."""
        with self._store._calls:
            flows = self._store._of(TABLE)
            self._store._registration.wait_open(1)
            mutation = Mutation("put", flows.cells.key(row), flows.cells.row(row))
            journal, write_behind = flows.journal, flows.forward.write_behind
            opening = journal._opening(mutation, write_behind.accepted(mutation.key))
            async with self._turns[lock_of(mutation.key) % _TURNS]:
                opened = await self._pipeline((SHARE, {}), opening)
            intent = journal.announced(mutation.key, opened)
            write_behind.observe(intent.version, mutation.key)
            await _sent(flows, mutation, intent.version)
            statement, cells = journal._guarded(mutation)
            values = {**journal._parameters.key(mutation.key), **cells, "intent": intent.id, "version": intent.version}
            written = await self._pipeline((_LOCK_KEY, {"lock": lock_of(mutation.key)}), (statement, values))
            assert written == (True,)

    async def _pipeline(self, first: tuple[bytes, dict[str, Any]], second: tuple[bytes, dict[str, Any]]) -> Any:
        async with self._connections.one() as connection:
            async with connection.pipeline():
                await connection.execute(*first)
                found = await connection.execute(*second)
            return await found.fetchone()


def _sent(flows: TableFlows, mutation: Mutation, version: int) -> asyncio.Future[None]:
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[None] = loop.create_future()
    rows: Any = flows.rows
    future = rows._session.execute_async(rows._bound(mutation, version), timeout=10, execution_profile=WRITE_PROFILE)
    # Called in the driver's thread.
    future.add_callbacks(
        lambda _: loop.call_soon_threadsafe(answered.set_result, None),
        lambda error: loop.call_soon_threadsafe(answered.set_exception, error),
    )
    return answered


class Tasks:
    """The ways that tasks put songs, on a loop that lasts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._runner, self._stack = asyncio.Runner(), AsyncExitStack()
        self._puts: dict[str, Put] = {}

    def run(self, way: str, tasks: int, seconds: float, writes: int | None = None) -> dict[str, Any]:
        """Put songs until the time is over, or so many are written; what it came to."""
        return self._runner.run(self._run(way, tasks, seconds, -(-writes // tasks) if writes else None))

    def close(self) -> None:
        """Close what is open."""
        self._runner.run(self._stack.aclose())
        self._runner.close()

    async def _run(self, way: str, tasks: int, seconds: float, each: int | None) -> dict[str, Any]:
        if way not in self._puts:
            self._puts[way] = await {"tasks": self._product, "trial": self._trial}[way]()
        times: list[float] = []
        begin, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(_work(self._puts[way], times, begin + seconds, each) for _ in range(tasks)))
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        times.sort()
        return {"writes": len(times), "seconds": seconds, "cpu": cpu, "p50": at(times, 0.5), "p99": at(times, 0.99)}

    async def _product(self) -> Put:
        return partial((await self._stack.enter_async_context(AsyncDualWriteStore(self._settings, Config()))).put, TABLE)

    async def _trial(self) -> Put:
        store = await asyncio.to_thread(DualWriteStore, self._settings, Config())
        self._stack.push_async_callback(asyncio.to_thread, store.close)
        connections = Connections()
        self._stack.push_async_callback(connections.close)
        await connections.open(connection_string(self._settings, direct=False))
        return Trial(store, connections).put


async def _work(put: Put, times: list[float], end: float, each: int | None) -> None:
    made = 0
    while made < each if each else time.perf_counter() < end:
        row, begin = song(), time.perf_counter()
        await put(row)
        times.append(time.perf_counter() - begin)
        made += 1
