"""The same store for asyncio: its methods run in threads of its own (docs/decisions/0010-async-by-threads.md)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import copy_context
from types import TracebackType
from typing import Any, TypeVar

from sync.adapters.postgres.connection.held import NESTED
from sync.core.reads.query import OrderBy
from sync.errors import StoreClosed, WriteRefused, WriteRefusedNow
from sync.ports import Primary
from sync.settings import Config, Settings, load_config, load_settings
from sync.stores.both_sides.async_transaction import AsyncTransaction, async_transaction
from sync.stores.both_sides.dual import DualWriteStore
from sync.stores.both_sides.task_puts import TaskPuts
from sync.stores.factory import open_store
from sync.stores.protocol import Store
from sync.stores.rows import PAGE_ROWS, AsyncRows

T = TypeVar("T")


class AsyncDualWriteStore:
    """The store that `open_store()` returns, with every method awaited; it runs as many calls at once as it has connections.

    With `settings` it is a `DualWriteStore` that uses them, whatever the environment says.
    """

    def __init__(self, settings: Settings | None = None, config: Config | None = None) -> None:
        self._settings = settings
        self._config = config or load_config((settings or load_settings()).sync_config)
        self._threads = ThreadPoolExecutor(self._config.dual_write.connections, thread_name_prefix="sync-store")
        self._places = asyncio.Semaphore(self._config.dual_write.connections)
        self._inside = set[asyncio.Task[Any] | None]()
        self._store: Store | None = None
        self._puts: TaskPuts | None = None
        self._closed = False

    async def __aenter__(self) -> AsyncDualWriteStore:
        self._store = await self._run(self._open)
        if isinstance(self._store, DualWriteStore) and self._store._shares_puts:
            self._puts = TaskPuts(self._store, self._threads, self._config.dual_write.connections)
        return self

    def _open(self) -> Store:
        return DualWriteStore(self._settings, self._config) if self._settings else open_store()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Sign off and close the connections."""
        if self._store is not None:
            await self._run(self._store.close)
        self._closed = True  # before the shutdown: a call that waits for a thread sees it
        self._store = None
        self._threads.shutdown(wait=False)

    async def put(self, table: str, row: Mapping[str, Any], ttl: int | None = None) -> bool:
        """As DualWriteStore.put: what many tasks put at the same time goes together."""
        store = self._opened
        if self._puts is not None:
            return await self._puts.put(table, row, ttl)
        return await self._run(lambda: store.put(table, row, ttl))

    async def put_many(self, table: str, rows: Iterable[Mapping[str, Any]]) -> bool:
        """As DualWriteStore.put_many: all rows are checked first, and those of a key are written in their order."""
        return await self._run(lambda: self._opened.put_many(table, rows))

    async def insert(self, table: str, row: Mapping[str, Any]) -> bool:
        """As DualWriteStore.insert."""
        return await self._run(lambda: self._opened.insert(table, row))

    async def update(self, table: str, key: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
        """As DualWriteStore.update."""
        return await self._run(lambda: self._opened.update(table, key, changes))

    async def delete(self, table: str, key: Mapping[str, Any]) -> bool:
        """As DualWriteStore.delete."""
        return await self._run(lambda: self._opened.delete(table, key))

    async def delete_many(self, table: str, where: Mapping[str, Any]) -> bool:
        """As DualWriteStore.delete_many."""
        return await self._run(lambda: self._opened.delete_many(table, where))

    async def increment(self, table: str, key: Mapping[str, Any], amounts: Mapping[str, int]) -> bool:
        """As DualWriteStore.increment."""
        return await self._run(lambda: self._opened.increment(table, key, amounts))

    async def announce(self, table: str, key: Mapping[str, Any]) -> None:
        """As DualWriteStore.announce."""
        await self._run(lambda: self._opened.announce(table, key))

    async def get(self, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """As DualWriteStore.get."""
        return await self._run(lambda: self._opened.get(table, key))

    async def get_many(self, table: str, keys: Iterable[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        """As DualWriteStore.get_many."""
        return await self._run(lambda: self._opened.get_many(table, keys))

    async def find(
        self,
        table: str,
        where: Mapping[str, Any],
        order_by: OrderBy | None = None,
        limit: int | None = None,
        after: str | None = None,
        page_rows: int = PAGE_ROWS,
    ) -> AsyncRows:
        """As DualWriteStore.find, to iterate over with `async for`."""
        rows = await self._run(lambda: self._opened.find(table, where, order_by, limit, after, page_rows))
        return AsyncRows(rows, self._run, after)

    async def scan(self, table: str, after: str | None = None, page_rows: int = PAGE_ROWS) -> AsyncRows:
        """As DualWriteStore.scan, to iterate over with `async for`."""
        return AsyncRows(await self._run(lambda: self._opened.scan(table, after, page_rows)), self._run, after)

    async def search(
        self, table: str, column: str, vector: Sequence[float], limit: int = 10, where: Mapping[str, Any] | None = None
    ) -> list[tuple[dict[str, Any], float]]:
        """As DualWriteStore.search."""
        return await self._run(lambda: self._opened.search(table, column, vector, limit, where))

    async def count(self, table: str) -> int:
        """As DualWriteStore.count."""
        return await self._run(lambda: self._opened.count(table))

    async def primary(self) -> Primary:
        """As DualWriteStore.primary."""
        return await self._run(lambda: self._opened.primary)

    def transaction(self) -> AbstractAsyncContextManager[AsyncTransaction]:
        """As DualWriteStore.transaction: `async with store.transaction() as tx:`, with its methods awaited.

        While as many are open as there are connections, another one waits.
        """
        self._check()
        return self._transaction()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncTransaction]:
        task = asyncio.current_task()
        if task in self._inside:  # it might wait for itself
            raise WriteRefused(NESTED)
        async with self._place():
            self._inside.add(task)
            try:
                async with async_transaction(self._opened.transaction) as tx:
                    yield tx
            finally:
                self._inside.discard(task)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        seconds = self._config.dual_write.max_wait_seconds
        try:
            async with asyncio.timeout(seconds):
                await self._places.acquire()
        except TimeoutError:
            raise WriteRefusedNow(f"no connection became free in {seconds:g} s: nothing was written") from None
        try:
            yield
        finally:
            self._places.release()

    @property
    def _opened(self) -> Store:
        self._check()
        if self._store is None:
            raise RuntimeError("the store is not open: use it in `async with`")
        return self._store

    def _check(self) -> None:
        if self._closed:
            raise StoreClosed("this store was closed: nothing was sent; open a new one")

    async def _run(self, call: Callable[[], T]) -> T:
        self._check()
        # Cancelling the caller does not cancel the write: it runs in a thread, and finishes its protocol.
        return await asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, call)
