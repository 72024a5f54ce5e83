"""A transaction for asyncio. All of it runs in one thread of its own: a call that is cancelled ends before the rollback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from contextvars import copy_context
from functools import partial
from sys import exc_info
from typing import Any, TypeVar

import psycopg
from psycopg.abc import Params

from sync.adapters.postgres.connection.held import ENDED
from sync.core.reads.query import OrderBy
from sync.errors import StoreClosed
from sync.stores.rows import PAGE_ROWS, AsyncRows
from sync.stores.transaction import Statement, Transaction

T = TypeVar("T")


class AsyncTransaction:
    """A transaction of a store, as Transaction, with every method awaited."""

    def __init__(self, tx: Transaction, run: Callable[[Callable[[], Any]], Awaitable[Any]]) -> None:
        self._tx, self._in_thread = tx, run
        self.has_ended = False

    async def _run(self, call: Callable[[], T]) -> T:
        if self.has_ended:
            raise StoreClosed(ENDED)
        result: T = await self._in_thread(call)
        return result

    async def run(self, call: Callable[[psycopg.Connection[Any]], T]) -> T:
        """What a function makes of the connection, in the transaction's thread: cursors, COPY, savepoints."""
        return await self._run(lambda: call(self._tx.connection))

    async def execute(self, query: Statement, params: Params | None = None) -> psycopg.Cursor[Any]:
        """As Transaction.execute; the cursor has all rows already, and does not wait."""
        return await self._run(lambda: self._tx.execute(query, params))

    async def put(self, table: str, row: Mapping[str, Any], ttl: int | None = None) -> bool:
        """As Transaction.put."""
        return await self._run(lambda: self._tx.put(table, row, ttl))

    async def put_many(self, table: str, rows: Iterable[Mapping[str, Any]]) -> bool:
        """As Transaction.put_many."""
        return await self._run(lambda: self._tx.put_many(table, rows))

    async def insert(self, table: str, row: Mapping[str, Any]) -> bool:
        """As Transaction.insert."""
        return await self._run(lambda: self._tx.insert(table, row))

    async def update(self, table: str, key: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
        """As Transaction.update."""
        return await self._run(lambda: self._tx.update(table, key, changes))

    async def delete(self, table: str, key: Mapping[str, Any]) -> bool:
        """As Transaction.delete."""
        return await self._run(lambda: self._tx.delete(table, key))

    async def delete_many(self, table: str, where: Mapping[str, Any]) -> bool:
        """As Transaction.delete_many."""
        return await self._run(lambda: self._tx.delete_many(table, where))

    async def increment(self, table: str, key: Mapping[str, Any], amounts: Mapping[str, int]) -> bool:
        """As Transaction.increment."""
        return await self._run(lambda: self._tx.increment(table, key, amounts))

    async def get(self, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """As Transaction.get."""
        return await self._run(lambda: self._tx.get(table, key))

    async def get_many(self, table: str, keys: Iterable[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        """As Transaction.get_many."""
        return await self._run(lambda: self._tx.get_many(table, keys))

    async def find(
        self,
        table: str,
        where: Mapping[str, Any],
        order_by: OrderBy | None = None,
        limit: int | None = None,
        after: str | None = None,
        page_rows: int = PAGE_ROWS,
    ) -> AsyncRows:
        """As Transaction.find, to iterate over with `async for`."""
        rows = await self._run(lambda: self._tx.find(table, where, order_by, limit, after, page_rows))
        return AsyncRows(rows, self._run, after)

    async def scan(self, table: str, after: str | None = None, page_rows: int = PAGE_ROWS) -> AsyncRows:
        """As Transaction.scan, to iterate over with `async for`."""
        rows = await self._run(lambda: self._tx.scan(table, after, page_rows))
        return AsyncRows(rows, self._run, after)

    async def search(
        self, table: str, column: str, vector: Sequence[float], limit: int = 10, where: Mapping[str, Any] | None = None
    ) -> list[tuple[dict[str, Any], float]]:
        """As Transaction.search."""
        return await self._run(lambda: self._tx.search(table, column, vector, limit, where))

    async def count(self, table: str) -> int:
        """As Transaction.count."""
        return await self._run(lambda: self._tx.count(table))


@asynccontextmanager
async def async_transaction(begin: Callable[[], AbstractContextManager[Transaction]]) -> AsyncIterator[AsyncTransaction]:
    """The transaction that a store begins, for asyncio. Raises what that raises."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="sync-transaction")
    loop = asyncio.get_running_loop()
    context = copy_context()  # one for all of it: what its beginning sets, its end takes back

    def run(call: Callable[..., T], *arguments: Any) -> Awaitable[T]:
        return loop.run_in_executor(thread, context.run, partial(call, *arguments))

    try:
        held = begin()
        try:
            tx = await run(held.__enter__)
        except asyncio.CancelledError:
            thread.submit(context.run, held.__exit__, *exc_info())  # it may have begun
            raise
        given = AsyncTransaction(tx, run)
        try:
            yield given
        except BaseException:
            # Shielded, as the end must come, whether or not somebody waits for it.
            if not await asyncio.shield(run(held.__exit__, *exc_info())):
                raise
        else:
            await asyncio.shield(run(held.__exit__, None, None, None))
        finally:
            given.has_ended = True
    finally:
        thread.shutdown(wait=False)
